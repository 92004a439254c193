//! An HTTP server on loopback with configurable faults. Each file has a list of behaviours, one for
//! each request. The last behaviour in the list repeats for all further requests.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use url::Url;

use super::super::address;
use super::version;

/// The time limit for a client that never closes the connection.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The server's answer to one request.
#[derive(Debug, Clone)]
pub(super) enum Behavior {
    /// A correct answer, which respects Range and If-Range.
    Serve,
    /// The whole file, regardless of the request's Range.
    IgnoreRange,
    /// A correct answer, except that the connection ends after this many bytes of the body.
    Cut(usize),
    /// A correct answer, except that the server sends nothing after this many bytes.
    Stall(usize),
    /// A correct answer, except that the server sends only one byte every 20 ms.
    Drip,
    /// An answer with this status and these additional header lines.
    Status(u16, &'static str),
    /// The whole file without a stated length. The file ends when the connection ends.
    NoLength,
    /// An answer whose header states this Content-Length.
    Claim(u64),
    /// An answer with a range that was not requested.
    WrongRange,
}

/// A received request: its path, and the two headers that the tests check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) range: Option<String>,
    pub(super) if_range: Option<String>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, (Vec<u8>, Vec<Behavior>)>,
    asked: Vec<Asked>,
}

/// The server, whose thread ends with the test process.
pub(super) struct Server {
    url: Url,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/etcd", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || answer(&stream, &state));
            }
        });
        Self { url, state }
    }

    /// Creates a server with the tarball and these behaviours.
    pub(super) fn with(bytes: &[u8], acts: &[Behavior]) -> Self {
        Self::new().file(&address::tarball(version()), bytes, acts)
    }

    /// Adds a file SHA256SUMS with this text.
    pub(super) fn sums(self, text: &str) -> Self {
        self.file("SHA256SUMS", text.as_bytes(), &[Behavior::Serve])
    }

    pub(super) fn file(self, name: &str, bytes: &[u8], acts: &[Behavior]) -> Self {
        self.state
            .lock()
            .unwrap()
            .files
            .insert(name.to_owned(), (bytes.to_vec(), acts.to_vec()));
        self
    }

    pub(super) fn mirror(&self) -> Url {
        self.url.clone()
    }

    /// Returns the requests for the tarball.
    pub(super) fn asked(&self) -> Vec<Asked> {
        let asked = self.state.lock().unwrap().asked.clone();
        asked
            .into_iter()
            .filter(|asked| asked.name.ends_with(".tar.gz"))
            .collect()
    }

    /// Returns the number of all requests.
    pub(super) fn count(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }
}

fn answer(stream: &TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty());
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default();
    let name = path
        .strip_prefix(&format!("/etcd/v{}/", version()))
        .unwrap_or(path)
        .to_owned();
    let (mut range, mut if_range) = (None, None);
    for (key, value) in lines.filter_map(|line| {
        line.split_once(": ")
            .map(|(k, v)| (k.to_lowercase(), v.to_owned()))
    }) {
        match key.as_str() {
            "range" => range = Some(value),
            "if-range" => if_range = Some(value),
            _ => {}
        }
    }
    let (bytes, act) = {
        let mut state = state.lock().unwrap();
        state.asked.push(Asked {
            name: name.clone(),
            range: range.clone(),
            if_range: if_range.clone(),
        });
        match state.files.get_mut(&name) {
            Some((bytes, acts)) => (
                bytes.clone(),
                if acts.len() > 1 {
                    acts.remove(0)
                } else {
                    acts[0].clone()
                },
            ),
            None => (Vec::new(), Behavior::Status(404, "")),
        }
    };
    // Errors are ignored, because in some tests the client hangs up early.
    let _ = reply(stream, &bytes, &act, range.as_deref(), if_range.as_deref());
}

fn reply(
    mut stream: &TcpStream,
    bytes: &[u8],
    act: &Behavior,
    range: Option<&str>,
    if_range: Option<&str>,
) -> std::io::Result<()> {
    let etag = format!("\"{}\"", recipes::Sha256::of(bytes));
    let from: Option<usize> = range.and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    let from = from.filter(|_| {
        !matches!(
            act,
            Behavior::IgnoreRange | Behavior::NoLength | Behavior::Claim(_)
        )
    });
    let from = from.filter(|_| if_range.is_none_or(|given| given == etag));
    let size = bytes.len();
    let body = &bytes[from.unwrap_or(0).min(size)..];
    let head = match (act, from) {
        (Behavior::Status(status, more), _) => {
            return write!(
                stream,
                "HTTP/1.1 {status} told so\r\nContent-Length: 0\r\nConnection: close\r\n{more}\r\n"
            );
        }
        (Behavior::NoLength, _) => "HTTP/1.0 200 OK\r\n".to_owned(),
        (Behavior::Claim(length), _) => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n"),
        (Behavior::WrongRange, _) => {
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-9/{size}\r\nContent-Length: 9\r\n"
            )
        }
        (_, Some(from)) if from >= size => {
            format!(
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\n"
            )
        }
        (_, Some(from)) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}\r\nContent-Length: {}\r\n",
            size - 1,
            body.len()
        ),
        (_, None) => format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n"),
    };
    write!(stream, "{head}ETag: {etag}\r\nConnection: close\r\n\r\n")?;
    match act {
        Behavior::Cut(after) => stream.write_all(&body[..*after.min(&body.len())]),
        Behavior::Stall(after) => {
            stream.write_all(&body[..*after.min(&body.len())])?;
            // Wait until the client hangs up, because the tests check how the client reacts.
            stream.set_read_timeout(Some(READ_TIMEOUT))?;
            stream.read(&mut [0]).map(drop)
        }
        Behavior::Drip => body.iter().try_for_each(|byte| {
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(&[*byte])
        }),
        Behavior::WrongRange => stream.write_all(&bytes[1..10]),
        _ => stream.write_all(body),
    }
}
