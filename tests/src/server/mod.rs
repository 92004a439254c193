//! A small HTTP/1.1 file server that can inject faults.
//!
//! The server serves a folder with GET and HEAD, including Range and Content-Length. A request with
//! any other method is recorded and answered with 204, so that a test can read a script's report.
//! Each connection carries only one request, so a client must handle `Connection: close`, and a
//! broken connection cannot affect the next request.

mod fault;
mod request;
mod respond;
mod shared;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use shared::Shared;

pub use fault::Fault;
pub use request::Request;

/// A running server. The server stops on drop.
#[derive(Debug)]
pub struct FileServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

impl FileServer {
    /// Serves `folder` on a free port of the loopback interface.
    pub fn on_loopback(folder: &Path) -> Result<FileServer> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
        FileServer::start(listener, folder)
    }

    /// Serves `folder` on a socket, such as one opened with [`crate::network::Namespace::listen`].
    pub fn start(listener: TcpListener, folder: &Path) -> Result<FileServer> {
        let address = listener
            .local_addr()
            .context("cannot get the address of a socket")?;
        listener
            .set_nonblocking(true)
            .context("cannot make a socket non-blocking")?;
        let shared = Arc::new(Shared {
            folder: folder.to_path_buf(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept(&listener, &theirs));
        Ok(FileServer {
            shared,
            address,
            accepting: Some(accepting),
        })
    }

    /// Returns the address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{}", self.address, path.trim_start_matches('/'))
    }

    /// Applies the fault to requests for the path from now on, in addition to the path's other
    /// faults.
    pub fn fault(&self, path: &str, fault: Fault) {
        let mut faults = lock(&self.shared.faults);
        faults.entry(normal(path)).or_default().push(fault);
    }

    /// Ends all faults of the path.
    pub fn clear_faults(&self, path: &str) {
        lock(&self.shared.faults).remove(&normal(path));
    }

    /// Returns all requests so far, in the order in which they arrived.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Returns the requests for one path.
    pub fn requests_for(&self, path: &str) -> Vec<Request> {
        let path = normal(path);
        self.requests()
            .into_iter()
            .filter(|request| request.path == path)
            .collect()
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn normal(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

/// Locks the mutex, even if another thread has panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((connection, _)) => {
                let shared = Arc::clone(shared);
                // Ignore a connection's errors, because the client reports them to the test.
                std::thread::spawn(move || serve(&connection, &shared));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn serve(connection: &std::net::TcpStream, shared: &Shared) -> std::io::Result<()> {
    connection.set_nonblocking(false)?;
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    let Some(request) = Request::read(connection)? else {
        return Ok(());
    };
    lock(&shared.requests).push(request.clone());
    let faults = lock(&shared.faults)
        .get_mut(&request.path)
        .map(fault::faults_for_request)
        .unwrap_or_default();
    respond::respond(connection, &request, &faults, shared)
}
