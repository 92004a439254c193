//! Accepts connections, limits their number and duration, and answers requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::board;
use super::body::{Outbox, ResponseBody};
use super::client_request::{ClientChain, ClientRequest, MAX_BODY_BYTES, Verb};
use super::cluster::ServedCluster;
use super::connections::{Connections, Slot};
use super::pages;
use super::refusal::{Refusal, RefusalId};
use super::reply::{Content, Reply, refused};
use super::state::{ServerState, startup_notes};
use super::stream::{SendfileStream, StallTimeout};
use crate::console;
use crate::exit::with_causes;

/// The time limit for each step of a client: the TLS handshake, a request's head, and its body.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// The permits of the threads that answer certificate requests. While a build uses the PKI folder,
/// these threads wait, so their number is limited, and other threads remain for all other requests.
static SIGNERS: Semaphore = Semaphore::const_new(4);
/// The maximum time for which a certificate request waits for one of these threads. firstboot waits
/// 20 s for the answer.
const SIGNER_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of a request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// The maximum number of headers in a request. A machine sends one header for each of its network
/// cards.
const MAX_HEADERS: usize = 100;

/// Addresses on which the server listens, and their encryption.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) tls: Option<TlsAcceptor>,
}

/// The client of a connection.
#[derive(Clone)]
struct Client {
    remote: SocketAddr,
    /// The address of this server that the client is connected to.
    local: SocketAddr,
    certificates: ClientChain,
}

/// Converts the records of an earlier version, and records the documents of the output. The server
/// starts even if the record cannot be written.
fn prepare_record(state: &ServerState, cluster: &ServedCluster) {
    let record = &cluster.record;
    for node in cluster.nodes.iter() {
        if let Err(error) = record.convert(&node.name) {
            state.log.error(&error);
        }
    }
    // Record the documents now, because a new build may replace them before a machine requests its
    // document.
    if let Err(error) = record.lock().and_then(|_lock| cluster.note_served()) {
        state.log.error(&error);
    }
}

/// Serves until the process ends.
pub(super) fn run(state: &Arc<ServerState>, endpoints: &[Endpoint]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut listeners = Vec::new();
        for Endpoint { addresses, tls } in endpoints {
            let bound = bind(addresses).await?;
            listeners.extend(bound.into_iter().map(|listener| (listener, tls.clone())));
        }
        let bound = listeners
            .iter()
            .map(|(listener, _)| listener.local_addr())
            .collect::<std::io::Result<Vec<_>>>()?;
        let cluster = state.cluster()?;
        prepare_record(state, &cluster);
        for line in startup_notes(&cluster, &bound, state.installs(), state.retries) {
            console::note(line);
        }
        let connections = Connections::new();
        let scheme = |tls: bool| if tls { "https" } else { "http" };
        let names: Vec<String> = bound
            .iter()
            .zip(&listeners)
            .map(|(address, (_, tls))| format!("{}://{address}/", scheme(tls.is_some())))
            .collect();
        console::note(format!(
            "serving {} at {}",
            state.out.display(),
            names.join(" and ")
        ));
        tokio::spawn(board::run(Arc::clone(state)));
        let accepting: Vec<_> = listeners
            .into_iter()
            .map(|(listener, tls)| {
                tokio::spawn(accept(
                    listener,
                    Arc::clone(state),
                    connections.clone(),
                    tls,
                ))
            })
            .collect();
        for task in accepting {
            task.await?;
        }
        Ok(())
    })
}

async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = TcpListener::bind(address).await;
        match listener.with_context(|| format!("cannot listen on {address}")) {
            Ok(listener) => listeners.push(listener),
            // On a host without IPv6, the server cannot listen on the IPv6 address of `localhost`.
            Err(error) if address.is_ipv6() && !listeners.is_empty() => {
                console::error(with_causes(&error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(listeners)
}

async fn accept(
    listener: TcpListener,
    state: Arc<ServerState>,
    connections: Connections,
    tls: Option<TlsAcceptor>,
) {
    loop {
        let Ok((stream, remote)) = listener.accept().await else {
            // Most likely, too many files are open. Other connections will soon close their files.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // A connection without a slot is closed immediately.
        let Some(slot) = connections.admit(remote.ip()) else {
            continue;
        };
        let id = slot.id();
        let task = tokio::spawn(connection(
            stream,
            remote,
            Arc::clone(&state),
            tls.clone(),
            slot,
        ));
        Slot::attach_task(&connections, remote.ip(), id, task.abort_handle());
    }
}

async fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    state: Arc<ServerState>,
    tls: Option<TlsAcceptor>,
    _slot: Slot,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    // Small answers are sent immediately, without waiting for more data.
    let _ = stream.set_nodelay(true);
    let stream = StallTimeout::new(stream);
    match tls {
        None => {
            let outbox = Outbox::default();
            serve(
                SendfileStream::new(stream, outbox.clone()),
                state,
                Client {
                    remote,
                    local,
                    certificates: ClientChain::default(),
                },
                Some(outbox),
            )
            .await;
        }
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(CLIENT_TIMEOUT, tls.accept(stream)).await {
                let chain = stream.get_ref().1.peer_certificates();
                let client = Client {
                    remote,
                    local,
                    certificates: chain.unwrap_or_default().into(),
                };
                serve(stream, state, client, None).await;
            }
        }
    }
}

/// Answers all requests of one connection. `outbox` is present if the connection can send files
/// with sendfile(2).
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    state: Arc<ServerState>,
    client: Client,
    outbox: Option<Outbox>,
) {
    let service = service_fn(move |request| {
        let (state, client, outbox) = (Arc::clone(&state), client.clone(), outbox.clone());
        async move { Ok::<_, Infallible>(respond(request, state, client, outbox).await) }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(CLIENT_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    // grub compares the header name `Content-Length` case-sensitively (grub-core/net/http.c, and in
    // Red Hat's grub also net/efi/http.c).
    server.title_case_headers(true);
    // Write each body from its own buffers, because `stream::SendfileStream` requires this.
    server.writev(true);
    // An early disconnect by the client is not an error of the server.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    request: Request<Incoming>,
    state: Arc<ServerState>,
    client: Client,
    outbox: Option<Outbox>,
) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    let request = ClientRequest::read(&head, client.remote, client.local)
        .map(|request| request.with_certificates(&client.certificates));
    let request = match request {
        Ok(request) if request.verb == Verb::Post => {
            match timeout(CLIENT_TIMEOUT, read(body)).await {
                Ok(Some(body)) => Ok(request.with_body(&body)),
                _ => Err(Refusal::bad_request(
                    RefusalId::Body,
                    format!(
                        "the body of the request is incomplete, or longer than {MAX_BODY_BYTES} \
                         bytes"
                    ),
                )),
            }
        }
        other => other,
    };
    let reply = match request {
        Err(refusal) => refused(&refusal),
        Ok(request) => match signing_permit(&request).await {
            Ok(signer) => answer(state, request, signer).await,
            Err(refusal) => {
                state.log_refusal(&request, &refusal);
                refused(&refusal)
            }
        },
    };
    response(reply, outbox)
}

/// Waits at most [`SIGNER_TIMEOUT`] for a permit to answer a certificate request. The wait does not
/// occupy a thread. Other requests need no permit.
async fn signing_permit(
    request: &ClientRequest,
) -> Result<Option<SemaphorePermit<'static>>, Refusal> {
    if !pages::signs(request) {
        return Ok(None);
    }
    match timeout(SIGNER_TIMEOUT, SIGNERS.acquire()).await {
        Ok(Ok(permit)) => Ok(Some(permit)),
        _ => Err(Refusal::unavailable(
            RefusalId::PkiBusy,
            "other certificate requests are waiting for the PKI folder. Ask again",
        )),
    }
}

/// Builds the answer in a separate thread, because building the answer may block on the disk. The
/// thread keeps the permit, even if the client disconnects.
async fn answer(
    state: Arc<ServerState>,
    request: ClientRequest,
    permit: Option<SemaphorePermit<'static>>,
) -> Reply {
    let answered = tokio::task::spawn_blocking(move || {
        let reply = pages::answer(&state, &request);
        drop(permit);
        reply
    });
    answered.await.unwrap_or_else(|error| {
        console::error(error);
        refused(&Refusal::unavailable(
            RefusalId::Failed,
            "the server failed; the server's console shows why",
        ))
    })
}

/// Reads a body to its end. Returns `None` if the body is too long or cannot be read.
async fn read(body: Incoming) -> Option<Vec<u8>> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        bytes.extend_from_slice(&frame.ok()?.into_data().ok()?);
        if bytes.len() > MAX_BODY_BYTES {
            return None;
        }
    }
    Some(bytes)
}

fn response(reply: Reply, outbox: Option<Outbox>) -> Response<ResponseBody> {
    let body = match (reply.content, outbox) {
        (Content::Text(text), _) => ResponseBody::text(text),
        (Content::File(piece), Some(outbox)) => ResponseBody::Sent(piece, outbox),
        (Content::File(Some(piece)), None) => ResponseBody::Read(piece),
        (Content::File(None), None) => ResponseBody::text(String::new()),
        (Content::Events(events), _) => ResponseBody::Events(events),
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    response.headers_mut().extend(reply.headers);
    if reply.close {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
