//! Maps each request to its answer. All functions in this module are synchronous and may block on
//! the disk.

use std::io;

use anyhow::Result;
use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue};
use recipes::image_release::RELEASE_FILE;
use recipes::reinstallation::REINSTALL_PAGE;

use super::board;
use super::boot::Loader;
use super::client_request::{ClientRequest, Verb, method_refused};
use super::enrolment;
use super::files;
use super::index;
use super::install;
use super::kickstart;
use super::node_document;
use super::refusal::{Refusal, RefusalId};
use super::reinstallation;
use super::reply::{Content, Reply, refused};
use super::report;
use super::state::ServerState;
use super::tree::InstallTree;

/// Returns whether the request is a certificate request, whose answer needs the PKI folder.
pub(super) fn signs(request: &ClientRequest) -> bool {
    request.verb == Verb::Post && request.path == ["enrol"]
}

pub(super) fn answer(state: &ServerState, request: &ClientRequest) -> Reply {
    let parts: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["report"] if request.verb == Verb::Post => {
            report::reply(state, request).unwrap_or_else(|error| failed(state, &error))
        }
        [REINSTALL_PAGE] if request.verb == Verb::Post => {
            reinstallation::reply(state, request).unwrap_or_else(|error| failed(state, &error))
        }
        ["report" | REINSTALL_PAGE] => not_allowed("POST"),
        ["enrol"] => match &state.ca {
            Some(ca) if request.verb == Verb::Post => {
                enrolment::enrol(state, request, ca).unwrap_or_else(|error| failed(state, &error))
            }
            Some(_) => not_allowed("POST"),
            None => not_found(),
        },
        ["node.json"] => identity(state, request, || node_document::document(state, request)),
        ["boot.ipxe" | "boot.grub" | "boot.pxelinux"]
        | ["loaders", .., "pxelinux.cfg" | "grub.cfg"]
        | ["loaders", .., "pxelinux.cfg", _]
        | ["grub", "grub.cfg"] => loader_page(state, request, &parts),
        _ if request.verb == Verb::Post => not_allowed("GET, HEAD"),
        ["board", path @ ..] | path @ ["metrics"] => {
            board::answer(state, request, path).unwrap_or_else(|error| failed(state, &error))
        }
        [] => index::page(state).unwrap_or_else(|error| failed(state, &error)),
        ["image", "centos7.ks"] => {
            // The file is opened before the image is compared, so that the comparison detects a
            // build that replaces the output between the two steps.
            let opened = files::open(&state.out, &request.path);
            match kickstart::requested(state, request) {
                Ok(None) => public(state, request, || opened),
                Ok(Some(reply)) => reply,
                Err(error) => failed(state, &error),
            }
        }
        ["image", ..] | [RELEASE_FILE] => {
            public(state, request, || files::open(&state.out, &request.path))
        }
        ["tree", ..] => public(state, request, || match &state.tree {
            Some(InstallTree::Folder(folder)) => files::open(folder, &request.path[1..]),
            _ => Ok(None),
        }),
        ["loaders", ..] => public(state, request, || match &state.loaders {
            Some(folder) => files::open(folder, &request.path[1..]),
            None => Ok(None),
        }),
        // The mirror's record and lock file are not served, because they are only for the operator.
        ["mirror", "etcd" | "tree" | "repos", ..] => {
            public(state, request, || match &state.mirror {
                Some(folder) => files::open(folder, &request.path[1..]),
                None => Ok(None),
            })
        }
        _ => not_found(),
    }
}

/// Answers a boot loader.
fn loader_page(state: &ServerState, request: &ClientRequest, parts: &[&str]) -> Reply {
    let script = |loader| {
        identity(state, request, || {
            install::boot_script(state, request, loader)
        })
    };
    match parts {
        ["boot.ipxe"] => script(Loader::Ipxe),
        ["boot.grub"] if request.verb == Verb::Head => install::grub_head(),
        ["boot.grub"] => script(Loader::Grub),
        ["boot.pxelinux"] => script(Loader::Pxelinux),
        [.., "grub.cfg"] if request.verb != Verb::Post => {
            install::first_script(state, request, Loader::Grub)
        }
        [.., "pxelinux.cfg", name] => identity(state, request, || {
            install::pxelinux_file(state, request, name)
        }),
        [.., "grub.cfg"] => not_allowed("GET, HEAD"),
        _ => not_found(),
    }
}

/// Answers a request whose reply depends on the machine. Only GET is allowed.
fn identity(
    state: &ServerState,
    request: &ClientRequest,
    reply: impl FnOnce() -> Result<Reply>,
) -> Reply {
    match request.verb {
        Verb::Get => reply().unwrap_or_else(|error| failed(state, &error)),
        // A HEAD request is refused, because it would have the side effects of a GET request.
        Verb::Head | Verb::Post => not_allowed("GET"),
    }
}

fn public(
    state: &ServerState,
    request: &ClientRequest,
    open: impl FnOnce() -> io::Result<Option<std::fs::File>>,
) -> Reply {
    let name = request.path.last().map(String::as_str).unwrap_or_default();
    let found = open().and_then(|file| {
        file.map(|file| files::answer(file, name, &request.conditions))
            .transpose()
    });
    match found {
        Ok(Some(answer)) => Reply {
            status: answer.status,
            headers: answer.headers,
            content: Content::File(answer.piece),
            close: false,
        },
        Ok(None) => not_found(),
        Err(error) => failed(
            state,
            &anyhow::Error::from(error).context(format!("cannot open {}", request.path.join("/"))),
        ),
    }
}

fn not_allowed(allowed: &'static str) -> Reply {
    let mut reply = refused(&method_refused(allowed));
    reply
        .headers
        .push((ALLOW, HeaderValue::from_static(allowed)));
    reply
}

fn not_found() -> Reply {
    refused(&Refusal::not_found(RefusalId::NotFound, "not found"))
}

fn failed(state: &ServerState, error: &anyhow::Error) -> Reply {
    state.log.error(error);
    refused(&Refusal {
        id: RefusalId::Failed,
        status: StatusCode::INTERNAL_SERVER_ERROR,
        why: "the server failed; the server's console shows why".to_owned(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::serve::cluster::NodeCache;
    use crate::serve::deliveries::Deliveries;
    use crate::serve::log::Log;
    use crate::serve::pki_warnings::PkiWarnings;
    use crate::serve::unsaved_records::UnsavedRecords;

    /// Returns the state of a server without options.
    pub(in crate::serve) fn state(out: &std::path::Path) -> ServerState {
        ServerState {
            out: out.to_owned(),
            nodes: NodeCache::default(),
            record_dir: out.to_owned(),
            document_window: Duration::ZERO,
            retries: 0,
            reinstall: false,
            tree: None,
            loaders: None,
            mirror: None,
            append: String::new(),
            scheme: "http",
            ca: None,
            log: Log::start(false, None).unwrap(),
            board: board::Board::default(),
            power: None,
            deliveries: Deliveries::default(),
            unsaved_installations: UnsavedRecords::default(),
            pki_warnings: PkiWarnings::default(),
        }
    }

    /// Returns a request from this host to `localhost`.
    pub(in crate::serve) fn request(head: hyper::http::request::Builder) -> ClientRequest {
        let (head, ()) = head
            .header("host", "localhost")
            .body(())
            .unwrap()
            .into_parts();
        let local = "127.0.0.1:80".parse().unwrap();
        ClientRequest::read(&head, local, local).unwrap()
    }

    /// The board is open to this host. Without an output, the server cannot show the board, so the
    /// expected status is 500.
    #[test]
    fn a_head_request_has_the_status_of_a_get_request() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("image")).unwrap();
        fs::write(folder.path().join("image/SHA256SUMS"), "").unwrap();
        let state = state(folder.path());
        let status = |method: &str, path: &str| {
            let request = request(hyper::Request::builder().method(method).uri(path));
            answer(&state, &request).status.as_u16()
        };
        for (path, expected) in [
            ("/", 500),
            ("/board", 500),
            ("/board/board.css", 200),
            ("/board/board.js", 200),
            ("/board/events", 200),
            ("/board/none", 404),
            ("/metrics", 500),
            ("/image/SHA256SUMS", 200),
            ("/none", 404),
        ] {
            for method in ["GET", "HEAD"] {
                assert_eq!(status(method, path), expected, "{method} {path}");
            }
            assert_eq!(status("POST", path), 405, "{path}");
        }
        // These requests change the record of a machine, so only GET is allowed.
        for path in ["/node.json", "/boot.ipxe?mac=52:54:00:00:00:01"] {
            assert_eq!(status("HEAD", path), 405, "{path}");
        }
    }
}
