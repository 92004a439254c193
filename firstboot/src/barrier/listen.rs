//! The side that is asked: answers one path on the node's own peer port, for as long as etcd is not there.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddrV4};
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
use tokio::sync::Semaphore;
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

/// An open listener. It, and every connection it took, is closed when this is dropped and its runtime with it.
#[derive(Debug)]
pub(crate) struct Listener {
    answer: Arc<Mutex<Bytes>>,
    task: AbortHandle,
}

impl Listener {
    /// Opens the port and answers from now on.
    pub(crate) async fn open(address: Ipv4Addr, tls: Arc<rustls::ServerConfig>, first: Vec<u8>) -> Result<Self> {
        let address = SocketAddrV4::new(address, PORT);
        let socket = TcpListener::bind(address).await.map_err(|error| {
            not_ready(format!("cannot listen on {address}, etcd's peer port: {error}. `ss -tlnp` says who has it"))
        })?;
        let answer = Arc::new(Mutex::new(Bytes::from(first)));
        let task = tokio::spawn(accept(socket, TlsAcceptor::from(tls), answer.clone())).abort_handle();
        Ok(Self { answer, task })
    }

    /// What is answered from now on. It must be on the disk before.
    pub(crate) fn say(&self, words: Vec<u8>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Bytes::from(words);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(socket: TcpListener, tls: TlsAcceptor, answer: Arc<Mutex<Bytes>>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        match socket.accept().await {
            Ok((stream, _)) => {
                let (tls, answer) = (tls.clone(), answer.clone());
                tokio::spawn(async move {
                    serve(stream, tls, answer).await;
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
async fn serve(stream: TcpStream, tls: TlsAcceptor, answer: Arc<Mutex<Bytes>>) {
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await else { return };
    let service = service_fn(move |request| {
        let response = respond(&request, &answer);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn respond(request: &Request<Incoming>, answer: &Mutex<Bytes>) -> Response<Full<Bytes>> {
    let ours = request.method() == Method::GET && request.uri().path() == words::PATH;
    let body = if ours { answer.lock().unwrap_or_else(PoisonError::into_inner).clone() } else { Bytes::new() };
    let mut response = Response::new(Full::new(body));
    if !ours {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}
