//! Tests the sentences that describe the journal's events.

use std::collections::BTreeSet;

use super::*;
use crate::data::{Directories, Inode};
use crate::documentation::{documented, keys, page_text};
use crate::domain::{BootstrapMode, CaSubject, DiskId, Nonce, Nonces};
use crate::journal;
use crate::machine::Machine;

fn bootstrap_events() -> Vec<(Event, &'static str)> {
    let name: Label = "etcd-3".parse().unwrap();
    let nonces = Nonces::from([(name.clone(), Nonce::of(1))]);
    let mode = BootstrapMode::Rollback { cluster: 0xc };
    vec![
        (
            Event::IdentityAccepted {
                name: name.clone(),
                machine: Machine::default(),
            },
            ") as etcd-3",
        ),
        (
            Event::MembersExcluded {
                names: BTreeSet::from([name]),
            },
            "excluded etcd-3",
        ),
        (
            Event::DiskIdDrawn {
                disk_id: DiskId::of(1),
            },
            "The disk was empty",
        ),
        (
            Event::ProposalAccepted {
                nonces: nonces.clone(),
                mode: BootstrapMode::New,
            },
            "have empty disks (etcd-3)",
        ),
        (
            Event::ProposalAccepted { nonces, mode },
            "the same order (etcd-3)",
        ),
        (
            Event::Bootstrap {
                token: "demo-1".to_owned(),
                members: members("etcd-3"),
            },
            "of one member with the token demo-1",
        ),
    ]
}

fn members(name: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), "https://10.0.0.3:2380".to_owned())]
}

fn restore_events() -> Vec<(Event, &'static str)> {
    let mode = BootstrapMode::Rollback { cluster: 0xc };
    let order = journal::RestoreOrder {
        nonce: Nonce::of(2),
        mode,
        without: BTreeSet::new(),
        source: None,
        until: 0,
        binding: true,
    };
    let data_swap = DataSwap {
        from: "/var/lib/etcd/restore/demo-r".into(),
        archive_to: Some("/var/lib/etcd/aside/x".into()),
        token: "demo-1".to_owned(),
        members: members("etcd-3"),
        cluster: 0xc,
        member: None,
        revision: 7,
        data: None,
    };
    vec![
        (
            Event::RestoreOrdered(Box::new(order)),
            "ordered this node to return to the cluster c",
        ),
        (
            Event::SwapBegun(Box::new(data_swap.clone())),
            "moves to /var/lib/etcd/aside/x",
        ),
        (
            Event::SwapBegun(Box::new(DataSwap {
                archive_to: None,
                ..data_swap
            })),
            "no previous data",
        ),
        (Event::SwapDone, "data was replaced"),
        (Event::RestoreAbandoned, "keeps its previous data"),
    ]
}

fn join_events() -> Vec<(Event, &'static str)> {
    let [data, member, snap, wal] = [1, 2, 3, 4].map(Inode::numbered);
    let known = DataIdentity {
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
        (Event::Remove { member: 0xab }, "member ab"),
        (Event::Add { cluster: 0xc }, "cluster c as a learner"),
        (
            Event::Added { member: 0xab },
            "added this node as member ab",
        ),
        (
            Event::Join {
                token: "demo-1".to_owned(),
                members: [members("etcd-3"), members("etcd-3")].concat(),
            },
            "one of 2 members",
        ),
        (
            Event::DataDirCreated {
                directory: Inode::numbered(1),
            },
            "an empty data directory",
        ),
        (Event::WalCreated(known), "as member ab of cluster c"),
        (Event::DataAccepted, "contains this member's newest data"),
        (Event::Promote { member: 0xab }, "learner ab"),
    ]
}

fn membership_events() -> Vec<(Event, &'static str)> {
    vec![
        (
            Event::Trust {
                authorities: [CaSubject::of("a"), CaSubject::of("b")].into(),
            },
            "trusts a, b",
        ),
        (
            Event::CertificatesTrustedByAll {
                authorities: [CaSubject::of("b")].into(),
            },
            "members trust b",
        ),
        (Event::Leave { member: 0xab }, "removing its member ab"),
        (Event::LeaveCancelled { member: 0xab }, "remains a member"),
        (Event::Left { member: 0xab }, "etcd stays stopped"),
        (
            Event::Rejoin { member: 0xab },
            "formerly member ab, to join",
        ),
        (
            Event::DataArchived {
                path: "/var/lib/etcd/aside/x".into(),
            },
            "directory to /var/lib/etcd/aside/x",
        ),
        (
            Event::EtcdVersionRecorded {
                etcd: "3.5.1".parse().unwrap(),
            },
            "etcd 3.5.1 to use",
        ),
        (
            Event::Healthy {
                cluster: 0xc,
                member: 0xab,
            },
            "member ab of cluster c",
        ),
    ]
}

fn events() -> Vec<(Event, &'static str)> {
    let events = [
        bootstrap_events(),
        restore_events(),
        join_events(),
        membership_events(),
    ];
    events.concat()
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
        "the time since the previous line must be negative if the clock was set back: {text}"
    );
    assert!(
        lines[4].starts_with("/var/lib/firstboot/journal:5 is incomplete"),
        "{text}"
    );
    assert!(super::text(&[]).contains("is empty"));
    assert!(super::text(&[Line::Damaged]).contains("journal:1 is damaged"));
}

#[test]
fn the_json_contains_every_line_with_its_number() {
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

/// Returns the keys that the documentation lists for an event: the words in the second cell of the
/// event's line.
fn documented_keys(event: &str) -> BTreeSet<String> {
    let page = page_text("json.md");
    let section = page.split("\n## The events of the journal\n").nth(1);
    let begin = format!("| `{event}` |");
    let mut lines = section.unwrap().lines();
    let line = lines.find_map(|line| line.strip_prefix(&begin));
    let cell = line.and_then(|line| line.split('|').next()).unwrap();
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_documentation_lists_exactly_the_events_and_their_keys() {
    let mut names = BTreeSet::new();
    for (event, _) in events() {
        let json = serde_json::to_value(&event).unwrap();
        let name = json["event"].as_str().unwrap().to_owned();
        let mut own = keys(&json);
        own.remove("event");
        let listed = documented_keys(&name);
        // `task` and `data` are the only keys that can be missing.
        let missing: Vec<_> = listed.difference(&own).collect();
        assert!(
            own.is_subset(&listed)
                && missing
                    .iter()
                    .all(|key| ["task", "data"].contains(&key.as_str())),
            "{name}: {listed:?} {own:?}"
        );
        names.insert(name);
    }
    assert_eq!(documented("json.md", "The events of the journal"), names);
}

#[test]
fn the_documentation_lists_exactly_the_keys_of_a_line() {
    let event = Event::DataAccepted;
    let story = [Line::Entry(Entry { at: 7, event })];
    assert_eq!(
        documented("json.md", "firstboot explain"),
        keys(&rows(&story)[0])
    );
}
