//! `firstboot explain`: prints the journal as sentences. It reads only that file, so it works
//! without a network. With `--sources` it shows what the metadata sources answered in this boot.

mod sources;

use anyhow::Result;
use recipes::Label;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::data::Known;
use crate::exit::Exit;
use crate::journal::{DataSwap, Entry, Event, Line, lines};
use crate::output::{show, show_json};
use crate::{files, paths};

/// The command line of `firstboot explain`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 printed; 1 the journal cannot be read or has a damaged line.\n\n\
    Example: firstboot explain --json | jq -r '.[] | .time + \" \" + .text'"
)]
pub(crate) struct Options {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show what each metadata source answered in this boot, and which one's document is used
    #[arg(long)]
    sources: bool,
}

/// Prints what firstboot observed, decided and did on this disk.
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

/// One line of the journal as JSON.
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

const TORN: &str = "is incomplete, as after a power cut. firstboot has not acted on it, and the next run removes it";
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

/// The time between two entries, in its two largest units.
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

/// What happened, in one sentence.
fn sentence(event: &Event) -> String {
    match event {
        Event::Accepted { name, machine } => {
            format!("firstboot accepted this machine ({machine}) as {name}.")
        }
        Event::Without { names } => {
            format!(
                "The operator excluded {} from the bootstrap.",
                list(names.iter())
            )
        }
        Event::Life { disk_id } => {
            format!("The disk was empty; firstboot gave it the id {disk_id}.")
        }
        Event::Ready { disk_ids, mode } => {
            let seen = if mode.is_new() {
                "are empty"
            } else {
                "have the same order"
            };
            format!(
                "This node is ready to start: all initial members {seen} ({}).",
                list(disk_ids.keys())
            )
        }
        Event::RestoreOrdered(order) => {
            format!("The operator ordered this node to {}.", order.mode)
        }
        Event::Exchange(exchange) => {
            let DataSwap { cluster, aside, .. } = exchange.as_ref();
            let old = aside.as_ref().map_or_else(
                || "there is no previous data".to_owned(),
                |aside| format!("the previous data moves to {}", aside.display()),
            );
            format!(
                "All members were ready: replacing etcd's data with that of the cluster {cluster:x}; {old}."
            )
        }
        Event::Exchanged => "The data was replaced.".to_owned(),
        Event::GivenUp => "The restore was abandoned; etcd keeps its previous data.".to_owned(),
        Event::Bootstrap { token, members } => {
            format!(
                "The members agreed on a new cluster of {} with the token {token}.",
                count(members.len())
            )
        }
        Event::Remove { member } => {
            format!(
                "The cluster runs, and this node has lost the data of its member {member:x}: removing that member."
            )
        }
        Event::Add { cluster } => {
            format!("Adding this node to the cluster {cluster:x} as a learner.")
        }
        Event::Added { member } => format!("The cluster added this node as the member {member:x}."),
        Event::Join { members, .. } => {
            format!(
                "Starting etcd to join the running cluster as one of {}.",
                count(members.len())
            )
        }
        Event::DataMade { .. } => {
            "firstboot created an empty data directory for etcd's first start.".to_owned()
        }
        Event::DataBegun(known) => {
            let Known {
                member, cluster, ..
            } = known;
            format!(
                "etcd created its log as the member {member:x} of the cluster {cluster:x}; from now on etcd may start as \
                 this member only with this data."
            )
        }
        Event::DataAccepted => {
            "The operator confirmed that etcd's data directory holds this member's newest data."
                .to_owned()
        }
        Event::Promote { member } => {
            format!(
                "etcd runs as the learner {member:x}: promoting it to a voter when it is in sync."
            )
        }
        Event::Trust { authorities } => {
            format!("Restarting etcd so that it trusts {}.", join(authorities))
        }
        Event::Show { authorities } => {
            format!(
                "All other members trust {}: installing certificates by it.",
                join(authorities)
            )
        }
        Event::Leave { member } => {
            format!("The operator ordered this node to leave: removing its member {member:x}.")
        }
        Event::Stay { member } => {
            format!(
                "The member {member:x} could not be removed in time; this node remains a member."
            )
        }
        Event::Left { member } => {
            format!("The member {member:x} was removed from its cluster; etcd stays stopped.")
        }
        Event::Rejoin { member } => {
            format!(
                "The operator ordered this node, formerly the member {member:x}, to join its cluster again."
            )
        }
        Event::Uses { etcd } => format!("Allowing etcd {etcd} to use the data."),
        Event::Aside { path } => format!("Moving the data directory to {}.", path.display()),
        Event::Healthy { cluster, member } => {
            format!("etcd is healthy: the member {member:x} of the cluster {cluster:x}.")
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
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::data::{Directories, Inode};
    use crate::domain::{BootstrapMode, CaSubject, DiskId, DiskIds};
    use crate::journal;
    use crate::machine::Machine;

    fn events() -> Vec<(Event, &'static str)> {
        let name: Label = "etcd-3".parse().unwrap();
        let disk_ids = DiskIds::from([(name.clone(), DiskId::of(1))]);
        let members = vec![("etcd-3".to_owned(), "https://10.0.0.3:2380".to_owned())];
        let token = "demo-1".to_owned();
        let mode = BootstrapMode::Rollback { cluster: 0xc };
        let order = journal::RestoreOrder {
            disk_id: DiskId::of(2),
            mode,
            without: BTreeSet::new(),
            source: None,
            until: 0,
        };
        let exchange = DataSwap {
            from: "/var/lib/etcd/restore/demo-r".into(),
            aside: Some("/var/lib/etcd/aside/x".into()),
            token: token.clone(),
            members: members.clone(),
            cluster: 0xc,
            member: None,
            revision: 7,
            data: None,
        };
        let [data, member, snap, wal] = [1, 2, 3, 4].map(Inode::numbered);
        let known = Known {
            directories: Directories {
                data,
                member,
                snap,
                wal,
            },
            member: 0xab,
            cluster: 0xc,
        };
        vec![
            (
                Event::Accepted {
                    name: name.clone(),
                    machine: Machine::default(),
                },
                ") as etcd-3",
            ),
            (
                Event::Without {
                    names: BTreeSet::from([name]),
                },
                "excluded etcd-3",
            ),
            (
                Event::Life {
                    disk_id: DiskId::of(1),
                },
                "The disk was empty",
            ),
            (
                Event::Ready {
                    disk_ids: disk_ids.clone(),
                    mode: BootstrapMode::New,
                },
                "are empty (etcd-3)",
            ),
            (Event::Ready { disk_ids, mode }, "the same order (etcd-3)"),
            (
                Event::RestoreOrdered(Box::new(order)),
                "ordered this node to return to the cluster c",
            ),
            (
                Event::Exchange(Box::new(exchange.clone())),
                "moves to /var/lib/etcd/aside/x",
            ),
            (
                Event::Exchange(Box::new(DataSwap {
                    aside: None,
                    ..exchange
                })),
                "no previous data",
            ),
            (Event::Exchanged, "data was replaced"),
            (Event::GivenUp, "keeps its previous data"),
            (
                Event::Bootstrap {
                    token: token.clone(),
                    members: members.clone(),
                },
                "of one member with the token demo-1",
            ),
            (Event::Remove { member: 0xab }, "member ab"),
            (Event::Add { cluster: 0xc }, "cluster c as a learner"),
            (
                Event::Added { member: 0xab },
                "added this node as the member ab",
            ),
            (
                Event::Join {
                    token,
                    members: [members.clone(), members].concat(),
                },
                "one of 2 members",
            ),
            (
                Event::DataMade {
                    directory: Inode::numbered(1),
                },
                "an empty data directory",
            ),
            (Event::DataBegun(known), "as the member ab of the cluster c"),
            (Event::DataAccepted, "holds this member's newest data"),
            (Event::Promote { member: 0xab }, "learner ab"),
            (
                Event::Trust {
                    authorities: [CaSubject::of("a"), CaSubject::of("b")].into(),
                },
                "trusts a, b",
            ),
            (
                Event::Show {
                    authorities: [CaSubject::of("b")].into(),
                },
                "members trust b",
            ),
            (Event::Leave { member: 0xab }, "removing its member ab"),
            (Event::Stay { member: 0xab }, "remains a member"),
            (Event::Left { member: 0xab }, "etcd stays stopped"),
            (
                Event::Rejoin { member: 0xab },
                "formerly the member ab, to join",
            ),
            (
                Event::Aside {
                    path: "/var/lib/etcd/aside/x".into(),
                },
                "directory to /var/lib/etcd/aside/x",
            ),
            (
                Event::Uses {
                    etcd: "3.5.1".parse().unwrap(),
                },
                "etcd 3.5.1 to use",
            ),
            (
                Event::Healthy {
                    cluster: 0xc,
                    member: 0xab,
                },
                "member ab of the cluster c",
            ),
        ]
    }

    #[test]
    fn each_event_is_one_plain_sentence() {
        for (event, expected) in events() {
            let said = sentence(&event);
            assert!(said.contains(expected), "{said}");
            assert!(
                said.ends_with('.') && said.matches(". ").count() == 0 && !said.contains('\n'),
                "{said}"
            );
        }
    }

    #[test]
    fn each_line_has_its_time_and_the_time_since_the_previous_one() {
        let at = |at, event| Line::Entry(Entry { at, event });
        let story = [
            at(1_795_341_365, Event::Add { cluster: 1 }),
            at(1_795_341_368, Event::Added { member: 2 }),
            at(1_795_345_000, Event::Promote { member: 2 }),
            at(1_795_344_000, Event::Left { member: 2 }),
            Line::Torn,
        ];
        let text = text(&story);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("2026-11-22 09:56:05 UTC   "), "{text}");
        assert!(
            lines[1].contains("+3 s  The cluster added") && lines[2].contains("+1 h 0 m"),
            "{text}"
        );
        assert!(
            lines[3].contains("-16 m 40 s"),
            "a clock that was set back is visible: {text}"
        );
        assert!(
            lines[4].starts_with("/var/lib/firstboot/journal:5 is incomplete"),
            "{text}"
        );
        assert!(super::text(&[]).contains("is empty"));
        assert!(super::text(&[Line::Damaged]).contains("journal:1 is damaged"));
    }

    #[test]
    fn the_json_has_every_line_with_its_number() {
        let story = [
            Line::Entry(Entry {
                at: 1_795_341_365,
                event: Event::Added { member: 2 },
            }),
            Line::Damaged,
        ];
        let json = serde_json::to_value(rows(&story)).unwrap();
        assert_eq!(json[0]["event"], "added");
        assert_eq!(json[0]["time"], "2026-11-22T09:56:05Z");
        assert_eq!(
            (&json[1]["line"], &json[1]["state"]),
            (&2.into(), &"damaged".into())
        );
    }
}
