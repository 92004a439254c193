//! A request as it was received.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::time::SystemTime;

/// The maximum number of bytes that the server keeps of a request's body. A script's report is
/// small.
const MAX_BODY_BYTES: u64 = 1 << 20;

/// A request that the server has seen.
#[derive(Debug, Clone)]
pub struct Request {
    /// The time when the request arrived.
    pub at: SystemTime,
    /// The address from which the request was sent.
    pub from: Option<std::net::SocketAddr>,
    /// GET, HEAD, POST, …
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The part of the URL after the question mark.
    pub query: Option<String>,
    /// The headers in their original order, with names as they were written.
    pub headers: Vec<(String, String)>,
    /// The body, if the request had one.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns the value of a header. The header's name is case-insensitive.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Reads one request. Returns `None` if the client sent no valid request line.
    pub(crate) fn read(connection: &TcpStream) -> std::io::Result<Option<Request>> {
        let mut reader = BufReader::new(connection);
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Ok(None);
        };
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let mut request = Request {
            at: SystemTime::now(),
            from: connection.peer_addr().ok(),
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
                break;
            }
            if let Some((name, value)) = line.trim_end().split_once(':') {
                request
                    .headers
                    .push((name.to_owned(), value.trim().to_owned()));
            }
        }
        let length = request
            .header("content-length")
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        // curl waits up to a second for `100 Continue` before it sends a large body.
        if length > 0 && request.header("expect").is_some() {
            use std::io::Write as _;
            let mut connection = connection;
            connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        reader
            .take(MAX_BODY_BYTES.min(length))
            .read_to_end(&mut request.body)?;
        Ok(Some(request))
    }
}
