//! Implements the server of the barrier, which answers on the node's peer port until etcd needs the
//! port.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use http::header::RANGE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use recipes::Sha256;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::file_body::{self, FileRange};
use super::unverified_connections::UnverifiedConnections;
use crate::exit::not_ready;
use crate::membership::protocol;
use crate::paths::PEER_PORT;
use crate::reason::ReasonId;

/// The time limit for a TLS handshake. A peer stops waiting after the same time
/// (`membership::peer_client`).
const HANDSHAKE: Duration = Duration::from_millis(1500);
/// The time limit for a peer to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The prefix of the paths that etcd requests when it connects to a member
/// (server/etcdserver/api/rafthttp/http.go, RaftPrefix).
const RAFT: &str = "/raft";
/// The maximum number of simultaneous connections from peers. Each peer needs one or two.
const PEERS: usize = 64;

/// The current answer, the file that the server offers, and the peers that have received the
/// answer.
#[derive(Debug)]
struct ServerState {
    answer: Mutex<Bytes>,
    /// The file that the server sends to a peer that requests the file's digest.
    file: Mutex<Option<(Sha256, PathBuf)>>,
    notifier: watch::Sender<ChangeCounters>,
}

/// The events on the peer port. A change of `answers` or `news` ends the pause before the next
/// probe.
#[derive(Debug, Default, Clone)]
pub(crate) struct ChangeCounters {
    /// The number of times that the answer has changed.
    pub(crate) answers: u64,
    /// The number of probes from peers whose state has changed.
    pub(crate) news: u64,
    /// The peers that have received the current answer.
    acked_by: BTreeSet<IpAddr>,
    /// The address of the last peer whose etcd connected to this node.
    pub(crate) etcd: Option<IpAddr>,
}

/// An open listener. Dropping the listener and its runtime closes the port and all connections.
#[derive(Debug)]
pub(crate) struct Listener {
    state: Arc<ServerState>,
    task: AbortHandle,
}

impl Listener {
    /// Opens the port and starts answering.
    pub(crate) async fn open(
        address: Ipv4Addr,
        tls: Arc<rustls::ServerConfig>,
        first: Vec<u8>,
    ) -> Result<Self> {
        let address = SocketAddrV4::new(address, PEER_PORT);
        let socket = TcpListener::bind(address).await.map_err(|error| {
            not_ready(ReasonId::PeerPortInUse.because(format!(
                "cannot listen on {address}, etcd's peer port: {error}. `ss -tlnp` shows which process uses the port"
            )))
        })?;
        let notifier = watch::Sender::new(ChangeCounters {
            answers: 1,
            ..ChangeCounters::default()
        });
        let state = Arc::new(ServerState {
            answer: Mutex::new(Bytes::from(first)),
            file: Mutex::default(),
            notifier,
        });
        let task =
            tokio::spawn(accept(socket, TlsAcceptor::from(tls), state.clone())).abort_handle();
        Ok(Self { state, task })
    }

    /// Sets the answer. The caller must already have written the announced state durably to the
    /// disk.
    pub(crate) fn announce(&self, words: Vec<u8>) {
        *self
            .state
            .answer
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Bytes::from(words);
        self.state.notifier.send_modify(|notifier| {
            notifier.answers += 1;
            notifier.acked_by.clear();
        });
    }

    /// Makes the server send the file to every peer that requests this digest.
    pub(crate) fn offer(&self, digest: Sha256, path: PathBuf) {
        *self
            .state
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((digest, path));
    }

    pub(crate) fn notifier(&self) -> watch::Receiver<ChangeCounters> {
        self.state.notifier.subscribe()
    }

    /// Waits until all of these peers have received the current answer, but no longer than
    /// `patience`.
    pub(crate) async fn wait_until_acked(&self, all: &BTreeSet<IpAddr>, patience: Duration) {
        let mut notifier = self.notifier();
        let acked = notifier.wait_for(|notifier| notifier.acked_by.is_superset(all));
        let _ = tokio::time::timeout(patience, acked).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts every connection immediately, because a connection that waits in the kernel's queue
/// would delay the peers that connect after it.
async fn accept(socket: TcpListener, tls: TlsAcceptor, state: Arc<ServerState>) {
    let (unverified, peers) = (
        UnverifiedConnections::default(),
        Arc::new(Semaphore::new(PEERS)),
    );
    loop {
        match socket.accept().await {
            Ok((stream, from)) => {
                let (tls, state, peers, from) =
                    (tls.clone(), state.clone(), peers.clone(), from.ip());
                unverified.admit(from, |place| {
                    tokio::spawn(async move {
                        let Ok(Ok(stream)) =
                            tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await
                        else {
                            return;
                        };
                        drop(place);
                        let Ok(_place) = peers.try_acquire() else {
                            return;
                        };
                        serve(stream, from, &state).await;
                    })
                    .abort_handle()
                });
            }
            // Wait a moment: `accept` fails if the process has no free file descriptor, or if a
            // client closed its connection before the server accepted the connection.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Serves one peer. A client that closes the connection early, or that has no certificate of the
/// cluster, never reaches this function. The server does not log such clients, because a port
/// scanner would fill the log.
async fn serve(stream: TlsStream<TcpStream>, from: IpAddr, state: &ServerState) {
    let service = service_fn(move |request| {
        let response = respond(&request, from, state);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT);
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn respond(
    request: &Request<Incoming>,
    from: IpAddr,
    state: &ServerState,
) -> Response<BoxBody<Bytes, io::Error>> {
    let path = request.uri().path();
    let (status, body) = match path.strip_prefix(protocol::SNAPSHOTS) {
        _ if request.method() != Method::GET => (StatusCode::NOT_FOUND, None),
        Some(digest) => hand_out(request, digest, state),
        None if path == protocol::PATH => {
            let answer = state
                .answer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let news = request.uri().query() == Some(protocol::NEWS);
            state.notifier.send_if_modified(|notifier| {
                notifier.news += u64::from(news);
                notifier.acked_by.insert(from) || news
            });
            (StatusCode::OK, Some(full_body(answer)))
        }
        None => {
            if path.starts_with(RAFT) {
                state
                    .notifier
                    .send_modify(|notifier| notifier.etcd = Some(from));
            }
            (StatusCode::NOT_FOUND, None)
        }
    };
    let mut response = Response::new(body.unwrap_or_else(|| full_body(Bytes::new())));
    *response.status_mut() = status;
    response
}

fn hand_out(
    request: &Request<Incoming>,
    digest: &str,
    state: &ServerState,
) -> (StatusCode, Option<BoxBody<Bytes, io::Error>>) {
    let file = state
        .file
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let Some((_, path)) = file.filter(|(known, _)| known.to_string() == digest) else {
        return (StatusCode::NOT_FOUND, None);
    };
    let range = request
        .headers()
        .get(RANGE)
        .and_then(|range| range.to_str().ok());
    match FileRange::of(
        &path,
        range.and_then(file_body::parse_offset).unwrap_or_default(),
    ) {
        Ok(Some(rest)) => (StatusCode::PARTIAL_CONTENT, Some(rest.boxed())),
        Ok(None) => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
    }
}

fn full_body(bytes: Bytes) -> BoxBody<Bytes, io::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as Silent;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::membership::peer_tls;

    /// An address in the loopback network 127.0.0.0/8 at which no other program uses port 2380.
    const OWN: Ipv4Addr = Ipv4Addr::new(127, 93, 80, 1);

    /// Keeps 400 silent connections from one address open. Replaces every connection that the
    /// server closes.
    fn flood(over: &AtomicBool) {
        let open = || {
            Silent::connect_timeout(
                &SocketAddrV4::new(OWN, PEER_PORT).into(),
                Duration::from_secs(1),
            )
            .ok()
        };
        let mut silent: Vec<Option<Silent>> = Vec::new();
        while !over.load(Ordering::Relaxed) {
            silent.retain(|stream| {
                let Some(stream) = stream else { return false };
                stream.set_nonblocking(true).is_ok()
                    && stream
                        .peek(&mut [0])
                        .is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
            });
            silent.resize_with(400, open);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Creates a peer that probes from this address, each time over a new connection.
    fn peer(identity: &crate::identity::Identity, from: Ipv4Addr) -> reqwest::Client {
        reqwest::Client::builder()
            .tls_backend_preconfigured(peer_tls::client(&identity.tls).unwrap())
            .resolve("localhost", SocketAddrV4::new(OWN, PEER_PORT).into())
            .local_address(IpAddr::from(from))
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()
            .unwrap()
    }

    /// A peer stops waiting for an answer after 1.5 s. Without a limit for each source, the silent
    /// connections of one host made a peer wait for 6 to 13 s.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn silent_connections_do_not_delay_peers() {
        let identity = crate::steps::test_identity();
        let _listener = Listener::open(
            OWN,
            peer_tls::server(&identity.tls).unwrap(),
            b"words".to_vec(),
        )
        .await
        .unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let flooding = std::thread::spawn({
            let over = over.clone();
            move || flood(&over)
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut slowest = Duration::ZERO;
        // The peer probes first from a different address, and then from the address of the silent
        // connections.
        for from in [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::LOCALHOST] {
            let peer = peer(&identity, from);
            for _ in 0..20 {
                let begun = Instant::now();
                let answer = peer
                    .get(format!("https://localhost:{PEER_PORT}{}", protocol::PATH))
                    .send()
                    .await
                    .unwrap();
                assert_eq!(answer.text().await.unwrap(), "words");
                slowest = slowest.max(begun.elapsed());
            }
        }
        over.store(true, Ordering::Relaxed);
        // Wait without blocking the runtime. The server must keep accepting connections, because
        // each connection that it does not accept delays the flooding thread by a second.
        tokio::task::spawn_blocking(|| flooding.join().unwrap())
            .await
            .unwrap();
        println!("the slowest answer came after {slowest:?}");
        assert!(slowest < Duration::from_millis(1500), "{slowest:?}");
    }
}
