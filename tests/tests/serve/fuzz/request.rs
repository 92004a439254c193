//! Writes hostile requests. Most hostile requests start as a request that a machine could send, and
//! many of these requests are then changed.

use std::sync::Mutex;

use fastrand::Rng;

use super::asker::{Asker, Keys, Knowledge};
use super::words::{HEADERS, HOSTS, PATHS, PIECES};

/// The port to which a request is sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    #[default]
    Plain,
    Tls,
    /// The port for TLS, but the request is sent without TLS.
    RawToTls,
}

/// A request.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) bytes: Vec<u8>,
    pub(super) port: Port,
    /// Whether the client closes its sending side immediately after the request.
    pub(super) is_cut: bool,
    /// Whether random bytes of the request were changed.
    pub(super) is_mutated: bool,
    /// The methods of the requests in `bytes`.
    pub(super) methods: Vec<String>,
}

/// Writes the requests of one machine.
pub(super) struct Generator<'a> {
    rng: Rng,
    known: &'a Knowledge,
    asker: &'a Asker,
}

impl<'a> Generator<'a> {
    pub(super) fn new(seed: u64, known: &'a Knowledge, asker: &'a Asker) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            known,
            asker,
        }
    }

    /// Records a token that the server sent to this machine, because another machine might have
    /// intercepted it.
    pub(super) fn learn(&self, token: &str) {
        if let Ok(mut tokens) = self.tokens().lock() {
            tokens.push((self.asker.name.to_owned(), token.to_owned()));
        }
    }

    fn tokens(&self) -> &'a Mutex<Vec<(String, String)>> {
        &self.known.tokens
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.rng.u32(0..count) == 0
    }

    fn pick<'t>(&mut self, all: &[&'t str]) -> &'t str {
        all[self.rng.usize(0..all.len())]
    }

    pub(super) fn next(&mut self) -> Request {
        let mut request = Request {
            port: match self.rng.u8(0..80) {
                0 => Port::RawToTls,
                1..=20 => Port::Tls,
                _ => Port::Plain,
            },
            ..Request::default()
        };
        if self.one_in(60) {
            request.bytes = (0..self.rng.usize(0..2_000))
                .map(|_| self.rng.u8(..))
                .collect();
            request.is_mutated = true;
            return request;
        }
        let count = if self.one_in(20) { 2 } else { 1 };
        for _ in 0..count {
            let (method, bytes) = self.single();
            request.methods.push(method);
            request.bytes.extend(bytes);
        }
        if self.one_in(8) {
            self.mutate(&mut request.bytes);
            request.is_mutated = true;
        }
        if self.one_in(12) {
            let length = self.rng.usize(0..=request.bytes.len());
            request.bytes.truncate(length);
            request.is_mutated = true;
            request.is_cut = true;
        }
        request
    }

    /// Changes, removes and inserts some bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.rng.usize(1..5) {
            let at = self.rng.usize(0..=bytes.len());
            match self.rng.u8(0..4) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.rng.u8(0..8),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.insert(at, self.rng.u8(..)),
                _ => {
                    let odd = self.pick(&["\r\n", "\n", "\0", " ", ":", "\r\n\r\n", "%", "\t"]);
                    bytes.splice(at..at, odd.bytes());
                }
            }
        }
    }

    /// Returns a request built by the grammar, together with the request's method.
    fn single(&mut self) -> (String, Vec<u8>) {
        let path = self.pick(&PATHS);
        let is_post = matches!(path, "/enrol" | "/report");
        let usual = if is_post { "POST" } else { "GET" };
        let method = match self.rng.u8(0..20) {
            0 => "HEAD",
            1 => "POST",
            2 => "GET",
            3 => self.pick(&[
                "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PRI", "get", "", "G\u{e9}T",
            ]),
            _ => usual,
        };
        let target = self.target(path);
        let version = if self.one_in(25) {
            self.pick(&["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.", ""])
        } else {
            "HTTP/1.1"
        };
        let mut head = format!("{method} {target} {version}\r\n");
        self.headers(&mut head);
        let body = if method == "POST" || self.one_in(40) {
            self.body(path)
        } else {
            Vec::new()
        };
        self.framing(&mut head, body.len());
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(body);
        (method.to_owned(), bytes)
    }

    /// Returns the target of a request: a path, sometimes changed, and a query.
    fn target(&mut self, path: &str) -> String {
        let mut path = path.to_owned();
        if self.one_in(6) {
            for _ in 0..self.rng.usize(1..4) {
                let slashes: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
                let at = slashes[self.rng.usize(0..slashes.len())];
                path.insert_str(at, self.pick(&PIECES));
            }
        }
        if self.one_in(40) {
            path = format!("/image/..{}", path.replace('/', "%2f"));
        }
        if self.one_in(15) {
            path = path
                .bytes()
                .map(|byte| match self.rng.u8(0..3) {
                    0 => format!("%{byte:02x}"),
                    _ => char::from(byte).to_string(),
                })
                .collect();
        }
        if self.one_in(60) {
            path.push_str(&"a".repeat(self.rng.usize(0..20_000)));
        }
        if self.one_in(20) {
            let host = self.pick(&HOSTS);
            path = format!("http://{host}{path}");
        }
        if self.one_in(60) {
            return self.pick(&["*", "", "a", "//", "?", "#", "/?"]).to_owned();
        }
        let query = self.query();
        path + &query
    }

    /// Returns a query with a machine's claims about itself.
    fn query(&mut self) -> String {
        let mut pairs = Vec::new();
        if self.rng.bool() {
            pairs.push(format!("mac={}", self.asker.mac));
        }
        for _ in 0..self.rng.usize(0..3) {
            pairs.push(match self.rng.u8(0..10) {
                0..=2 => format!("uuid={}", self.rng.u64(..)),
                3..=4 => format!(
                    "mac={}",
                    self.known.macs[self.rng.usize(0..self.known.macs.len())]
                ),
                5 => format!("uuid={}", self.pick(&["", "x", "%00", "4c4c4544-0000"])),
                6 => format!(
                    "node={}",
                    self.pick(&["etcd-1", "etcd-2", "etcd-3", "..", "%2e%2e"])
                ),
                7 => format!(
                    "again={}",
                    self.pick(&["0", "4", "5", "4294967295", "-1", "x"])
                ),
                8 => {
                    let (node, token) = self.token();
                    format!("node={node}&token={token}")
                }
                _ => "mac=52:54:00&".repeat(self.rng.usize(1..200)),
            });
        }
        if pairs.is_empty() {
            String::new()
        } else {
            format!("?{}", pairs.join("&"))
        }
    }

    /// Returns a node's name and a token. The token is invented, or the server sent it to some
    /// machine.
    fn token(&mut self) -> (String, String) {
        let known = self.tokens().lock().map(|tokens| tokens.clone());
        let known = known.unwrap_or_default();
        let node = self.pick(&["etcd-1", "etcd-2", "etcd-3"]).to_owned();
        if known.is_empty() || self.one_in(3) {
            return (node, format!("{:032x}", self.rng.u128(..)));
        }
        let (owner, token) = known[self.rng.usize(0..known.len())].clone();
        let node = if self.one_in(2) { owner } else { node };
        (node, token)
    }

    fn headers(&mut self, head: &mut String) {
        let host = if self.one_in(15) {
            self.pick(&HOSTS).to_owned()
        } else {
            format!("{}:8081", self.asker.server)
        };
        for _ in 0..match self.rng.u8(0..40) {
            0 => 0,
            1 => 2,
            _ => 1,
        } {
            *head += &["Host: ", &host, "\r\n"].concat();
        }
        for _ in 0..self.rng.usize(0..4) {
            if self.one_in(2) {
                *head += &[self.pick(&HEADERS), "\r\n"].concat();
            }
        }
        if self.one_in(20) {
            let card = &self.known.macs[self.rng.usize(0..self.known.macs.len())];
            *head += &["X-RHN-Provisioning-MAC-0: eth0 ", card, "\r\n"].concat();
        }
        if self.one_in(20) {
            *head += &["Authorization: Bearer ", &self.known.board_token, "\r\n"].concat();
        }
        if self.one_in(50) {
            let line = format!(
                "X-{}: {}\r\n",
                self.rng.u8(..),
                "y".repeat(self.rng.usize(0..300))
            );
            *head += &line.repeat(self.rng.usize(1..150));
        }
    }

    /// Adds the headers that state the length of the body, sometimes wrongly.
    fn framing(&mut self, head: &mut String, length: usize) {
        let stated = match self.rng.u8(0..90) {
            0 => "Content-Length: -1\r\n".to_owned(),
            1 => "Content-Length: 18446744073709551616\r\n".to_owned(),
            2 => format!("Content-Length: {}\r\n", length + 7),
            3 => format!("Content-Length: {}\r\n", length.saturating_sub(7)),
            4 => format!(
                "Content-Length: {length}\r\nContent-Length: {}\r\n",
                length + 1
            ),
            5 => "Transfer-Encoding: chunked\r\n".to_owned(),
            6 => format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
            7 => "Transfer-Encoding: xchunked\r\n".to_owned(),
            _ if length == 0 => String::new(),
            _ => format!("Content-Length: {length}\r\n"),
        };
        head.push_str(&stated);
    }

    fn body(&mut self, path: &str) -> Vec<u8> {
        if path != "/enrol" || self.one_in(10) {
            let stage = self.pick(&[
                "started",
                "installing",
                "installed",
                "failed",
                "healthy",
                "x",
                "",
            ]);
            let why = self.pick(&["", "%00", "a%0ab", "\u{202e}", "%ff%fe"]);
            let mut text = format!("stage={stage}&why={why}");
            if self.one_in(10) {
                text.push_str(&"x".repeat(self.rng.usize(0..6_000)));
            }
            return text.into_bytes();
        }
        let all = &self.known.keys;
        let own = self.asker.keys.as_ref().filter(|_| self.rng.bool());
        let keys: &Keys = own.unwrap_or(&all[self.rng.usize(0..all.len())]);
        let mut requests = keys.requests.clone();
        match self.rng.u8(0..12) {
            0 => drop(requests.pop()),
            1 => requests[1].clone_from(&all[self.rng.usize(0..all.len())].requests[1]),
            2 => requests.swap(0, 2),
            3 => requests.push(requests[0].clone()),
            _ => {}
        }
        if self.one_in(3) {
            for der in &mut requests {
                if self.one_in(2) {
                    self.mutate(der);
                } else if self.one_in(4) {
                    der.truncate(self.rng.usize(0..der.len().max(1)));
                }
            }
        }
        let text: String = requests
            .iter()
            .map(|der| recipes::pem::encode("CERTIFICATE REQUEST", der))
            .collect();
        text.into_bytes()
    }
}
