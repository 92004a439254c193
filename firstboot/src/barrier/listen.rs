//! The side that is asked: answers one path on the node's own peer port, for as long as etcd is not there.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
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
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::hand::{self, Rest};
use super::words;
use crate::exit::not_ready;

/// etcd's peer port.
pub(crate) const PORT: u16 = 2380;

/// For how long somebody may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many may ask at a time: each peer needs one connection, and none may fill the memory.
const CONNECTIONS: usize = 64;

/// What is answered.
#[derive(Debug, Clone)]
struct Answers {
    words: Bytes,
    /// A file that is handed out, by its digest.
    file: Option<(Sha256, PathBuf)>,
}

/// An open listener. It, and every connection it took, is closed when this is dropped and its runtime with it.
#[derive(Debug)]
pub(crate) struct Listener {
    answers: Arc<Mutex<Answers>>,
    task: AbortHandle,
}

impl Listener {
    /// Opens the port and answers from now on.
    pub(crate) async fn open(address: Ipv4Addr, tls: Arc<rustls::ServerConfig>, first: Vec<u8>) -> Result<Self> {
        let address = SocketAddrV4::new(address, PORT);
        let socket = TcpListener::bind(address).await.map_err(|error| {
            not_ready(format!("cannot listen on {address}, etcd's peer port: {error}. `ss -tlnp` says who has it"))
        })?;
        let answers = Arc::new(Mutex::new(Answers { words: Bytes::from(first), file: None }));
        let task = tokio::spawn(accept(socket, TlsAcceptor::from(tls), answers.clone())).abort_handle();
        Ok(Self { answers, task })
    }

    /// What is answered from now on. It must be on the disk before.
    pub(crate) fn say(&self, words: Vec<u8>) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).words = Bytes::from(words);
    }

    /// Hands a file out from now on to whoever names its digest.
    pub(crate) fn offer(&self, digest: Sha256, path: PathBuf) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).file = Some((digest, path));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(socket: TcpListener, tls: TlsAcceptor, answers: Arc<Mutex<Answers>>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        match socket.accept().await {
            Ok((stream, _)) => {
                let (tls, answers) = (tls.clone(), answers.clone());
                tokio::spawn(async move {
                    serve(stream, tls, answers).await;
                    drop(place);
                });
            }
            // Out of descriptors, or the connection was gone before it was taken.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Serves one connection. Whoever breaks it off or shows no certificate of the cluster's gets nothing, and no word in
/// the log: a port scanner would fill it.
async fn serve(stream: TcpStream, tls: TlsAcceptor, answers: Arc<Mutex<Answers>>) {
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await else { return };
    let service = service_fn(move |request| {
        let response = respond(&request, &answers);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn respond(request: &Request<Incoming>, answers: &Mutex<Answers>) -> Response<BoxBody<Bytes, io::Error>> {
    let Answers { words, file } = answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let path = request.uri().path();
    let (status, body) = match path.strip_prefix(words::SNAPSHOTS) {
        _ if request.method() != Method::GET => (StatusCode::NOT_FOUND, None),
        None if path == words::PATH => (StatusCode::OK, Some(whole(words))),
        None => (StatusCode::NOT_FOUND, None),
        Some(digest) => match file {
            Some((known, path)) if known.to_string() == digest => {
                let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok());
                let rest = Rest::of(&path, range.and_then(hand::place).unwrap_or_default());
                match rest {
                    Ok(Some(rest)) => (StatusCode::PARTIAL_CONTENT, Some(rest.boxed())),
                    Ok(None) => (StatusCode::RANGE_NOT_SATISFIABLE, None),
                    Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
                }
            }
            _ => (StatusCode::NOT_FOUND, None),
        },
    };
    let mut response = Response::new(body.unwrap_or_else(|| whole(Bytes::new())));
    *response.status_mut() = status;
    response
}

fn whole(bytes: Bytes) -> BoxBody<Bytes, io::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}
