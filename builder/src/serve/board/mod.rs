//! The board: one page that shows the stage of each machine, and the cluster's members. An open
//! page updates itself after every change. The board is read-only.
//!
//! `access` decides who may view the board, and `client_ca` checks client certificates. `view`
//! collects the server's information, and `html` and `metrics` render it; `elements` renders the
//! parts of the page. `live` sends each change to the open pages, which `subscribers` manages.
//! `hook` calls the operator's command for each event about a node.

mod access;
mod client_ca;
mod elements;
pub(super) mod hook;
mod html;
mod live;
mod metrics;
mod shared;
mod subscribers;
#[cfg(test)]
mod tests;
mod view;

use anyhow::Result;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};

use super::client_request::{ClientRequest, Verb};
use super::refusal::{Refusal, RefusalId};
use super::reply::{Content, Reply, refused};
use super::state::ServerState;
pub(super) use client_ca::ClientCa;
pub(super) use live::run;
pub(super) use shared::Board;
pub(super) use subscribers::Events;

/// The style sheet of the page. The server sends the style sheet as a separate file, so the page
/// needs no inline style.
const STYLE: &str = include_str!("board.css");
/// The script of the page. If the browser does not run the script, the page reloads itself.
const SCRIPT: &str = include_str!("board.js");

/// Answers a request for the board. `path` is the path below `/board`; `/metrics` is the same as
/// `/board/metrics`.
pub(super) fn answer(state: &ServerState, request: &ClientRequest, path: &[&str]) -> Result<Reply> {
    if let Err(denied) = state.board.access.check(request) {
        state.log_refusal(request, &denied.refusal);
        let mut reply = refused(&denied.refusal);
        reply.headers.extend(denied.challenge);
        return Ok(reply);
    }
    Ok(match path {
        [] => html_reply(&html::page(&view::View::read(state)?)),
        ["board.css"] => asset(STYLE, "text/css; charset=utf-8"),
        ["board.js"] => asset(SCRIPT, "text/javascript; charset=utf-8"),
        ["events"] if request.verb == Verb::Head => live::reply(Events::none()),
        ["events"] => match state.board.pages.open() {
            Ok(events) => live::reply(events),
            Err(refusal) => refused(&refusal),
        },
        ["metrics"] => asset(
            &metrics::text(&view::View::read(state)?),
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        _ => refused(&Refusal::not_found(
            RefusalId::NotFound,
            "the board does not have this page",
        )),
    })
}

fn html_reply(text: &str) -> Reply {
    let mut reply = asset(text, "text/html; charset=utf-8");
    reply.headers.extend([
        (
            HeaderName::from_static("content-security-policy"),
            HeaderValue::from_static(
                "default-src 'none'; style-src 'self'; img-src data:; script-src 'self'; connect-src 'self'; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
        ),
        (
            HeaderName::from_static("referrer-policy"),
            HeaderValue::from_static("no-referrer"),
        ),
    ]);
    reply
}

fn asset(text: &str, kind: &'static str) -> Reply {
    Reply {
        status: StatusCode::OK,
        headers: vec![
            (CONTENT_TYPE, HeaderValue::from_static(kind)),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (
                HeaderName::from_static("x-content-type-options"),
                HeaderValue::from_static("nosniff"),
            ),
        ],
        content: Content::Text(text.to_owned()),
        close: false,
    }
}
