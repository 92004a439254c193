//! The side that is asked: answers on the node's own peer port, for as long as etcd is not there.

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

use super::hand::{self, Rest};
use super::words;
use crate::exit::not_ready;

/// etcd's peer port.
pub(crate) const PORT: u16 = 2380;

/// For how long somebody may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many may ask at a time: each peer needs one connection, and none may fill the memory.
const CONNECTIONS: usize = 64;

/// What is answered, and what is known of those who asked.
#[derive(Debug)]
struct Said {
    answer: Mutex<Bytes>,
    /// A file that is handed out, by its digest.
    file: Mutex<Option<(Sha256, PathBuf)>>,
    bell: watch::Sender<Bell>,
}

/// Rung at whatever makes it worth while to ask again before it is time.
#[derive(Debug, Default, Clone)]
pub(crate) struct Bell {
    /// How often the answer has changed.
    pub(crate) answers: u64,
    /// How often a peer asked that had something new to say itself.
    pub(crate) news: u64,
    /// Who has had the answer as it is now.
    told: BTreeSet<IpAddr>,
}

/// An open listener. It, and every connection it took, is closed when this is dropped and its runtime with it.
#[derive(Debug)]
pub(crate) struct Listener {
    said: Arc<Said>,
    task: AbortHandle,
}

impl Listener {
    /// Opens the port and answers from now on.
    pub(crate) async fn open(address: Ipv4Addr, tls: Arc<rustls::ServerConfig>, first: Vec<u8>) -> Result<Self> {
        let address = SocketAddrV4::new(address, PORT);
        let socket = TcpListener::bind(address).await.map_err(|error| {
            not_ready(format!("cannot listen on {address}, etcd's peer port: {error}. `ss -tlnp` says who has it"))
        })?;
        let bell = watch::Sender::new(Bell { answers: 1, ..Bell::default() });
        let said = Arc::new(Said { answer: Mutex::new(Bytes::from(first)), file: Mutex::default(), bell });
        let task = tokio::spawn(accept(socket, TlsAcceptor::from(tls), said.clone())).abort_handle();
        Ok(Self { said, task })
    }

    /// What is answered from now on. It must be on the disk before.
    pub(crate) fn say(&self, words: Vec<u8>) {
        *self.said.answer.lock().unwrap_or_else(PoisonError::into_inner) = Bytes::from(words);
        self.said.bell.send_modify(|bell| {
            bell.answers += 1;
            bell.told.clear();
        });
    }

    /// Hands a file out from now on to whoever names its digest.
    pub(crate) fn offer(&self, digest: Sha256, path: PathBuf) {
        *self.said.file.lock().unwrap_or_else(PoisonError::into_inner) = Some((digest, path));
    }

    /// The bell, for one who waits.
    pub(crate) fn bell(&self) -> watch::Receiver<Bell> {
        self.said.bell.subscribe()
    }

    /// Returns when all of these have had the answer as it is now, or when that takes too long.
    pub(crate) async fn told(&self, all: &BTreeSet<IpAddr>, patience: Duration) {
        let mut bell = self.bell();
        let told = bell.wait_for(|bell| bell.told.is_superset(all));
        let _ = tokio::time::timeout(patience, told).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(socket: TcpListener, tls: TlsAcceptor, said: Arc<Said>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        match socket.accept().await {
            Ok((stream, from)) => {
                let (tls, said) = (tls.clone(), said.clone());
                tokio::spawn(async move {
                    serve(stream, from.ip(), tls, &said).await;
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
async fn serve(stream: TcpStream, from: IpAddr, tls: TlsAcceptor, said: &Said) {
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await else { return };
    let service = service_fn(move |request| {
        let response = respond(&request, from, said);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn respond(request: &Request<Incoming>, from: IpAddr, said: &Said) -> Response<BoxBody<Bytes, io::Error>> {
    let path = request.uri().path();
    let (status, body) = match path.strip_prefix(words::SNAPSHOTS) {
        _ if request.method() != Method::GET => (StatusCode::NOT_FOUND, None),
        Some(digest) => hand_out(request, digest, said),
        None if path == words::PATH => {
            let answer = said.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let news = request.uri().query() == Some(words::NEWS);
            said.bell.send_if_modified(|bell| {
                bell.news += u64::from(news);
                bell.told.insert(from) || news
            });
            (StatusCode::OK, Some(whole(answer)))
        }
        None => (StatusCode::NOT_FOUND, None),
    };
    let mut response = Response::new(body.unwrap_or_else(|| whole(Bytes::new())));
    *response.status_mut() = status;
    response
}

fn hand_out(request: &Request<Incoming>, digest: &str, said: &Said) -> (StatusCode, Option<BoxBody<Bytes, io::Error>>) {
    let file = said.file.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some((_, path)) = file.filter(|(known, _)| known.to_string() == digest) else {
        return (StatusCode::NOT_FOUND, None);
    };
    let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok());
    match Rest::of(&path, range.and_then(hand::place).unwrap_or_default()) {
        Ok(Some(rest)) => (StatusCode::PARTIAL_CONTENT, Some(rest.boxed())),
        Ok(None) => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
    }
}

fn whole(bytes: Bytes) -> BoxBody<Bytes, io::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}
