//! Tests that a node with a new disk returns without intervention, and that no write is lost.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::Client;
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::process;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, has_no_etcd, listed, wait_said};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_node_with_a_new_disk_returns_while_others_write",
            REQUIREMENTS,
            one_of_three,
        ),
        trial(
            "a_node_with_a_new_disk_waits_and_reports_the_reason",
            REQUIREMENTS,
            waits,
        ),
        trial(
            "two_of_five_with_new_disks_queue_up_and_both_return",
            REQUIREMENTS,
            two_of_five,
        ),
        trial(
            "a_member_that_received_a_snapshot_delays_no_other",
            REQUIREMENTS,
            one_after_the_other,
        ),
        trial(
            "a_learner_is_promoted_when_its_etcd_runs_although_it_serves_no_clients_yet",
            REQUIREMENTS,
            vote,
        ),
    ]
}

/// A script that writes through the host's own member until the file /root/stop exists, and records
/// which writes were acknowledged.
const WRITER: &str = ". /etc/profile.d/etcdctl.sh; i=0; while [ ! -e /root/stop ]; do i=$((i+1)); \
                      etcdctl put written/$i $i > /dev/null 2>> /root/failed && echo written/$i >> /root/acknowledged; done";

fn one_of_three() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let old = etcdctl(&bed.hosts[0], "member list")?;
    let mut writer = bed.hosts[0]
        .command(&["sh", "-c", WRITER])?
        .spawn()
        .context("cannot start the writer")?;

    let host = &mut bed.hosts[2];
    host.cut_power()?;
    bed.replace_disk(2)?;
    let begun = Instant::now();
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT)?;
    println!(
        "from power-on with a new disk to voter: {:.1?}",
        begun.elapsed()
    );

    // Wait until there are enough writes for the comparison, because the rate of the writes depends
    // on the leader and on the machine.
    bed.hosts[0].wait_for(
        "[ $(wc -l < /root/acknowledged) -gt 50 ]",
        CONVERGENCE_TIMEOUT,
    )?;
    bed.hosts[0].write("/root/stop", "", 0o600)?;
    writer.wait()?;
    let acknowledged: BTreeSet<String> = bed.hosts[0]
        .read("/root/acknowledged")?
        .lines()
        .map(str::to_owned)
        .collect();
    let kept = etcdctl(
        &bed.hosts[2],
        "get written/ --prefix --keys-only --consistency=s",
    )?;
    let kept: BTreeSet<String> = kept.lines().map(str::to_owned).collect();
    let lost: Vec<&String> = acknowledged.difference(&kept).collect();
    println!("{} writes acknowledged", acknowledged.len());
    ensure!(
        lost.is_empty() && acknowledged.len() > 50,
        "of {} writes, {lost:?} are lost",
        acknowledged.len()
    );

    let now = etcdctl(&bed.hosts[0], "member list")?;
    let id = |list: &str| {
        list.lines()
            .find(|line| line.contains("etcd-3"))
            .map(|line| line[..16].to_owned())
    };
    ensure!(
        now.lines().count() == 3 && id(&now) != id(&old),
        "before:\n{old}\nnow:\n{now}"
    );

    // The rebuilt member behaves like the other members: at the next boot, it starts as a member
    // again.
    bed.hosts[2].shutdown()?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT).map(drop)
}

/// Two conditions make a rebuild safe: the other members are known to form a quorum, and there is
/// space for their data. Until both conditions are met, the old member stays unchanged.
fn waits() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let old = listed(&bed.hosts[0], "etcd-3")?;
    bed.hosts[2].cut_power()?;
    bed.replace_disk(2)?;
    bed.hosts[2].nspawn_argument("--tmpfs=/var/lib/etcd:size=64M,mode=0700,uid=450,gid=450");
    bed.provisioning.network.drop_between("etcd-2", "etcd-3")?;
    bed.hosts[2].boot()?;
    wait_said(
        &bed.hosts[2],
        &[
            "only 1 of 3 voters are healthy; 2 are required",
            "etcd-2 has not answered since",
        ],
    )?;
    bed.provisioning.network.heal_all()?;
    wait_said(&bed.hosts[2], &["[disk-full]"])?;
    has_no_etcd(&bed.hosts[2])?;
    ensure!(
        listed(&bed.hosts[0], "etcd-3")? == old,
        "the entry in the member list has changed"
    );
    bed.hosts[2].check(&[
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "remount,size=1G",
        "none",
        "/var/lib/etcd",
    ])?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT).map(drop)
}

fn two_of_five() -> Result<()> {
    let mut bed = Bed::new(5)?;
    boot_all(&mut bed.hosts)?;
    wait_healthy(&bed.hosts[0], 5, CONVERGENCE_TIMEOUT)?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    for at in [3, 4] {
        bed.hosts[at].cut_power()?;
    }
    for at in [3, 4] {
        bed.replace_disk(at)?;
    }
    boot_all(&mut bed.hosts[3..])?;
    for host in &bed.hosts {
        wait_healthy(host, 5, CONVERGENCE_TIMEOUT)?;
    }
    let members = etcdctl(&bed.hosts[4], "member list")?;
    ensure!(members.lines().count() == 5, "{members}");
    ensure!(etcdctl(&bed.hosts[4], "get answer --print-value-only")?.trim() == "42");
    Ok(())
}

/// The metrics of a member that received a snapshot show its peers as connected indefinitely.
/// Because of these metrics, an earlier version of firstboot waited in the second rebuild for a
/// machine that did not exist.
fn one_after_the_other() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    // The number of writes exceeds the 5000 log entries that etcd keeps (SnapshotCatchUpEntries)
    // plus the entries between two snapshots.
    Client::new(&bed.provisioning)?.fill(&addresses, 7000, 10)?;
    for at in [2, 0, 1] {
        bed.hosts[at].cut_power()?;
        bed.replace_disk(at)?;
        bed.hosts[at].boot()?;
        wait_healthy(&bed.hosts[at], 3, CONVERGENCE_TIMEOUT)?;
        let etcd = bed.hosts[at].journal("etcd")?;
        ensure!(
            etcd.contains("applied snapshot"),
            "etcd-{} has replayed the log",
            at + 1
        );
    }
    Ok(())
}

/// etcd serves clients only after it has published itself in the cluster. With etcd 3.5, the
/// publication took seven seconds in half of the rebuilds. etcd serves its peers from the start.
fn vote() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    bed.hosts[2].cut_power()?;
    bed.replace_disk(2)?;
    // The partition makes the node wait until the test has closed the ports.
    bed.provisioning.network.drop_between("etcd-2", "etcd-3")?;
    bed.hosts[2].boot()?;
    wait_said(&bed.hosts[2], &["only 1 of 3 voters are healthy"])?;
    let close = |table: &str, port: &str| {
        let rules = format!(
            "table inet {table} {{ chain own {{ type filter hook output priority 0; oif lo tcp dport {port} drop; }}; }}"
        );
        nft(&bed.hosts[2], &rules)
    };
    close("peers", "2380")?;
    close("clients", "2379")?;
    bed.provisioning.network.heal_all()?;

    // The rules drop only the node's own connections. `endpoint status`, run on another member,
    // succeeds as soon as this node's etcd serves clients.
    let serves = "etcdctl endpoint status --endpoints=https://10.101.15.103:2379";
    bed.hosts[0].wait_for(
        &format!(". /etc/profile.d/etcdctl.sh; unset ETCDCTL_ENDPOINTS; {serves}"),
        CONVERGENCE_TIMEOUT,
    )?;
    sleep(Duration::from_secs(3));
    let is_learner = || {
        Ok::<_, anyhow::Error>(
            listed(&bed.hosts[0], "etcd-3")?.is_some_and(|(_, line)| line.ends_with("true")),
        )
    };
    ensure!(
        is_learner()?,
        "the node is a voter although its peer port did not answer"
    );
    nft(&bed.hosts[2], "delete table inet peers")?;
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    while is_learner()? {
        ensure!(
            Instant::now() < end,
            "the node is not a voter:\n{}",
            bed.hosts[2].journal("firstboot")?
        );
        sleep(Duration::from_millis(100));
    }
    let said = bed.hosts[2].journal("firstboot")?;
    ensure!(!said.contains("is a healthy member"), "{said}");
    nft(&bed.hosts[2], "delete table inet clients")?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT).map(drop)
}

fn nft(host: &Host, rules: &str) -> Result<()> {
    process::run(host.link().namespace.command("nft").arg(rules))?
        .ok()
        .map(drop)
}
