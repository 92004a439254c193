//! `firstboot explain`: prints the journal as sentences. The command reads only local files, so it
//! works without a network. With `--sources`, the command shows the answers that the metadata
//! sources gave in this boot.

mod sources;

use anyhow::Result;
use recipes::Label;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::data::DataIdentity;
use crate::exit::Exit;
use crate::journal::{DataSwap, Entry, Event, Line, lines};
use crate::output::{show, show_json};
use crate::{files, paths};

/// The command line of `firstboot explain`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the journal is printed; 1 the journal cannot be read or has a damaged line.\n\n\
    Example: firstboot explain --json | jq -r '.[] | .time + \" \" + .text'"
)]
pub(crate) struct Options {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show what each metadata source answered in this boot, and which document the node uses
    #[arg(long)]
    sources: bool,
}

/// Prints what firstboot observed, decided and did on this disk, or the answers of the metadata
/// sources. Returns an exit code if the journal has a damaged line.
pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    if options.sources {
        return sources::run(options.json).map(|()| None);
    }
    let bytes = files::read_if_there(paths::JOURNAL)?.unwrap_or_default();
    let story = lines(&String::from_utf8_lossy(&bytes));
    if options.json {
        show_json(&rows(&story))?;
    } else {
        show(&text(&story))?;
    }
    Ok(story.contains(&Line::Damaged).then_some(Exit::Failed))
}

/// One line of the journal, as JSON.
#[derive(Debug, Serialize)]
struct ExplainRow<'a> {
    line: usize,
    state: &'static str,
    #[serde(flatten)]
    entry: Option<&'a Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    text: String,
}

fn rows(story: &[Line]) -> Vec<ExplainRow<'_>> {
    let mut rows = Vec::new();
    for (at, line) in story.iter().enumerate() {
        let (state, entry, text) = match line {
            Line::Entry(entry) => ("whole", Some(entry), sentence(&entry.event)),
            Line::Torn => ("torn", None, TORN.to_owned()),
            Line::Damaged => ("damaged", None, DAMAGED.to_owned()),
        };
        let time = entry.and_then(|entry| moment(entry)?.format(&Rfc3339).ok());
        rows.push(ExplainRow {
            line: at + 1,
            state,
            entry,
            time,
            text,
        });
    }
    rows
}

const TORN: &str = "is incomplete, as after a power cut. firstboot has not acted on this line, \
                   and the next run removes it";
const DAMAGED: &str = "is damaged, so its content is lost. firstboot does not continue with this journal: reinstall the \
                       node from the image";

fn text(story: &[Line]) -> String {
    if story.is_empty() {
        return format!(
            "{} is empty: firstboot has not accepted this machine as a node yet\n",
            paths::JOURNAL
        );
    }
    let mut text = String::new();
    let mut before = None;
    for (at, line) in story.iter().enumerate() {
        let line = match line {
            Line::Torn => format!("{}:{} {TORN}", paths::JOURNAL, at + 1),
            Line::Damaged => format!("{}:{} {DAMAGED}", paths::JOURNAL, at + 1),
            Line::Entry(entry) => {
                let passed = before
                    .replace(entry.at)
                    .map_or_else(String::new, |before| passed(before, entry.at));
                let format =
                    format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
                let when = moment(entry)
                    .and_then(|time| time.format(format).ok())
                    .unwrap_or_else(|| entry.at.to_string());
                format!("{when} {passed:>10}  {}", sentence(&entry.event))
            }
        };
        text += &line;
        text.push('\n');
    }
    text
}

fn moment(entry: &Entry) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(entry.at).ok()?).ok()
}

/// Formats the time between two entries with its two largest units, for example days and hours.
fn passed(before: u64, now: u64) -> String {
    let (sign, seconds) = if now < before {
        ('-', before - now)
    } else {
        ('+', now - before)
    };
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    let two = match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} m {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} m"),
        _ => format!("{days} d {hours} h"),
    };
    format!("{sign}{two}")
}

// This function is a table with one row for each event. Do not split the table: its parts would be
// as hard to read as the whole table, and the compiler could no longer check that the table
// contains every event.
#[expect(clippy::too_many_lines)]
fn sentence(event: &Event) -> String {
    match event {
        Event::IdentityAccepted { name, machine } => {
            format!("firstboot accepted this machine ({machine}) as {name}.")
        }
        Event::MembersExcluded { names } => {
            format!(
                "The operator excluded {} from the bootstrap.",
                list(names.iter())
            )
        }
        Event::DiskIdDrawn { disk_id } => {
            format!("The disk was empty, and firstboot gave it the id {disk_id}.")
        }
        Event::ProposalAccepted { nonces, mode } => {
            let seen = if mode.is_new() {
                "have empty disks"
            } else {
                "have the same order"
            };
            format!(
                "This node is ready to start: all initial members {seen} ({}).",
                list(nonces.keys())
            )
        }
        Event::RestoreOrdered(order) => {
            format!("The operator ordered this node to {}.", order.mode)
        }
        Event::SwapBegun(data_swap) => {
            let DataSwap {
                cluster,
                archive_to,
                ..
            } = data_swap.as_ref();
            let old = archive_to.as_ref().map_or_else(
                || "there is no previous data".to_owned(),
                |archive_to| format!("the previous data moves to {}", archive_to.display()),
            );
            format!(
                "All members were ready: replacing etcd's data with the data of cluster \
                 {cluster:x}; {old}."
            )
        }
        Event::SwapDone => "The data was replaced.".to_owned(),
        Event::RestoreAbandoned => {
            "The restore was abandoned; etcd keeps its previous data.".to_owned()
        }
        Event::Bootstrap { token, members } => {
            format!(
                "The members agreed on a new cluster of {} with the token {token}.",
                count(members.len())
            )
        }
        Event::Remove { member } => {
            format!(
                "The cluster is running, and this node has lost the data of its member {member:x}: removing that member."
            )
        }
        Event::Add { cluster } => {
            format!("Adding this node to cluster {cluster:x} as a learner.")
        }
        Event::Added { member } => format!("The cluster added this node as member {member:x}."),
        Event::Join { members, .. } => {
            format!(
                "Starting etcd to join the running cluster as one of {}.",
                count(members.len())
            )
        }
        Event::DataDirCreated { .. } => {
            "firstboot created an empty data directory for etcd's first start.".to_owned()
        }
        Event::WalCreated(known) => {
            let DataIdentity {
                member, cluster, ..
            } = known;
            format!(
                "etcd created its WAL as member {member:x} of cluster {cluster:x}, so from now \
                 on, etcd may start as this member only with this data."
            )
        }
        Event::DataAccepted => {
            "The operator confirmed that etcd's data directory contains this member's newest data."
                .to_owned()
        }
        Event::Promote { member } => {
            format!(
                "etcd is running as the learner {member:x}: promoting the learner to a voter when \
                 the learner is in sync."
            )
        }
        Event::Trust { authorities } => {
            format!("Restarting etcd so that it trusts {}.", join(authorities))
        }
        Event::CertificatesTrustedByAll { authorities } => {
            format!(
                "All other members trust {}: installing the document's certificates.",
                join(authorities)
            )
        }
        Event::Leave { member } => {
            format!("The operator ordered this node to leave: removing its member {member:x}.")
        }
        Event::LeaveCancelled { member } => {
            format!("Member {member:x} was not removed in time, so this node remains a member.")
        }
        Event::Left { member } => {
            format!("Member {member:x} was removed from its cluster; etcd stays stopped.")
        }
        Event::Rejoin { member } => {
            format!(
                "The operator ordered this node, formerly member {member:x}, to join its cluster again."
            )
        }
        Event::EtcdVersionRecorded { etcd } => format!("Allowing etcd {etcd} to use the data."),
        Event::DataArchived { path } => format!("Moving the data directory to {}.", path.display()),
        Event::Healthy { cluster, member } => {
            format!("etcd is healthy: member {member:x} of cluster {cluster:x}.")
        }
    }
}

fn list<'a>(names: impl Iterator<Item = &'a Label>) -> String {
    join(names)
}

fn join<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    names
        .into_iter()
        .map(|name| name.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn count(members: usize) -> String {
    if members == 1 {
        "one member".to_owned()
    } else {
        format!("{members} members")
    }
}

#[cfg(test)]
mod tests;
