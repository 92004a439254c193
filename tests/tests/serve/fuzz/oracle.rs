//! Decides whether a machine may receive an answer.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use recipes::{Envelope, NodeDocument};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::asker::{Asker, Keys, Knowledge};
use super::client::{Reply, Response, responses};
use super::request::{Port, Request};

/// The information that the server may reveal to each machine.
pub(super) struct Oracle {
    /// The files that any client may receive, by size.
    pub(super) public: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Strings that no answer may contain.
    pub(super) secrets: Vec<Vec<u8>>,
    pub(super) known: Knowledge,
}

/// The kind of content in an answer.
#[derive(Debug)]
pub(super) enum Kind {
    Silence,
    Status(u16),
    File,
    Part,
    Empty,
    Index,
    Script,
    /// A script that installs the requesting machine. The value is the token in the script.
    Installer(String),
    Document,
    Board,
    Recorded,
}

impl Kind {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::Installer(_) => "installer".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}

impl Oracle {
    /// Checks all answers to a request.
    pub(super) fn check(
        &self,
        asker: &Asker,
        request: &Request,
        reply: &Reply,
    ) -> Result<Vec<Kind>> {
        for secret in &self.secrets {
            let found = reply.bytes.windows(secret.len()).any(|part| part == secret);
            ensure!(!found, "a secret is in the answer");
        }
        if reply.bytes.is_empty()
            || (request.port == Port::RawToTls && !reply.bytes.starts_with(b"HTTP"))
        {
            return Ok(vec![Kind::Silence]);
        }
        let all = responses(&reply.bytes, request);
        ensure!(!all.is_empty(), "the answer is not HTTP");
        all.iter()
            .map(|response| self.check_response(asker, request, response))
            .collect()
    }

    fn check_response(
        &self,
        asker: &Asker,
        request: &Request,
        response: &Response<'_>,
    ) -> Result<Kind> {
        let body = response.body;
        match response.status {
            200 | 206 if body.is_empty() => Ok(Kind::Empty),
            200 if self.is_public(response) => Ok(Kind::File),
            200 => self.check_text(asker, request, response),
            206 => self.check_part(response),
            100 | 304 | 400 | 401 | 403 | 404 | 405 | 408 | 412 | 414 | 416 | 431 | 503 => {
                Ok(Kind::Status(response.status))
            }
            // The status 500 is not allowed, because no request may make the server fail.
            other => bail!("the status {other} is not expected"),
        }
    }

    /// Returns whether the body is a public file, or the beginning of one.
    fn is_public(&self, response: &Response<'_>) -> bool {
        let files = response.length.and_then(|length| self.public.get(&length));
        files.is_some_and(|files| files.iter().any(|file| file.starts_with(response.body)))
    }

    /// Checks an answer that must be a part of a public file.
    fn check_part(&self, response: &Response<'_>) -> Result<Kind> {
        let range = response
            .header("content-range")
            .context("the answer states no range")?;
        let (range, total) = range
            .trim_start_matches("bytes ")
            .split_once('/')
            .context("the range states no total size")?;
        let start: usize = range
            .split_once('-')
            .context("the answer states no range")?
            .0
            .parse()?;
        let files = self
            .public
            .get(&total.parse()?)
            .context("not a public file")?;
        let is_part = |file: &Vec<u8>| {
            file.get(start..)
                .is_some_and(|rest| rest.starts_with(response.body))
        };
        ensure!(files.iter().any(is_part), "not a part of a public file");
        Ok(Kind::Part)
    }

    /// Checks an answer whose text the server generated.
    fn check_text(
        &self,
        asker: &Asker,
        request: &Request,
        response: &Response<'_>,
    ) -> Result<Kind> {
        let text = &*String::from_utf8_lossy(response.body);
        if text.starts_with("NODE  ") {
            return Ok(Kind::Index);
        }
        if text.starts_with("#!ipxe\n") {
            return check_script(asker, text);
        }
        if let Some((_, commands)) = LOADERS.iter().find(|(first, _)| text.starts_with(first)) {
            return check_commands(asker, text, commands);
        }
        if text == "recorded\n" {
            let tokens = self.known.tokens.lock().ok().context("a worker panicked")?;
            let sent = String::from_utf8_lossy(&request.bytes);
            let is_own = tokens
                .iter()
                .any(|(owner, token)| *owner == asker.name && sent.contains(token.as_str()));
            ensure!(
                is_own,
                "a report without a token of this machine is recorded"
            );
            return Ok(Kind::Recorded);
        }
        if text.starts_with('{') {
            return check_document(asker, text).map(|()| Kind::Document);
        }
        let sent = String::from_utf8_lossy(&request.bytes);
        let may_see = asker.is_local || sent.contains(&self.known.board_token);
        ensure!(may_see, "not a public file or an answer for this machine");
        let kinds = [
            "text/html; charset=utf-8",
            "text/css; charset=utf-8",
            "text/javascript; charset=utf-8",
            "text/event-stream",
            "text/plain; version=0.0.4; charset=utf-8",
        ];
        let kind = response.header("content-type").unwrap_or_default();
        ensure!(kinds.contains(&kind), "not a page of the board: {kind}");
        Ok(Kind::Board)
    }
}

/// The first words of each kind of script for grub or pxelinux, and the commands that such a script
/// may contain.
const LOADERS: [(&str, &[&str]); 5] = [
    ("echo \"etcd-image: ", &GRUB),
    ("set uuid=", &GRUB),
    ("sleep 2\nset uuid=", &GRUB),
    ("SAY etcd-image: ", &PXELINUX),
    ("DEFAULT again\n", &PXELINUX),
];
const GRUB: [&str; 17] = [
    "if chainloader $file; then boot; fi",
    "configfile \"(http",
    "done",
    "for try in ",
    "echo \"",
    "exit 1",
    "fi",
    "for file in ",
    "if linux '",
    "regexp --set=0:plain ",
    "if search ",
    "if initrd '",
    "if initrdefi '",
    "if linuxefi '",
    "set ",
    "sleep 2",
    "smbios ",
];
const PXELINUX: [&str; 12] = [
    "APPEND ",
    "CONFIG http",
    "DEFAULT ",
    "INITRD ",
    "LABEL ",
    "LINUX ",
    "LOCALBOOT -1",
    "ONERROR disk",
    "PROMPT ",
    "SAY etcd-image: ",
    "SYSAPPEND 2",
    "TIMEOUT 20",
];

/// Checks a script for iPXE. The script must not contain a command that the client wrote, and may
/// only install the requesting machine's own node.
fn check_script(asker: &Asker, text: &str) -> Result<Kind> {
    let known = [
        "#!ipxe",
        "chain ",
        "sleep 2",
        "echo ",
        "exit 1",
        "kernel ",
        "initrd ",
        "boot || exit 1",
    ];
    check_commands(asker, text, &known)
}

/// Checks a script for a boot loader. The script must not contain a command that the client wrote,
/// and may only install the requesting machine's own node.
fn check_commands(asker: &Asker, text: &str, known: &[&str]) -> Result<Kind> {
    for line in text.lines().map(str::trim_start) {
        ensure!(
            line.is_empty() || known.iter().any(|word| line.starts_with(word)),
            "an unexpected command: {line}"
        );
        ensure!(!line.contains("${evil"), "{line}");
    }
    let installs = ["kernel ", "if linux ", "APPEND "];
    let Some(kernel) = text
        .lines()
        .map(str::trim_start)
        .find(|line| installs.iter().any(|word| line.starts_with(word)))
    else {
        return Ok(Kind::Script);
    };
    let own = format!("?node={}&token=", asker.name);
    let (_, token) = kernel
        .split_once(&own)
        .context("another node is installed")?;
    Ok(Kind::Installer(
        token
            .split([' ', '\''])
            .next()
            .unwrap_or_default()
            .to_owned(),
    ))
}

/// Checks a document. The document must be for the requesting machine's node, and the certificates
/// in the document must be for that node's keys.
fn check_document(asker: &Asker, text: &str) -> Result<()> {
    let envelope: Envelope =
        serde_json::from_str(text).context("not a public file or a document")?;
    let document: NodeDocument = serde_json::from_slice(&envelope.unverified()?)?;
    ensure!(
        document.name.as_str() == asker.name,
        "the document of {}",
        document.name
    );
    let keys: &Keys = asker.keys.as_ref().context("a document for a stranger")?;
    let issued = [
        &document.tls.server,
        &document.tls.peer,
        &document.tls.client,
    ];
    for (issued, point) in issued.into_iter().zip(&keys.points) {
        ensure!(
            is_for(&issued.cert, point)?,
            "a certificate for a key that is not the node's"
        );
    }
    Ok(())
}

/// Returns whether a certificate in PEM is for this public key.
pub(super) fn is_for(pem: &str, point: &[u8]) -> Result<bool> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes())
        .ok()
        .context("not a certificate")?;
    Ok(der.windows(point.len()).any(|part| part == point))
}
