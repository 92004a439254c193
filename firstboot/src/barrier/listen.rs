//! The side that is asked: answers one path on the node's own peer port, for as long as etcd is not there.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

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
        let said = Arc::new(Said { answer: Mutex::new(Bytes::from(first)), bell });
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

fn respond(request: &Request<Incoming>, from: IpAddr, said: &Said) -> Response<Full<Bytes>> {
    if request.method() != Method::GET || request.uri().path() != words::PATH {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    let answer = said.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let news = request.uri().query() == Some(words::NEWS);
    said.bell.send_if_modified(|bell| {
        bell.news += u64::from(news);
        bell.told.insert(from) || news
    });
    Response::new(Full::new(answer))
}
