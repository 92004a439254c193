//! Tests a member whose data differs from the others' data. etcd reports all members as healthy,
//! but firstboot does not.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client};
use tests::cluster::{boot_all, etcdctl, status};
use tests::harness::trial;
use tests::host::Host;
use tests::programs::recipe;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_diverged_member_is_degraded_and_no_snapshot_hides_it",
        REQUIREMENTS,
        apart,
    )]
}

fn apart() -> Result<()> {
    let mut bed = Bed::new(0)?;
    // Disable `initial-corrupt-check`, as on nodes that were upgraded from an older image. With
    // this check, etcd would correctly refuse to start again.
    let text = fs::read_to_string(recipe("demo"))?
        .replace("[etcd]\n", "[etcd]\ninitial-corrupt-check = false\n");
    bed.grow_from(&text, 3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let client = Client::new(&bed.provisioning)?;
    client::insist(|| client.put(bed.hosts[0].address(), "word", "as-it-was-written"))?;
    for host in &bed.hosts {
        ensure!(
            client::insist(|| client.all(host.address(), "word"))?["word"] == "as-it-was-written"
        );
    }
    let agree = bed.hosts[2].check(&["firstboot", "snapshot", "/root/", "--json"])?;
    ensure!(agree.contains("\"members agree\""), "{agree}");

    let three = &bed.hosts[2];
    change_stored_value(three)?;

    for host in &bed.hosts {
        let shown = host.run(&["firstboot", "status"])?;
        ensure!(
            shown.code() == 5 && shown.stdout.contains("[members-differ]"),
            "{}: {shown:?}",
            host.name()
        );
        let apart: Vec<String> = status(host)?
            .into_iter()
            .filter(|member| !member.healthy)
            .map(|member| member.name)
            .collect();
        ensure!(
            apart == ["etcd-3"],
            "{} reports {apart:?} as unhealthy",
            host.name()
        );
    }

    snapshots_warn(three)?;

    // If only two members run and their data differs, firstboot cannot determine which member is
    // right. firstboot takes a snapshot on request, but warns.
    bed.hosts[1].cut_power()?;
    let one = &bed.hosts[0];
    one.wait_for(
        "firstboot status | grep -q members-differ",
        CONVERGENCE_TIMEOUT,
    )?;
    let taken = one.run(&["firstboot", "snapshot", "/root/two.db"])?;
    ensure!(
        taken.code() == 5 && taken.stderr.contains("WARNING"),
        "{taken:?}"
    );
    Ok(())
}

/// Changes a value on one member's disk. bbolt's pages have no checksum.
fn change_stored_value(three: &Host) -> Result<()> {
    three.check(&["systemctl", "stop", "etcd"])?;
    three.check(&[
        "sed",
        "-i",
        "s/as-it-was-written/as-it-was-changed/",
        "/var/lib/etcd/data/member/snap/db",
    ])?;
    three.check(&["chown", "etcd:etcd", "/var/lib/etcd/data/member/snap/db"])?;
    three.check(&["systemctl", "start", "etcd"])?;
    wait_etcd_healthy(three)?;
    ensure!(
        etcdctl(three, "get word --consistency=s --print-value-only")?.trim()
            == "as-it-was-changed"
    );
    Ok(())
}

/// Checks that firstboot refuses to take a snapshot of a member whose data differs. With
/// `--from-any`, firstboot takes the snapshot from another member. If `--endpoint` names the member
/// whose data differs, firstboot takes the snapshot from this member and warns.
fn snapshots_warn(three: &Host) -> Result<()> {
    let refused = three.run(&["firstboot", "snapshot", "/root/own.db"])?;
    ensure!(
        refused.code() == 3 && refused.stderr.contains("--from-any"),
        "{refused:?}"
    );
    ensure!(!three.path("/root/own.db").exists(), "a snapshot was taken");
    let any = three.run(&["firstboot", "snapshot", "/root/any.db", "--from-any"])?;
    ensure!(any.code() == 0, "{any:?}");
    let endpoint = format!("https://{}:2379", three.address());
    let named = three.run(&[
        "firstboot",
        "snapshot",
        "/root/named.db",
        "--endpoint",
        &endpoint,
    ])?;
    ensure!(
        named.code() == 5 && named.stderr.contains("WARNING: etcd-3"),
        "{named:?}"
    );
    let read = |name: &str, words: &str| -> Result<bool> {
        let bytes = fs::read(three.path(name))?;
        Ok(bytes
            .windows(words.len())
            .any(|window| window == words.as_bytes()))
    };
    ensure!(
        read("/root/any.db", "as-it-was-written")? && read("/root/named.db", "as-it-was-changed")?
    );
    Ok(())
}

/// Waits until etcd itself reports that it is healthy.
fn wait_etcd_healthy(host: &Host) -> Result<()> {
    host.wait_for(
        ". /etc/profile.d/etcdctl.sh; etcdctl endpoint health",
        CONVERGENCE_TIMEOUT,
    )
}
