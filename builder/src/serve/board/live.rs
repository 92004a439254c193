//! Sends each change of the board to the open pages, as server-sent events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use members::survey::DataComparison;

use super::html::fragment;
use super::subscribers::Events;
use super::view::View;
use crate::serve::reply::{Content, Reply};
use crate::serve::state::ServerState;
use crate::status::Report;

/// The pause between two reads of the server's records.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The pause between two queries to the members.
const ASK_INTERVAL: Duration = Duration::from_secs(10);
/// The maximum time without a message to a page. Many proxies close a connection that has been idle
/// for a minute.
const IDLE_INTERVAL: Duration = Duration::from_secs(20);

/// Returns an answer that streams the events for as long as the page is open.
pub(super) fn reply(events: Events) -> Reply {
    Reply {
        status: StatusCode::OK,
        headers: vec![
            (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ],
        content: Content::Events(events),
        close: false,
    }
}

/// Formats one event, which contains the text as a JSON string. The encoding escapes line breaks,
/// which would end the event.
fn event(text: &str) -> Bytes {
    let json = serde_json::Value::from(text);
    format!("data: {json}\n\n").into()
}

/// Keeps the board up to date until the server ends.
pub(in crate::serve) async fn run(state: Arc<ServerState>) {
    tokio::join!(follow_records(&state), follow_members(&state));
}

async fn follow_records(state: &Arc<ServerState>) {
    let (mut shown, mut sent) = (String::new(), Instant::now());
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let pages = &state.board.pages;
        if !pages.are_open() {
            shown.clear();
            continue;
        }
        let looking = Arc::clone(state);
        let looked =
            tokio::task::spawn_blocking(move || View::read(&looking).map(|view| fragment(&view)));
        // This task ignores a failure, because the request for the page itself reports the failure.
        if let Ok(Ok(text)) = looked.await
            && text != shown
        {
            pages.publish(event(&text));
            (shown, sent) = (text, Instant::now());
        } else if sent.elapsed() > IDLE_INTERVAL {
            pages.send(&Bytes::from_static(b":\n\n"));
            sent = Instant::now();
        }
    }
}

async fn follow_members(state: &Arc<ServerState>) {
    let Some(access) = &state.board.cluster_access else {
        return;
    };
    let mut access = access.clone();
    loop {
        let report = Report::ask_again(&mut access, DataComparison::Skip).await;
        state.board.set_report(report);
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}
