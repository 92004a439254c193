//! An S3 server (moto, from PyPI) behind a proxy that injects faults.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::network::Namespace;
use crate::process::{self, KillOnDrop};
use crate::{cache, run};

/// The moto version that the tests were written against, and the dependencies of its server.
/// `moto[server]` would also install the parsers for all of Amazon's services.
const MOTO: [&str; 3] = ["moto[s3]==5.2.5", "flask", "flask-cors"];
/// The port on which the server listens in its namespace. The caller sets the proxy's address.
const PORT: u16 = 9000;

/// The faults that the proxy can cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The proxy answers the next requests with this method, up to this number, with the status
    /// 500.
    Status500(&'static str, u32),
    /// The next answers, up to this number, break off in the middle of their headers.
    Truncate(u32),
    /// The next answers larger than one MiB, up to this number, break off in the middle.
    Half(u32),
    /// Each request is delayed by this time.
    Slow(Duration),
    /// The server carries out a request whose first line contains this text, but the proxy delays
    /// the answer by this time.
    SlowAnswer(&'static str, Duration),
    /// The server reports a wrong digest of the stored object.
    Lie,
    /// The proxy flips the last byte of each downloaded object, except JSON, and removes the digest
    /// from each answer.
    Flip,
}

/// The server, which is stopped on drop.
#[derive(Debug)]
pub struct Server(#[expect(dead_code, reason = "dropping this field stops the server")] KillOnDrop);

impl Server {
    /// Starts the server in a namespace, at one of the namespace's addresses, with an empty bucket.
    pub fn start(world: &Namespace, address: &str, bucket: &str) -> Result<Self> {
        let log = File::create(run::current()?.folder("s3")?.join("log"))?;
        let (host, port) = address
            .rsplit_once(':')
            .context("the address is not HOST:PORT")?;
        let mut moto = world.command("python3");
        moto.args(["-m", "moto.server", "-H", host, "-p", port])
            .env("PYTHONPATH", library()?);
        // Make the server keep objects in memory. If the server wrote objects to the disk, each
        // byte would be written twice to the disk that the server shares with the client.
        moto.env(
            "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE",
            (16_u64 << 30).to_string(),
        );
        let server = KillOnDrop::spawn(&moto, &log)?;
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let url = format!("http://{address}/{bucket}");
            let made = process::run(
                world
                    .command("curl")
                    .args(["-sSf", "-m", "10", "-X", "PUT", &url]),
            )?;
            if made.success() {
                return Ok(Self(server));
            }
            ensure!(Instant::now() < end, "moto does not answer: {made:?}");
            sleep(Duration::from_millis(200));
        }
    }
}

/// An S3 server and a proxy in front of the server. The server and the proxy are stopped on drop.
#[derive(Debug)]
pub struct S3 {
    faults: Arc<Mutex<Vec<Fault>>>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
    _server: Server,
}

impl S3 {
    /// Starts the server and the proxy in a namespace. The proxy listens on the address, and the
    /// server has an empty bucket.
    pub fn start(world: &Namespace, proxy: &str, bucket: &str) -> Result<Self> {
        let server = Server::start(world, &format!("127.0.0.1:{PORT}"), bucket)?;
        let listener = world.listen(proxy.to_owned())?;
        listener.set_nonblocking(true)?;
        let (faults, stop): (Arc<Mutex<Vec<Fault>>>, Arc<AtomicBool>) = Default::default();
        let (theirs, ended) = (Arc::clone(&faults), Arc::clone(&stop));
        let world = world.clone();
        // Threads that are started by a thread in the namespace are also in the namespace.
        let accepting = std::thread::spawn(move || {
            let _ = world.within(|| accept(&listener, &theirs, &ended));
        });
        Ok(Self {
            faults,
            stop,
            accepting: Some(accepting),
            _server: server,
        })
    }

    /// Applies the fault from now on, until its count is used up or until [`S3::clear_faults`].
    pub fn fault(&self, fault: Fault) {
        lock(&self.faults).push(fault);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        lock(&self.faults).clear();
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Returns the folder for PYTHONPATH that contains moto and all its dependencies, including boto3.
pub fn library() -> Result<PathBuf> {
    cache::entry("moto-5.2.5", |folder| {
        eprintln!("bed: getting {}", MOTO[0]);
        let mut pip = Command::new("pip");
        pip.args([
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
        ]);
        process::run(pip.arg("--target").arg(folder).args(MOTO))?
            .ok()
            .map(drop)
            .context("cannot install moto")?;
        fs::read_dir(folder.join("moto"))
            .map(drop)
            .context("moto is not installed")
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn accept(listener: &TcpListener, faults: &Arc<Mutex<Vec<Fault>>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((connection, _)) => {
                let faults = Arc::clone(faults);
                // Ignore a connection's errors, because the client reports them.
                std::thread::spawn(move || pass(connection, &faults));
            }
            Err(_) => sleep(Duration::from_millis(5)),
        }
    }
}

/// Forwards one request and its answer; each connection carries only one request.
fn pass(mut client: TcpStream, faults: &Mutex<Vec<Fault>>) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    let (head, mut body) = head_of(&mut client)?;
    let length: usize = header(&head, "content-length")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    if header(&head, "expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let come = body.len().min(length);
    body.resize(length, 0);
    client.read_exact(&mut body[come..])?;
    let due = faults_for_request(&mut lock(faults), &head);
    if let Some(pause) = due.iter().find_map(|fault| {
        if let Fault::Slow(pause) = fault {
            Some(*pause)
        } else {
            None
        }
    }) {
        sleep(pause);
    }
    if due
        .iter()
        .any(|fault| matches!(fault, Fault::Status500(..)))
    {
        return client
            .write_all(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let mut server = TcpStream::connect(("127.0.0.1", PORT))?;
    server.write_all(forwarded(&head).as_bytes())?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let slow = due.iter().find_map(|fault| {
        if let Fault::SlowAnswer(_, pause) = fault {
            Some(*pause)
        } else {
            None
        }
    });
    slow.into_iter().for_each(sleep);
    if due.iter().any(|fault| matches!(fault, Fault::Truncate(_))) {
        answer.truncate(20);
    }
    if answer.len() > 1 << 20 && spend_half(&mut lock(faults)) {
        answer.truncate(answer.len() / 2);
    }
    if due.contains(&Fault::Lie) || due.contains(&Fault::Flip) {
        answer = altered(&answer, &head, due.contains(&Fault::Flip));
    }
    client.write_all(&answer)
}

/// Returns the head of a request, changed so that the connection is closed after the answer.
fn forwarded(head: &str) -> String {
    let mut lines = head.lines();
    let mut passed = format!(
        "{}\r\nConnection: close\r\n",
        lines.next().unwrap_or_default()
    );
    for line in lines.filter(|line| !line.to_lowercase().starts_with("connection:")) {
        passed.push_str(line);
        passed.push_str("\r\n");
    }
    passed.push_str("\r\n");

    passed
}

/// Reads a request's head, and the part of the body that arrived with the head.
fn head_of(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            bytes.truncate(end + 2);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), body));
        }
        let read = client.read(&mut buffer)?;
        if read == 0 || bytes.len() > 1 << 20 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines
        .into_iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// Returns the faults that apply to this request, and decrements their counts.
fn faults_for_request(faults: &mut Vec<Fault>, head: &str) -> Vec<Fault> {
    let concerns = |fault: &Fault| match fault {
        Fault::Status500(method, _) => head.starts_with(method),
        Fault::SlowAnswer(word, _) => head.lines().next().is_some_and(|line| line.contains(word)),
        _ => true,
    };
    let now = faults
        .iter()
        .filter(|fault| concerns(fault))
        .copied()
        .collect();
    for fault in faults.iter_mut().filter(|fault| concerns(fault)) {
        if let Fault::Status500(_, times) | Fault::Truncate(times) = fault {
            *times = times.saturating_sub(1);
        }
    }
    faults.retain(|fault| !matches!(fault, Fault::Status500(_, 0) | Fault::Truncate(0)));
    now
}

/// Returns whether this large answer must break off, and decrements the count of the fault.
fn spend_half(faults: &mut Vec<Fault>) -> bool {
    let mut spent = false;
    for fault in faults.iter_mut() {
        if let Fault::Half(times) = fault {
            spent |= *times > 0;
            *times = times.saturating_sub(1);
        }
    }
    faults.retain(|fault| *fault != Fault::Half(0));
    spent
}

/// Returns the answer with a different digest. With `flip`, returns the answer without a digest,
/// and changes the last byte if the answer is a downloaded object.
fn altered(answer: &[u8], request: &str, flip: bool) -> Vec<u8> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return answer.to_vec();
    };
    let head = String::from_utf8_lossy(&answer[..end]);
    let mut out = Vec::new();
    for line in head.lines() {
        match (
            line.to_lowercase().starts_with("x-amz-checksum-sha256:"),
            flip,
        ) {
            (true, true) => continue,
            (true, false) => out.extend_from_slice(
                format!("x-amz-checksum-sha256: {}=", "A".repeat(43)).as_bytes(),
            ),
            _ => out.extend_from_slice(line.as_bytes()),
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&answer[end + 4..]);
    if flip
        && request.starts_with("GET")
        && !request.contains(".json")
        && !request.contains("list-type")
    {
        let last = out.len() - 1;
        out[last] ^= 0xff;
    }
    out
}
