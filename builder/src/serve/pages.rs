//! The pages: which request gets which answer. All of it is plain functions that may wait for the disk.

use std::io;

use anyhow::Result;
use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue};

use super::ask::{Ask, Verb, method_refused};
use super::board;
use super::files;
use super::hand;
use super::install;
use super::reply::{Content, Reply, refused, text_reply};
use super::site::Site;
use super::tree::Tree;

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
