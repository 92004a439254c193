//! `firstboot explain`: the journal as a story. It reads that one file and asks nobody, so it tells the same offline.
//! With `--sources` it shows what the metadata sources answered in this boot.

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
use crate::output::show;
use crate::{files, paths};

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// For programs
    #[arg(long)]
    json: bool,
    /// Show what each metadata source answered in this boot, and which one's document is used
    #[arg(long)]
    sources: bool,
}

/// Prints what was found, decided and done on this disk.
pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    if options.sources {
        return sources::run(options.json).map(|()| None);
    }
    let bytes = files::read_if_there(paths::JOURNAL)?.unwrap_or_default();
    let story = lines(&String::from_utf8_lossy(&bytes));
    if options.json {
        show(&(serde_json::to_string_pretty(&for_programs(&story))? + "\n"))?;
    } else {
        show(&tell(&story))?;
    }
    Ok(story.contains(&Line::Damaged).then_some(Exit::Failed))
}

/// One line of the journal, for programs.
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

fn for_programs(story: &[Line]) -> Vec<ExplainRow<'_>> {
    let mut told = Vec::new();
    for (at, line) in story.iter().enumerate() {
        let (state, entry, text) = match line {
            Line::Entry(entry) => ("whole", Some(entry), sentence(&entry.event)),
            Line::Torn => ("torn", None, TORN.to_owned()),
            Line::Damaged => ("damaged", None, DAMAGED.to_owned()),
        };
        let time = entry.and_then(|entry| moment(entry)?.format(&Rfc3339).ok());
        told.push(ExplainRow { line: at + 1, state, entry, time, text });
    }
    told
}

const TORN: &str = "is torn, as a power cut leaves it. Nothing was done on it; the next run cuts it off";
const DAMAGED: &str = "is damaged, so what it said is lost. firstboot refuses to go on from this journal: rebuild the node \
                       from the image";

fn tell(story: &[Line]) -> String {
    if story.is_empty() {
        return format!(
            "{} has nothing in it: firstboot has not accepted this machine as any node yet\n",
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
                let passed = before.replace(entry.at).map_or_else(String::new, |before| passed(before, entry.at));
                let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
                let when =
                    moment(entry).and_then(|time| time.format(format).ok()).unwrap_or_else(|| entry.at.to_string());
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

/// From one entry to the next, in the two largest units.
fn passed(before: u64, now: u64) -> String {
    let (sign, seconds) = if now < before { ('-', before - now) } else { ('+', now - before) };
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
        Event::Accepted { name, machine } => format!("This machine ({machine}) was accepted as {name}."),
        Event::Without { names } => {
            format!("The operator said that the cluster should begin without {}.", list(names.iter()))
        }
        Event::Life { disk_id } => format!("etcd's disk was found empty; its life {disk_id} began."),
        Event::Ready { disk_ids, mode } => {
            let seen = if mode.is_new() { "empty" } else { "told the same" };
            format!(
                "All initial members were seen {seen} ({}); this node was ready to begin with them.",
                list(disk_ids.keys())
            )
        }
        Event::RestoreOrdered(told) => format!("The operator said that this node should {}.", told.mode),
        Event::Exchange(exchange) => {
            let DataSwap { cluster, aside, .. } = exchange.as_ref();
            let old = aside.as_ref().map_or_else(
                || "which had none".to_owned(),
                |aside| format!("and what was there to go to {}", aside.display()),
            );
            format!("All were ready: data of the cluster {cluster:x} was to be etcd's, {old}.")
        }
        Event::Exchanged => "It was.".to_owned(),
        Event::GivenUp => "Nothing came of it; etcd was to go on with the data it had.".to_owned(),
        Event::Bootstrap { token, members } => {
            format!("They agreed: etcd was to begin a new cluster of {} with the token {token}.", count(members.len()))
        }
        Event::Remove { member } => {
            format!(
                "A cluster lives that knows this node as the member {member:x}, whose data is gone; that was to be removed."
            )
        }
        Event::Add { cluster } => format!("This node was to be added to the cluster {cluster:x} as a learner."),
        Event::Added { member } => format!("It was added as the member {member:x}."),
        Event::Join { members, .. } => {
            format!("etcd was to join the cluster that lives, as one of {}.", count(members.len()))
        }
        Event::DataMade { .. } => "An empty data directory was made for etcd's first start.".to_owned(),
        Event::DataBegun(known) => {
            let Known { member, cluster, .. } = known;
            format!(
                "etcd had made its log, as the member {member:x} of the cluster {cluster:x}; only that data may be this member."
            )
        }
        Event::DataAccepted => {
            "The operator said that etcd's data directory holds this member's newest data.".to_owned()
        }
        Event::Promote { member } => {
            format!("etcd ran as the learner {member:x}, which was to have its vote as soon as it was in sync.")
        }
        Event::Trust { authorities } => {
            format!("etcd was to be started again, to trust {}.", join(authorities))
        }
        Event::Show { authorities } => {
            format!("All others trusted {}; certificates by it were to be installed.", join(authorities))
        }
        Event::Leave { member } => {
            format!("The operator said that this node, the member {member:x}, should leave; it was to be removed.")
        }
        Event::Stay { member } => {
            format!("The member {member:x} could not be removed in time; it goes on as a member.")
        }
        Event::Left { member } => format!("The member {member:x} was out of its cluster; etcd was to stay down."),
        Event::Rejoin { member } => format!(
            "The operator said that this node, which had been the member {member:x}, should join its cluster again."
        ),
        Event::Uses { etcd } => format!("The data was to be used by etcd {etcd}."),
        Event::Aside { path } => format!("The data directory was to be put aside as {}.", path.display()),
        Event::Healthy { cluster, member } => {
            format!("etcd was well, with a quorum behind it: the member {member:x} of the cluster {cluster:x}.")
        }
    }
}

fn list<'a>(names: impl Iterator<Item = &'a Label>) -> String {
    join(names)
}

fn join<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

fn count(members: usize) -> String {
    if members == 1 { "one member".to_owned() } else { format!("{members} members") }
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
        let told =
            journal::RestoreOrder { disk_id: DiskId::of(2), mode, without: BTreeSet::new(), source: None, until: 0 };
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
        let known = Known { directories: Directories { data, member, snap, wal }, member: 0xab, cluster: 0xc };
        vec![
            (Event::Accepted { name: name.clone(), machine: Machine::default() }, "accepted as etcd-3"),
            (Event::Without { names: BTreeSet::from([name]) }, "without etcd-3"),
            (Event::Life { disk_id: DiskId::of(1) }, "found empty"),
            (Event::Ready { disk_ids: disk_ids.clone(), mode: BootstrapMode::New }, "seen empty (etcd-3)"),
            (Event::Ready { disk_ids, mode }, "told the same (etcd-3)"),
            (Event::RestoreOrdered(Box::new(told)), "should return to the cluster c"),
            (Event::Exchange(Box::new(exchange.clone())), "to go to /var/lib/etcd/aside/x"),
            (Event::Exchange(Box::new(DataSwap { aside: None, ..exchange })), "which had none"),
            (Event::Exchanged, "It was"),
            (Event::GivenUp, "go on with the data it had"),
            (
                Event::Bootstrap { token: token.clone(), members: members.clone() },
                "of one member with the token demo-1",
            ),
            (Event::Remove { member: 0xab }, "member ab"),
            (Event::Add { cluster: 0xc }, "cluster c as a learner"),
            (Event::Added { member: 0xab }, "added as the member ab"),
            (Event::Join { token, members: [members.clone(), members].concat() }, "one of 2 members"),
            (Event::DataMade { directory: Inode::numbered(1) }, "An empty data directory was made"),
            (Event::DataBegun(known), "as the member ab of the cluster c"),
            (Event::DataAccepted, "holds this member's newest data"),
            (Event::Promote { member: 0xab }, "learner ab"),
            (Event::Trust { authorities: [CaSubject::of("a"), CaSubject::of("b")].into() }, "to trust a, b"),
            (Event::Show { authorities: [CaSubject::of("b")].into() }, "others trusted b"),
            (Event::Leave { member: 0xab }, "ab, should leave"),
            (Event::Stay { member: 0xab }, "goes on as a member"),
            (Event::Left { member: 0xab }, "etcd was to stay down"),
            (Event::Rejoin { member: 0xab }, "been the member ab, should join"),
            (Event::Aside { path: "/var/lib/etcd/aside/x".into() }, "aside as /var/lib/etcd/aside/x"),
            (Event::Uses { etcd: "3.5.1".parse().unwrap() }, "used by etcd 3.5.1"),
            (Event::Healthy { cluster: 0xc, member: 0xab }, "member ab of the cluster c"),
        ]
    }

    #[test]
    fn each_event_is_one_plain_sentence() {
        for (event, expected) in events() {
            let said = sentence(&event);
            assert!(said.contains(expected), "{said}");
            assert!(said.ends_with('.') && said.matches(". ").count() == 0 && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn the_story_has_times_and_what_passed_between() {
        let at = |at, event| Line::Entry(Entry { at, event });
        let story = [
            at(1_795_341_365, Event::Add { cluster: 1 }),
            at(1_795_341_368, Event::Added { member: 2 }),
            at(1_795_345_000, Event::Promote { member: 2 }),
            at(1_795_344_000, Event::Left { member: 2 }),
            Line::Torn,
        ];
        let text = tell(&story);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("2026-11-22 09:56:05 UTC   "), "{text}");
        assert!(lines[1].contains("+3 s  It was added") && lines[2].contains("+1 h 0 m"), "{text}");
        assert!(lines[3].contains("-16 m 40 s"), "a clock that was set back shows: {text}");
        assert!(lines[4].starts_with("/var/lib/firstboot/journal:5 is torn"), "{text}");
        assert!(tell(&[]).contains("nothing in it"));
        assert!(tell(&[Line::Damaged]).contains("journal:1 is damaged"));
    }

    #[test]
    fn programs_get_every_line_with_its_number() {
        let story = [Line::Entry(Entry { at: 1_795_341_365, event: Event::Added { member: 2 } }), Line::Damaged];
        let json = serde_json::to_value(for_programs(&story)).unwrap();
        assert_eq!(json[0]["event"], "added");
        assert_eq!(json[0]["time"], "2026-11-22T09:56:05Z");
        assert_eq!((&json[1]["line"], &json[1]["state"]), (&2.into(), &"damaged".into()));
    }
}
