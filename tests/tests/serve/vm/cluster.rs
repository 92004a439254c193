//! Tests that machines become a cluster, and that a member whose disk was replaced returns.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use tests::client::{Client, insist};

use super::bed::Bed;
use super::node::Node;
use crate::bed::allow;
use crate::enrolment::approve_printed;

/// Prints the boot id, and the process id and the start time of etcd. This output changes if etcd
/// or the machine restarts.
const ETCD_PROCESS: &str = "cat /proc/sys/kernel/random/boot_id; systemctl show etcd -p MainPID -p ExecMainStartTimestampMonotonic";
const PREFIX: &str = "written/";
const NAMES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];

/// The ids of members by their names.
type Ids = BTreeMap<String, String>;

/// Switches on three machines at the same time. When the machines are a cluster, replaces the disk
/// of one member, allows its installation and approves its new key.
pub(super) fn a_blank_disk_returns_as_a_voter() -> Result<()> {
    let mut bed = Bed::new(3)?;
    for node in &mut bed.nodes {
        node.power_on(&bed.ours)?;
    }
    for name in NAMES {
        bed.wait(&format!("{name}: reports healthy"), 1)?;
    }
    let client = Client::operator(&bed.ours)?;
    let members = bed.nodes.iter().map(Node::ip).collect::<Result<Vec<_>>>()?;
    let before = insist(|| voters(&client, &members))?;
    let mut keys = BTreeMap::new();
    write(&client, &members, "before", &mut keys)?;

    let running = etcd_processes(&bed)?;
    bed.nodes[2].cut_power();
    bed.nodes[2].blank_disk()?;
    write(&client, &members[..2], "without etcd-3", &mut keys)?;
    allow(&bed.ours, &["etcd-3", "--install"])?;
    bed.nodes[2].power_on(&bed.ours)?;
    bed.wait("etcd-3: reports installed", 2)?;
    bed.wait("for etcd-3 [key-not-approved]", 1)?;
    approve_printed(&bed.ours, "etcd-3", &bed.nodes[2].console())?;
    bed.wait("etcd-3: reports healthy", 2)?;

    let after = insist(|| voters(&client, &members))?;
    for name in ["etcd-1", "etcd-2"] {
        ensure!(before[name] == after[name], "{before:?} became {after:?}");
    }
    ensure!(
        before["etcd-3"] != after["etcd-3"],
        "etcd-3 has a new disk, but its old member id"
    );
    let found = etcd_processes(&bed)?;
    ensure!(
        found == running,
        "etcd restarted on a member that was not installed: {running:?}, {found:?}"
    );
    let read = insist(|| client.all(members[2], PREFIX))?;
    ensure!(read == keys, "etcd-3 has {read:?}, expected {keys:?}");
    let said = bed.server.output()?;
    let installers = said.matches("receives the installer").count();
    ensure!(installers == 4, "{installers} installations:\n{said}");
    Ok(())
}

/// Writes keys through these members, and adds them to the expected keys.
fn write(
    client: &Client,
    members: &[Ipv4Addr],
    when: &str,
    keys: &mut BTreeMap<String, String>,
) -> Result<()> {
    for number in 0..30 {
        let (key, value) = (format!("{PREFIX}{when}/{number}"), format!("{number}"));
        insist(|| client.put(members[number % members.len()], &key, &value))?;
        keys.insert(key, value);
    }
    Ok(())
}

/// Returns the ids of the members by their names. Each member must list the same three voters, all
/// of which have started.
fn voters(client: &Client, members: &[Ipv4Addr]) -> Result<Ids> {
    let mut lists = BTreeSet::new();
    for member in members {
        let list = client.members(*member)?;
        let ids: Ids = list
            .iter()
            .filter(|listed| !listed.is_learner)
            .map(|listed| (listed.name.clone(), listed.id.clone()))
            .collect();
        ensure!(
            list.len() == 3 && ids.keys().eq(&NAMES),
            "{member} does not list three voters that have started: {list:?}"
        );
        lists.insert(ids);
    }
    ensure!(lists.len() == 1, "the members' lists differ: {lists:?}");
    lists.pop_first().context("there are no members")
}

/// Returns the boot id and the process of etcd on the two members that stay on.
fn etcd_processes(bed: &Bed) -> Result<Vec<String>> {
    let show = |node: &Node| node.shell(&bed.ours, ETCD_PROCESS);
    bed.nodes[..2].iter().map(show).collect()
}
