//! The pages: which request gets which answer. All of it is plain functions that may wait for the disk.

use std::io;
use std::time::SystemTime;

use anyhow::Result;
use hyper::StatusCode;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};

use super::ask::{Ask, Verb, method_refused};
use super::files::{self, Piece};
use super::hand;
use super::install;
use super::refusal::Refusal;
use super::site::Site;
use super::{Tree, board};

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) content: Content,
    /// Whether the connection ends with it.
    pub(super) close: bool,
}

/// What an answer holds.
#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    File(Option<Piece>),
}

/// Answers a request.
pub(super) fn answer(site: &Site, ask: &Ask) -> Reply {
    let parts: Vec<&str> = ask.path.iter().map(String::as_str).collect();
    let identity = |reply: &dyn Fn() -> Result<Reply>| match ask.verb {
        Verb::Get => reply().unwrap_or_else(|error| failed(site, &error)),
        // A HEAD would have to do what a GET does, to say what that would answer.
        Verb::Head | Verb::Post => not_allowed("GET"),
    };
    match parts.as_slice() {
        ["report"] if ask.verb == Verb::Post => install::report(site, ask).unwrap_or_else(|error| failed(site, &error)),
        ["report"] => not_allowed("POST"),
        ["node.json"] => identity(&|| hand::document(site, ask)),
        ["boot.ipxe"] => identity(&|| install::boot_script(site, ask)),
        _ if ask.verb == Verb::Post => not_allowed("GET, HEAD"),
        [] => board::board(site).unwrap_or_else(|error| failed(site, &error)),
        ["image", "centos7.ks"] => {
            if ask.verb == Verb::Get {
                install::kickstart(site, ask);
            }
            public(site, ask, || files::open(&site.out, &ask.path))
        }
        ["image", ..] => public(site, ask, || files::open(&site.out, &ask.path)),
        ["tree", ..] => public(site, ask, || match &site.tree {
            Some(Tree::Folder(folder)) => files::open(folder, &ask.path[1..]),
            _ => Ok(None),
        }),
        _ => not_found(),
    }
}

fn public(site: &Site, ask: &Ask, open: impl FnOnce() -> io::Result<Option<std::fs::File>>) -> Reply {
    let name = ask.path.last().map(String::as_str).unwrap_or_default();
    let found = open().and_then(|file| file.map(|file| files::answer(file, name, &ask.conditions)).transpose());
    match found {
        Ok(Some(answer)) => {
            Reply { status: answer.status, headers: answer.headers, content: Content::File(answer.piece), close: false }
        }
        Ok(None) => not_found(),
        Err(error) => failed(site, &anyhow::Error::from(error).context(format!("cannot open {}", ask.path.join("/")))),
    }
}

/// Words.
pub(super) fn text_reply(status: StatusCode, mut text: String) -> Reply {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let headers = vec![
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        // It is meant for who asked, and for now.
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Reply { status, headers, content: Content::Text(text), close: false }
}

/// A refusal as an answer.
pub(super) fn refused(refusal: &Refusal) -> Reply {
    let mut reply = text_reply(refusal.status, refusal.to_string());
    if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
        reply.headers.push((RETRY_AFTER, HeaderValue::from_static("2")));
    }
    // Where the request itself is wrong it is not sure where the next one would begin.
    reply.close = matches!(refusal.status, StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED);
    reply
}

fn not_allowed(allowed: &'static str) -> Reply {
    let mut reply = refused(&method_refused(allowed));
    reply.headers.push((ALLOW, HeaderValue::from_static(allowed)));
    reply
}

fn not_found() -> Reply {
    text_reply(StatusCode::NOT_FOUND, "not found [not-found]".to_owned())
}

fn failed(site: &Site, error: &anyhow::Error) -> Reply {
    site.log.trouble(error);
    text_reply(StatusCode::INTERNAL_SERVER_ERROR, "the server failed; its console says why [failed]".to_owned())
}

/// Now, for records: one time for all that a request changes.
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}
