//! Formats the report as text.

use std::fmt::Write as _;

use members::survey::{Row, Verdict, columns, health, remarks, role, size};
use members::timestamp::{now, rfc3339};

use super::Report;
use super::report::{List, Update};

/// Formats the report as tables and lines.
pub(super) fn full(report: &Report) -> String {
    let mut text = format!(
        "cluster {}: {}, {}\n",
        report.cluster,
        word(report.verdict),
        report.at
    );
    text += &table(&report.members);
    text += &lists(report);
    if let Some(backup) = &report.backup {
        text += &backup.line();
    }
    let has_answer = report.lists.iter().any(|list| list.members.is_some());
    text += &update(&report.update, has_answer);
    for error in &report.errors {
        let _ = writeln!(text, "error: {error}");
    }
    text
}

/// Formats the report as one line.
pub(super) fn line(report: &Report) -> String {
    let members = report.members.iter().map(|row| {
        let problems: Vec<String> = row.errors.iter().map(ToString::to_string).collect();
        let state = if row.healthy { role(row) } else { "UNHEALTHY" };
        if problems.is_empty() {
            format!("{}={state}", row.name)
        } else {
            format!("{}={state} ({})", row.name, problems.join("; "))
        }
    });
    let members: Vec<String> = members.collect();
    format!(
        "{} {} {}\n",
        report.at,
        word(report.verdict),
        members.join(" ")
    )
}

pub(crate) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "healthy",
        Verdict::Degraded => "DEGRADED",
        Verdict::NoQuorum => "NO QUORUM",
    }
}

fn table(rows: &[Row]) -> String {
    let head = [
        "NAME",
        "ENDPOINT",
        "HEALTH",
        "ROLE",
        "VERSION",
        "DB SIZE",
        "TERM",
        "INDEX",
        "CERT DAYS",
        "REMARKS",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let answered = !row.version.is_empty();
        let number = |text: String| if answered { text } else { "-".to_owned() };
        lines.push(vec![
            row.name.clone(),
            row.endpoint.clone(),
            health(row).to_owned(),
            role(row).to_owned(),
            number(row.version.clone()),
            number(size(row.db_size)),
            number(row.raft_term.to_string()),
            number(row.raft_index.to_string()),
            days(row),
            remarks(row),
        ]);
    }
    columns(&lines)
}

/// Formats the remaining validity, in days, of the certificates that a member presents to its
/// clients and to its peers.
fn days(row: &Row) -> String {
    let days = |left: Option<i64>| left.map_or_else(|| "-".to_owned(), |days| days.to_string());
    match (row.certificate_days_left, row.peer_certificate_days_left) {
        (None, None) => "-".to_owned(),
        (client, peer) => format!("{}/{}", days(client), days(peer)),
    }
}

/// Formats the member lists: one line if they agree or no member answered, and otherwise all lists
/// side by side.
fn lists(report: &Report) -> String {
    let known = report.lists.iter().filter(|list| list.members.is_some());
    let known = known.count();
    if known == 0 {
        return "member lists: no member answered\n".to_owned();
    }
    if report.lists_agree {
        return format!(
            "member lists: {} of {} members answered, and their lists agree\n",
            known,
            report.lists.len()
        );
    }
    let mut lines = vec![vec!["MEMBER".to_owned()]];
    lines[0].extend(
        report
            .lists
            .iter()
            .map(|list| format!("AS SEEN BY {}", list.from)),
    );
    for (id, name) in report.listed() {
        let mut line = vec![format!("{name} ({id})")];
        line.extend(report.lists.iter().map(|list| cell(list, id)));
        lines.push(line);
    }
    format!("member lists DIFFER:\n{}", columns(&lines))
}

fn cell(list: &List, id: &str) -> String {
    let Some(members) = &list.members else {
        return "?".to_owned();
    };
    members.iter().find(|listed| listed.id == id).map_or_else(
        || "absent".to_owned(),
        |listed| format!("{} at {}", listed.role, listed.peer_urls.join(", ")),
    )
}

/// Formats the images and updates. Without an answer of any member, `update` contains only what the
/// builder knows.
fn update(update: &Update, has_answer: bool) -> String {
    let mut text = String::new();
    match (update.built, update.newest) {
        (Some(built), Some(newest)) => {
            let _ = writeln!(
                text,
                "images: the newest image built here is {built}, and the newest image that a \
                 member has started to install by an update is {newest}"
            );
        }
        (Some(built), None) if !has_answer => {
            let _ = writeln!(text, "images: the newest image built here is {built}");
        }
        (Some(built), None) => {
            let _ = writeln!(
                text,
                "images: the newest image built here is {built}; no member has started to install an \
                 image by an update"
            );
        }
        (None, Some(newest)) => {
            let _ = writeln!(
                text,
                "images: the newest image that a member has started to install by an update is \
                 {newest}"
            );
        }
        (None, None) => {}
    }
    if let Some(turn) = &update.turn {
        let _ = writeln!(
            text,
            "turn: {} has been installing image {} since {} ({} s)",
            turn.node,
            turn.serial,
            rfc3339(turn.since),
            now().saturating_sub(turn.since)
        );
    }
    if let Some(member) = &update.restart {
        let _ = writeln!(
            text,
            "restart lock: {member} is restarting its etcd to trust another CA"
        );
    }
    if let Some(halt) = &update.halt {
        let _ = writeln!(text, "update: {}", halt.reason());
    }
    if let (Some(failed), Some(serial)) = (&update.failed, update.newest) {
        let _ = writeln!(text, "update: {}", failed.reason(serial));
    }
    text
}
