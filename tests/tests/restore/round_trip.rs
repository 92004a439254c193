//! Tests a restore and the rollback of a restore, with each version of etcd.

use std::fs;
use std::process::Child;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::client::{self, Client};
use tests::cluster::{etcdctl, wait_healthy};
use tests::etcd::need;
use tests::harness::{Kind, long, trial};
use tests::host::Host;
use tests::process::Output;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, listed, token};
use crate::orders::{
    SNAPSHOT, all_restore, cluster, content, distribute_snapshot, halt_reason, remaining_ttl,
    revision,
};

pub(crate) fn trials() -> Vec<Trial> {
    let way = |version: &str, run: Kind, test| {
        let needs = [REQUIREMENTS, &[need(version)]].concat();
        run(
            &format!(
                "three_members_of_{}_go_to_a_snapshot_and_back",
                version.replace('.', "_")
            ),
            &needs,
            test,
        )
    };
    // `make test` covers two versions of etcd: with one version, a restore can raise the revision;
    // with the other version, a restore cannot. For all remaining versions, the life-cycle test
    // already includes a restore.
    vec![
        way("3.4.23", long, || there_and_back("3.4.23")),
        way("3.5.1", trial, || there_and_back("3.5.1")),
        way("3.5.35", long, || there_and_back("3.5.35")),
        way("3.6.16", long, || there_and_back("3.6.16")),
        way("3.7.3", trial, || there_and_back("3.7.3")),
    ]
}

/// The peer URL of a learner that never starts.
const GHOST: &str = "https://10.101.15.109:2380";

/// The reason for the halt of updates.
const FREEZE: &str = "release freeze";

/// Returns whether a restore with this version of etcd can raise the revision, so that clients that
/// have seen a later revision are notified.
fn raises(version: &str) -> bool {
    !["3.4.23", "3.5.1"].contains(&version)
}

/// Creates keys with and without a lease, deleted keys, a history, and users with roles. Returns
/// the lease's id.
fn fill(host: &Host) -> Result<String> {
    let put = "for i in $(seq 50); do etcdctl put old/$i $i; done > /dev/null; etcdctl del old/7; etcdctl del old/9";
    host.sh(&format!(". /etc/profile.d/etcdctl.sh; {put}"))?
        .ok()?;
    etcdctl(host, "compaction 20")?;
    let lease = etcdctl(host, "lease grant 86400")?;
    let lease = lease
        .split(' ')
        .nth(1)
        .context("etcdctl printed no lease")?
        .to_owned();
    etcdctl(host, &format!("put leased 1 --lease={lease}"))?;
    for words in [
        "role add reader",
        "role grant-permission reader read old/ --prefix=true",
        "user add alice:secret",
        "user grant-role alice reader",
        "user add root:secret",
        "user grant-role root root",
    ] {
        etcdctl(host, words)?;
    }
    Ok(lease)
}

/// Returns the users, the roles with their permissions, and the leases that exist.
fn accounts(host: &Host) -> Result<Vec<String>> {
    let asked = [
        "user list",
        "user get alice",
        "user get root",
        "role list",
        "role get reader",
        "lease list",
    ];
    asked.iter().map(|words| etcdctl(host, words)).collect()
}

/// Takes a snapshot of a cluster with enabled authentication, a raised alarm and a learner. Finally
/// disables authentication, removes the alarm and the learner from the cluster, and copies the
/// snapshot to all hosts.
fn snapshot(bed: &Bed) -> Result<()> {
    let one = &bed.hosts[0];
    let ctl = |words: &str| format!(". /etc/profile.d/etcdctl.sh; etcdctl {words}");
    one.wait_for(
        &ctl(&format!("member add ghost --learner --peer-urls={GHOST}")),
        CONVERGENCE_TIMEOUT,
    )?;
    let client = Client::new(&bed.provisioning)?;
    let members = client::insist(|| client.members(one.address()))?;
    let own = members
        .iter()
        .find(|member| member.name == one.name())
        .context("etcd-1 is not listed")?;
    let raise = json!({ "action": "ACTIVATE", "memberID": own.id, "alarm": "NOSPACE" });
    client.call::<Value>(one.address(), "maintenance/alarm", &raise)?;
    etcdctl(one, "auth enable")?;
    etcdctl(one, &format!("snapshot save {SNAPSHOT}"))?;
    etcdctl(one, "auth disable")?;
    etcdctl(one, "alarm disarm")?;
    let ghost = members
        .iter()
        .find(|member| member.peer_urls == [GHOST])
        .context("the learner is not listed")?;
    etcdctl(
        one,
        &format!("member remove {:x}", ghost.id.parse::<u64>()?),
    )?;
    distribute_snapshot(bed, 0)
}

/// Checks the restored users, the restored alarm and the members, and disables authentication and
/// the alarm.
fn came_back(bed: &Bed) -> Result<()> {
    let two = &bed.hosts[1];
    let alice = etcdctl(two, "get old/1 --print-value-only --user alice:secret")?;
    ensure!(alice.trim() == "1", "{alice}");
    let refused = two.sh(". /etc/profile.d/etcdctl.sh; etcdctl get leased --user alice:secret")?;
    ensure!(
        !refused.success() && refused.stderr.contains("permission denied"),
        "{refused:?}"
    );
    etcdctl(two, "auth disable")?;
    let alarms = etcdctl(two, "alarm list")?;
    ensure!(alarms.contains("NOSPACE"), "{alarms:?}");
    etcdctl(two, "alarm disarm")?;
    let members = etcdctl(two, "member list")?;
    ensure!(
        members.lines().count() == 3 && !members.contains(GHOST),
        "{members}"
    );
    Ok(())
}

/// Checks that etcd has the ids that were printed before any of the data was replaced.
fn ids_as_printed(bed: &Bed, said: &str) -> Result<()> {
    for host in &bed.hosts {
        let (id, _) = listed(host, host.name())?.context("the host's member is not listed")?;
        ensure!(
            said.contains(&format!("{} {id}", host.name())),
            "{} has the id {id}, but firstboot printed:\n{said}",
            host.name()
        );
    }
    let status: Value =
        serde_json::from_str(&etcdctl(&bed.hosts[0], "endpoint status --write-out=json")?)?;
    let cluster = status[0]["Status"]["header"]["cluster_id"]
        .as_u64()
        .context("no cluster id")?;
    ensure!(
        said.contains(&format!("the new cluster has the id {cluster:x}")),
        "the cluster has the id {cluster:x}, but firstboot printed:\n{said}"
    );
    Ok(())
}

fn there_and_back(version: &str) -> Result<()> {
    let bed = cluster(version)?;
    let [one, two, three] = &bed.hosts[..] else {
        anyhow::bail!("the bed does not have three hosts")
    };
    let lease = fill(one)?;
    snapshot(&bed)?;
    let wanted = (content(one)?, accounts(one)?);
    etcdctl(two, "put later 1")?;
    etcdctl(two, "put old/1 changed")?;
    etcdctl(two, "user delete alice")?;
    let (before, seen, first) = (content(one)?, revision(one)?, token(one)?);

    // A client watches a key, and has received revisions that the restore later removes.
    let mut watch = start_watch(one, seen)?;

    plans(one)?;
    ensure!(content(one)? == before, "a dry run changed something");

    fs::remove_file(two.path(SNAPSHOT))?;
    let orders: [(_, &[&str]); 3] = [
        (one, &[SNAPSHOT]),
        (two, &["--from", "etcd-1"]),
        (three, &[SNAPSHOT]),
    ];
    let fewer = "grep -qE 'remaining\\(863([0-8][0-9]|9[0-6])s\\)'";
    one.wait_for(
        &format!(". /etc/profile.d/etcdctl.sh; etcdctl lease timetolive {lease} | {fewer}"),
        CONVERGENCE_TIMEOUT,
    )?;
    let begun = Instant::now();
    let came = all_restore(&orders)?;
    came_back(&bed)?;
    // Leases restart with their full time. A lease that had continued to run would have less time
    // left.
    let (left, passed) = (remaining_ttl(three, &lease)?, begun.elapsed().as_secs());
    ensure!(
        left + passed + 1 >= 86_400,
        "the lease has {left} s left, {passed} s after the restore began"
    );
    print_ids(&bed, &came)?;
    for host in &bed.hosts {
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
        let found = (content(host)?, accounts(host)?);
        ensure!(
            found == wanted,
            "{} has {found:#?}, but the snapshot has {wanted:#?}",
            host.name()
        );
    }
    bed.wait_all_healthy()?;
    let second = token(one)?;
    ensure!(second.starts_with("demo-r-") && second != first, "{second}");

    ensure!(
        came[0].stdout.contains("cannot raise the revision") != raises(version),
        "{}",
        came[0].stdout
    );
    if raises(version) {
        watches_fail(one, three, seen)?;
    }
    let _ = watch.kill();
    watch.wait()?;

    etcdctl(three, "put after 1")?;
    back(bed, &before, &first)
}

fn start_watch(one: &Host, seen: i64) -> Result<Child> {
    let watch = format!(
        ". /etc/profile.d/etcdctl.sh; exec etcdctl watch later --rev={seen} > /root/watched 2>&1"
    );
    let watch = one
        .command(&["sh", "-c", &watch])?
        .spawn()
        .context("cannot start the watch")?;
    one.wait_for(
        "grep -q changed /root/watched || sleep 1",
        CONVERGENCE_TIMEOUT,
    )?;
    Ok(watch)
}

fn plans(one: &Host) -> Result<()> {
    let plan = one.check(&["firstboot", "restore", "--dry-run", SNAPSHOT])?;
    ensure!(
        plan.contains("etcd-1, etcd-2, etcd-3") && plan.contains("sha256"),
        "{plan}"
    );
    ensure!(
        plan.contains("token demo-r-") && plan.contains("the members agree on the rest"),
        "{plan}"
    );
    let json = one.check(&["firstboot", "restore", "--dry-run", "--json", SNAPSHOT])?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(
        json["members"] == serde_json::json!(["etcd-1", "etcd-2", "etcd-3"])
            && json["snapshot"]["path"] == SNAPSHOT
            && json["updates"]["now"] == serde_json::json!({ "halt": null, "failed": [] }),
        "{json}"
    );
    Ok(())
}

fn print_ids(bed: &Bed, came: &[Output]) -> Result<()> {
    for ran in came {
        ensure!(
            ran.stdout
                .contains("the members etcd-1, etcd-2, etcd-3 are ready"),
            "{}",
            ran.stdout
        );
        ids_as_printed(bed, &ran.stdout)?;
    }
    Ok(())
}

/// Checks that the watch that continued through the restore fails, and that a new watch from the
/// same revision also fails.
fn watches_fail(one: &Host, three: &Host, seen: i64) -> Result<()> {
    one.wait_for("grep -q compacted /root/watched", CONVERGENCE_TIMEOUT)?;
    let again = one.sh(&format!(
        ". /etc/profile.d/etcdctl.sh; timeout 20 etcdctl watch later --rev={seen}"
    ))?;
    ensure!(format!("{again:?}").contains("compacted"), "{again:?}");
    ensure!(
        revision(three)? >= seen + 1_000_000_000,
        "{}",
        revision(three)?
    );
    Ok(())
}

/// Rolls back to the earlier data, and checks that no data was lost and that updates stay halted.
fn back(mut bed: Bed, before: &Value, first: &str) -> Result<()> {
    let [one, two, three] = &bed.hosts[..] else {
        anyhow::bail!("the bed does not have three hosts")
    };
    let listed = two.check(&["firstboot", "restore", "--list"])?;
    ensure!(
        listed.contains("/var/lib/etcd/aside/before-restore-")
            && listed.contains("--rollback restores"),
        "{listed}"
    );
    for host in &bed.hosts {
        ensure!(
            !host.path("/var/lib/etcd/restore").exists(),
            "{} keeps partial data",
            host.name()
        );
    }

    let orders: [(_, &[&str]); 3] = [
        (one, &["--rollback"]),
        (two, &["--rollback"]),
        (three, &["--rollback"]),
    ];
    two.wait_for(
        &format!("firstboot update --halt '{FREEZE}'"),
        CONVERGENCE_TIMEOUT,
    )?;
    all_restore(&orders)?;
    for host in &bed.hosts {
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
        ensure!(
            halt_reason(host)? == FREEZE,
            "{}: the rollback ended the halt",
            host.name()
        );
    }
    two.check(&["firstboot", "update", "--resume"])?;
    for host in &bed.hosts {
        ensure!(content(host)? == *before, "{} has changed", host.name());
    }
    ensure!(token(one)? == first);

    outlives_a_boot(&mut bed.hosts[2])
}

/// Checks that the rollback is still complete after a boot, and that its archived data can be
/// listed and deleted.
fn outlives_a_boot(last: &mut Host) -> Result<()> {
    last.shutdown()?;
    last.boot()?;
    wait_healthy(last, 3, CONVERGENCE_TIMEOUT)?;
    let listed = last.check(&["firstboot", "restore", "--list"])?;
    ensure!(
        listed.lines().count() == 1,
        "the archive does not contain exactly the restored data:\n{listed}"
    );
    let json = last.check(&["firstboot", "restore", "--list", "--json"])?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(
        json[0]["rollback"] == true && listed.contains(json[0]["path"].as_str().unwrap_or("-")),
        "{json}"
    );
    // Retry the command, because the member is healthy before firstboot has finished, and firstboot
    // holds the lock until it has finished.
    last.wait_for("firstboot restore --prune 1", CONVERGENCE_TIMEOUT)?;
    let dry_run = "firstboot restore --prune 0 --dry-run 2>&1 | grep 'would delete'";
    last.check(&["sh", "-c", dry_run])?;
    ensure!(
        last.check(&["firstboot", "restore", "--list"])? == listed,
        "data that is too new was deleted, or a dry run deleted data"
    );
    // The command must continue even if it cannot print a line.
    last.wait_for(
        "sleep 1; firstboot restore --prune 0 > /dev/full",
        CONVERGENCE_TIMEOUT,
    )?;
    ensure!(
        last.check(&["firstboot", "restore", "--list"])?
            .contains("no data is archived")
    );
    let none = last.run(&["firstboot", "restore", "--rollback"])?;
    ensure!(
        none.code() == 3 && none.stderr.contains("[archive-unusable]"),
        "{none:?}"
    );
    Ok(())
}
