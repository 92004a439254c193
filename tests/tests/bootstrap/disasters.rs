//! Tests the disasters that can happen with plain etcd. Each disaster runs twice on the same
//! machines: with etcd set up by hand, and with firstboot.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::Client;
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::harness::trial;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, has_no_etcd, wait_said};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "two_members_wiped_at_the_same_time_form_no_second_cluster",
            REQUIREMENTS,
            two_wiped,
        ),
        trial(
            "a_wiped_member_alone_in_a_partition_does_not_start_over",
            REQUIREMENTS,
            wiped_and_parted,
        ),
        trial(
            "a_restart_of_all_members_with_one_wiped_loses_no_write",
            REQUIREMENTS,
            all_restarted,
        ),
    ]
}

/// The write that must not be lost.
const ANSWER: (&str, &str) = ("answer", "42");

/// Sets up machines with plain etcd, and waits until they are a cluster that has acknowledged a
/// write.
pub(crate) fn start_plain_etcd(bed: &mut Bed) -> Result<Client> {
    for at in 0..bed.hosts.len() {
        bed.set_up_by_hand(at)?;
    }
    boot_all(&mut bed.hosts)?;
    let client = Client::new(&bed.provisioning)?;
    for host in &bed.hosts {
        eventually("plain etcd becomes a cluster", || {
            client.put(host.address(), "begun", "yes")
        })?;
    }
    Ok(client)
}

/// Sets up the same cluster with firstboot.
pub(crate) fn ours(bed: &mut Bed) -> Result<Client> {
    bed.cut_power()?;
    bed.provisioning.network.heal_all()?;
    for at in 0..bed.hosts.len() {
        bed.replace_disk(at)?;
    }
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    Client::new(&bed.provisioning)
}

pub(crate) fn write(client: &Client, bed: &Bed, at: usize) -> Result<()> {
    let address = bed.hosts[at].address();
    eventually("the answer is written", || {
        client.put(address, ANSWER.0, ANSWER.1)
    })
}

/// Returns the value of the key `answer` on a member, after that member's cluster has a quorum.
pub(crate) fn answer(client: &Client, bed: &Bed, at: usize) -> Result<Option<String>> {
    let address = bed.hosts[at].address();
    let mut found = None;
    eventually("there is a quorum", || {
        found = client.all(address, ANSWER.0)?.remove(ANSWER.0);
        Ok(())
    })?;
    Ok(found)
}

fn eventually(what: &str, mut act: impl FnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    while let Err(error) = act() {
        ensure!(
            Instant::now() < end,
            "not true after {CONVERGENCE_TIMEOUT:?}: {what}: {error:#}"
        );
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// etcd-io/etcd#12227: two of three members get new disks and are started with the initial cluster
/// state `new`. These two members form a quorum and elect a leader without data. The third member,
/// which has the data, follows that leader.
fn two_wiped() -> Result<()> {
    let mut bed = Bed::new(3)?;
    let client = start_plain_etcd(&mut bed)?;
    write(&client, &bed, 0)?;
    bed.cut_power()?;
    bed.set_up_by_hand(0)?;
    bed.set_up_by_hand(1)?;
    boot_all(&mut bed.hosts[..2])?;
    let left = answer(&client, &bed, 0)?;
    ensure!(left.is_none(), "plain etcd did not lose the write");

    let client = ours(&mut bed)?;
    write(&client, &bed, 0)?;
    bed.cut_power()?;
    bed.replace_disk(0)?;
    bed.replace_disk(1)?;

    // Without the third node, the two nodes cannot determine which data the third node has.
    boot_all(&mut bed.hosts[..2])?;
    for (own, other) in [(0, "etcd-2"), (1, "etcd-1")] {
        wait_said(
            &bed.hosts[own],
            &[
                &format!("{other} is empty"),
                "etcd-3 has not answered since",
            ],
        )?;
    }
    sleep(Duration::from_secs(5));
    bed.hosts[..2].iter().try_for_each(has_no_etcd)?;

    // After the third node has booted, the two nodes report its data.
    bed.hosts[2].boot()?;
    for host in &bed.hosts[..2] {
        wait_said(
            host,
            &[
                "etcd-3 has run etcd in the cluster",
                "[no-quorum]",
                "`firstboot restore`",
            ],
        )?;
    }
    sleep(Duration::from_secs(5));
    bed.hosts[..2].iter().try_for_each(has_no_etcd)?;
    // Without a quorum, etcd does not answer clients, so the test reads the member's database.
    let database = std::fs::read(bed.hosts[2].path("/var/lib/etcd/data/member/snap/db"))?;
    ensure!(
        database.windows(6).any(|bytes| bytes == b"answer"),
        "the database of etcd-3 does not contain the write"
    );
    Ok(())
}

/// A member gets a new disk, and reaches no other member. The member starts with its old id and the
/// initial cluster state `new`. The leader assumes that this member still has the entries that it
/// once confirmed, so the member crashes at every start.
fn wiped_and_parted() -> Result<()> {
    let mut bed = Bed::new(3)?;
    let client = start_plain_etcd(&mut bed)?;
    write(&client, &bed, 0)?;
    // If the victim were the leader, its progress records would also be lost, so the victim is a
    // follower.
    let leads = |at: usize| client.leads(bed.hosts[at].address());
    let lost = if leads(2)? { 1 } else { 2 };
    let name = bed.hosts[lost].name().to_owned();
    bed.provisioning.network.unplug(&name)?;
    bed.hosts[lost].cut_power()?;
    bed.set_up_by_hand(lost)?;
    bed.hosts[lost].boot()?;
    bed.hosts[lost].wait_for(
        "ls /var/lib/etcd/data/member/wal/*.wal",
        CONVERGENCE_TIMEOUT,
    )?;
    bed.provisioning.network.replug(&name)?;
    bed.hosts[lost].wait_for(
        "journalctl -u etcd | grep -q 'tocommit(.*) is out of range'",
        CONVERGENCE_TIMEOUT,
    )?;

    let client = ours(&mut bed)?;
    write(&client, &bed, 0)?;
    bed.provisioning.network.unplug("etcd-3")?;
    bed.hosts[2].cut_power()?;
    bed.replace_disk(2)?;
    bed.hosts[2].boot()?;
    wait_said(
        &bed.hosts[2],
        &[
            "etcd-1 has not answered since",
            "etcd-2 has not answered since",
        ],
    )?;
    sleep(Duration::from_secs(5));
    has_no_etcd(&bed.hosts[2])?;
    bed.provisioning.network.replug("etcd-3")?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT)?;
    ensure!(etcdctl(&bed.hosts[2], "get answer --print-value-only")?.trim() == ANSWER.1);
    Ok(())
}

/// One member lags behind, and the other two acknowledge a write. The power fails, and one of these
/// two members returns with a new disk. If that member is started with the initial cluster state
/// `new`, it is a voter with its old id, but without the write. Together with the lagging member,
/// that voter forms a quorum without the write.
fn all_restarted() -> Result<()> {
    let mut bed = Bed::new(3)?;
    let client = start_plain_etcd(&mut bed)?;
    write_behind(&client, &mut bed)?;
    bed.set_up_by_hand(2)?;
    // With the initial cluster state `new`, etcd refuses to start if it reaches a member that lists
    // this etcd as a member. The victim therefore starts first here.
    bed.hosts[2].boot()?;
    bed.hosts[2].wait_for(
        "ls /var/lib/etcd/data/member/wal/*.wal",
        CONVERGENCE_TIMEOUT,
    )?;
    bed.hosts[1].boot()?;
    let left = answer(&client, &bed, 1)?;
    ensure!(left.is_none(), "plain etcd did not lose the write");

    let client = ours(&mut bed)?;
    write_behind(&client, &mut bed)?;
    bed.replace_disk(2)?;
    bed.hosts[2].boot()?;
    wait_said(
        &bed.hosts[2],
        &[
            "etcd-1 has not answered since",
            "etcd-2 has not answered since",
        ],
    )?;
    bed.hosts[1].boot()?;
    wait_said(
        &bed.hosts[2],
        &["etcd-2 has run etcd in the cluster", "[no-quorum]"],
    )?;
    sleep(Duration::from_secs(5));
    has_no_etcd(&bed.hosts[2])?;
    bed.hosts[0].boot()?;
    for at in 0..3 {
        wait_healthy(&bed.hosts[at], 3, CONVERGENCE_TIMEOUT)?;
        let left = answer(&client, &bed, at)?;
        ensure!(
            left.as_deref() == Some(ANSWER.1),
            "{} reads {left:?}",
            bed.hosts[at].name()
        );
    }
    Ok(())
}

/// Makes a write that the second member does not receive, and then cuts the power.
fn write_behind(client: &Client, bed: &mut Bed) -> Result<()> {
    bed.provisioning.network.unplug("etcd-2")?;
    write(client, bed, 0).context("the first and the third member do not form a quorum")?;
    bed.cut_power()?;
    bed.provisioning.network.replug("etcd-2")
}
