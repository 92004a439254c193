//! Sends the bytes of a request, with or without TLS, and reads the reply.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tests::tls;

use super::asker::Asker;
use super::request::{Port, Request};

/// After this time without an answer, the client closes its sending side.
const PATIENCE: Duration = Duration::from_millis(200);
/// The time for which the client waits for the rest of the answer after it has closed its sending
/// side.
const REST: Duration = Duration::from_millis(500);
/// The maximum number of bytes of the reply that the client reads.
const MAX_REPLY_BYTES: usize = 96 << 10;

/// The bytes that the client received. The bytes can contain several answers.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) bytes: Vec<u8>,
}

/// Sends a request. If the server closes the connection, the reply consists of the bytes received
/// before.
pub(super) fn exchange(asker: &Asker, request: &Request) -> Reply {
    let port = if request.port == Port::Plain {
        8081
    } else {
        8443
    };
    let mut reply = Reply::default();
    let _ = send(
        SocketAddr::new(asker.server, port),
        request,
        &mut reply.bytes,
    );
    reply
}

fn send(server: SocketAddr, request: &Request, bytes: &mut Vec<u8>) -> Result<()> {
    let stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let socket = stream.try_clone()?;
    if request.port == Port::Tls {
        let connection = ClientConnection::new(tls::any_server()?, ServerName::try_from("enrol")?)?;
        talk(
            &mut StreamOwned::new(connection, stream),
            &socket,
            request,
            bytes,
        )
    } else {
        talk(&mut { stream }, &socket, request, bytes)
    }
}

fn talk(
    stream: &mut (impl Read + Write),
    socket: &TcpStream,
    request: &Request,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let written = stream
        .write_all(&request.bytes)
        .and_then(|()| stream.flush());
    if written.is_ok() && request.is_cut {
        socket.shutdown(Shutdown::Write)?;
    }
    let mut has_ended = request.is_cut;
    let mut buffer = vec![0; 16 << 10];
    while bytes.len() < MAX_REPLY_BYTES && !is_complete(bytes, request) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(_) if !has_ended => {
                has_ended = true;
                socket.shutdown(Shutdown::Write)?;
                socket.set_read_timeout(Some(REST))?;
            }
            Err(_) => break,
        }
    }
    Ok(())
}

/// Returns whether all answers have arrived, as far as a client can determine.
fn is_complete(bytes: &[u8], request: &Request) -> bool {
    !request.is_mutated
        && responses(bytes, request)
            .iter()
            .filter(|one| one.is_whole)
            .count()
            >= request.methods.len()
}

/// An answer of the server.
#[derive(Debug)]
pub(super) struct Response<'a> {
    pub(super) status: u16,
    pub(super) head: String,
    /// The part of the body that was read.
    pub(super) body: &'a [u8],
    /// The length that the head states.
    pub(super) length: Option<usize>,
    is_whole: bool,
}

impl Response<'_> {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Returns the answers in a reply. An answer to a HEAD request has no body.
pub(super) fn responses<'a>(bytes: &'a [u8], request: &Request) -> Vec<Response<'a>> {
    let mut rest = bytes;
    let mut all = Vec::new();
    while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let Some(status) = head.get(9..12).and_then(|status| status.parse().ok()) else {
            break;
        };
        rest = &rest[end + 4..];
        let mut response = Response {
            status,
            head,
            body: &[],
            length: None,
            is_whole: true,
        };
        let length = response
            .header("content-length")
            .and_then(|text| text.parse().ok());
        let method = request.methods.get(all.len()).map_or("", String::as_str);
        if method != "HEAD" && status != 304 && status / 100 != 1 {
            let most = length.unwrap_or(rest.len());
            response.is_whole = length.is_some_and(|length| length <= rest.len());
            response.body = &rest[..most.min(rest.len())];
            rest = &rest[most.min(rest.len())..];
        }
        response.length = length;
        all.push(response);
    }
    all
}
