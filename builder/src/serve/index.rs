//! The table of all nodes with their progress.

use std::fmt::Write as _;

use anyhow::Result;
use hyper::StatusCode;
use recipes::Label;

use super::record::{NextBoot, Record, time};
use super::reply::{Reply, text_reply};
use super::state::ServerState;
use crate::exit::with_causes;

/// The row of one node.
#[derive(Debug, Default)]
struct Row {
    installation: Option<String>,
    since: Option<String>,
    tries: Option<String>,
    document: Option<String>,
    why: Option<String>,
}

/// Renders the table.
pub(super) fn page(state: &ServerState) -> Result<Reply> {
    let cluster = state.cluster()?;
    let mut text = line([
        "NODE",
        "ADDRESS",
        "INSTALLATION",
        "SINCE",
        "TRIES",
        "DOCUMENT",
        "WHY",
    ]);
    for node in cluster.nodes.iter() {
        // If the record of a node cannot be read, only the row of this node shows the error. The
        // other nodes are still listed.
        let row = row(state, &cluster.record, &node.name).unwrap_or_else(|error| Row {
            why: Some(with_causes(&error)),
            ..Row::default()
        });
        let address = node.address.to_string();
        let cell = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let cells = [row.installation, row.since, row.tries, row.document].map(cell);
        let [installation, since, tries, document] = &cells;
        let why = row.why.unwrap_or_default();
        text.push_str(&line([
            node.name.as_str(),
            &address,
            installation,
            since,
            tries,
            document,
            &why,
        ]));
    }
    Ok(text_reply(StatusCode::OK, text))
}

fn row(state: &ServerState, record: &Record, node: &Label) -> Result<Row> {
    let document = state
        .delivery(record, node)?
        .and_then(|delivery| delivery.first)
        .map(time::text);
    let Some(installation) = record.installation(node)? else {
        return Ok(Row {
            document,
            ..Row::default()
        });
    };
    let last = installation.last.as_ref();
    let event = last.map_or("allowed", |last| last.kind.as_str());
    let held = if installation.next(state.retries) == NextBoot::Held {
        "held, "
    } else {
        ""
    };
    Ok(Row {
        installation: Some(format!("{held}{event}")),
        since: last.map(|last| time::text(last.at)),
        tries: Some(installation.attempts.to_string()),
        document,
        why: last.and_then(|last| last.why.clone()),
    })
}

fn line([node, address, installation, since, tries, document, why]: [&str; 7]) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "{node:<16}{address:<17}{installation:<36}{since:<22}{tries:<7}{document:<22}{why}"
    );
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}
