//! Tests that each effect can be applied twice. If firstboot is killed after an effect but before
//! it writes the effect to the journal, the next run applies the effect again.
//!
//! The tests run the real effects at their real paths, in a thread that has a private root
//! directory and a private network.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use recipes::Sha256;

use crate::change::Change;
use crate::domain::{BootstrapMode, CaSubject, DiskId, Nonce, Nonces};
use crate::files::{DesiredDir, ROOT};
use crate::interface::Interface;
use crate::journal::{
    ArchiveReason, Entry, Event, Journal, NodeState, archive_data, restored, write_disk_id,
};
use crate::machine::Machine;
use crate::system_command::run;
use crate::test_root::{is_root, on_own_root};
use crate::{paths, start_permit, steps};

#[test]
fn an_effect_applied_twice_equals_the_effect_applied_once() {
    if !is_root("an_effect_applied_twice_equals_the_effect_applied_once") {
        return;
    }
    on_own_root(all).unwrap();
}

/// Returns the events of a node that bootstraps, leaves and joins again.
fn rejoined() -> Vec<Event> {
    let members = vec![("a".to_owned(), "https://a:2380".to_owned())];
    let nonces = Nonces::from([("a".parse().unwrap(), Nonce::of(1))]);
    vec![
        Event::MembersExcluded {
            names: ["b".parse().unwrap()].into(),
        },
        Event::DiskIdDrawn {
            disk_id: DiskId::of(1),
        },
        Event::ProposalAccepted {
            nonces,
            mode: BootstrapMode::New,
        },
        Event::Bootstrap {
            token: "t".into(),
            members: members.clone(),
        },
        Event::Healthy {
            cluster: 1,
            member: 2,
        },
        Event::Leave { member: 2 },
        Event::LeaveCancelled { member: 2 },
        Event::Leave { member: 2 },
        Event::Left { member: 2 },
        Event::Rejoin { member: 2 },
        Event::DataArchived {
            path: "/aside/1".into(),
        },
        Event::DiskIdDrawn {
            disk_id: DiskId::of(2),
        },
        Event::Remove { member: 2 },
        Event::Add { cluster: 1 },
        Event::Added { member: 3 },
        Event::Join {
            token: "t".into(),
            members,
        },
        Event::Promote { member: 3 },
        Event::Healthy {
            cluster: 1,
            member: 3,
        },
        Event::Trust {
            authorities: [CaSubject::of("a"), CaSubject::of("b")].into(),
        },
        Event::CertificatesTrustedByAll {
            authorities: [CaSubject::of("b")].into(),
        },
    ]
}

/// If firstboot is killed during a write to the journal, the next run may write the same line
/// again.
#[test]
fn a_journal_with_every_line_twice_has_the_same_meaning() {
    for events in [
        rejoined(),
        restored(),
        [&restored()[..8], &[Event::RestoreAbandoned]].concat(),
    ] {
        for end in 0..=events.len() {
            let state_after = |times| {
                let events = events[..end]
                    .iter()
                    .flat_map(|event| std::iter::repeat_n(event, times));
                let entries: Vec<Entry> = events
                    .map(|event| Entry {
                        at: 0,
                        event: event.clone(),
                    })
                    .collect();
                let mut state = NodeState::from(&entries);
                // A repeated event appears twice in these lists. The duplicates have no meaning, so
                // remove them before the comparison.
                state.accepted.dedup();
                state.accepted_ever.dedup();
                state.accepted_for_order.dedup();
                state
            };
            assert_eq!(
                state_after(2),
                state_after(1),
                "after {:?}",
                events[..end].last()
            );
        }
    }
}

/// Makes all changes of a node's first boot in order, followed by the changes of a member that
/// leaves.
fn all() -> Result<()> {
    run(
        "ip",
        &[
            "link", "add", "eth0", "type", "veth", "peer", "name", "eth1",
        ],
    )?;
    run("ip", &["link", "set", "eth1", "up"])?;
    let interface = Interface {
        name: "eth0".into(),
        address: "10.101.15.101".parse()?,
        prefix: 24,
        gateway: "10.101.15.1".parse().ok(),
        dns: vec!["10.0.0.1".parse()?],
        uuid: None,
        has_address: false,
    };
    twice("the address", || {
        Change::Interface(interface.clone()).apply()
    })?;
    twice("the state's folder", || {
        DesiredDir::new(paths::STATE, 0o700, ROOT).make()
    })?;

    let identity = steps::test_identity();
    let changes = steps::plan(&identity)?;
    ensure!(
        changes.len() >= 11,
        "a first boot must make at least 11 changes: {changes:?}"
    );
    for change in &changes {
        twice(&change.to_string(), || change.apply())?;
    }
    ensure!(
        steps::plan(&identity)?.is_empty(),
        "some changes are still planned"
    );
    twice("accepting the identity", || {
        let mut journal = Journal::open(paths::JOURNAL)?;
        crate::node::accept_identity(&identity, &Machine::default(), &mut journal)
    })?;

    let disk_id = DiskId::draw()?;
    let mut journal = Journal::open(paths::JOURNAL)?;
    journal.add(Event::DiskIdDrawn { disk_id })?;
    twice("the disk id file", || write_disk_id(disk_id))?;
    fs::create_dir_all("/var/lib/etcd/data/member/wal")?;
    twice("archiving data", || {
        archive_data(ArchiveReason::Left, &mut journal)
    })?;
    fs::create_dir_all("/run/firstboot")?;
    fs::write(paths::START_PERMIT, "")?;
    twice("revoking the start permit", start_permit::revoke)
}

fn twice(what: &str, mut effect: impl FnMut() -> Result<()>) -> Result<()> {
    let before = look()?;
    effect()?;
    let once = look()?;
    ensure!(once != before, "{what} did not change anything");
    effect()?;
    let twice = look()?;
    ensure!(
        twice == once,
        "{what} has a different result when it is applied twice:\n{once:#?}\n{twice:#?}"
    );
    Ok(())
}

/// Returns the state that the effects can change: the files and folders below /etc, /var and /run
/// with kind, mode, owner and content, the host name, the addresses and the routes.
fn look() -> Result<BTreeMap<String, String>> {
    let mut seen = BTreeMap::new();
    for top in ["/etc", "/var", "/run"] {
        list(Path::new(top), &mut seen)?;
    }
    seen.insert(
        "host name".into(),
        nix::unistd::gethostname()?.to_string_lossy().into_owned(),
    );
    for what in ["address", "route"] {
        // Read only the IPv4 state, and ignore the carrier state, because the kernel changes the
        // IPv6 state and the carrier state asynchronously.
        let said = Command::new("ip")
            .args(["-4", "-o", what, "show"])
            .output()?;
        seen.insert(
            what.into(),
            String::from_utf8_lossy(&said.stdout).replace(" linkdown", ""),
        );
    }
    Ok(seen)
}

fn list(path: &Path, seen: &mut BTreeMap<String, String>) -> Result<()> {
    let meta = fs::symlink_metadata(path)?;
    let content = if meta.is_file() {
        Sha256::of(&fs::read(path)?).to_string()
    } else {
        String::new()
    };
    let line = format!("{:o} {}:{} {content}", meta.mode(), meta.uid(), meta.gid());
    seen.insert(path.display().to_string(), line);
    if meta.is_dir() {
        fs::read_dir(path)?.try_for_each(|entry| list(&entry?.path(), seen))?;
    }
    Ok(())
}
