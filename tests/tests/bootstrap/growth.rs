//! Tests extending a cluster by changing the recipe. The new image contains more nodes, and the old
//! members keep the old image.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{boot_all, etcdctl, fingerprint, wait_healthy};
use tests::harness::{long, trial};
use tests::programs::{demo, recipe};

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, listed, wait_said};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_cluster_grows_from_three_to_five_while_three_run_the_old_image",
            REQUIREMENTS,
            grow,
        ),
        long(
            "an_only_member_that_is_reinstalled_after_growth_starts_no_second_cluster",
            REQUIREMENTS,
            only_member,
        ),
    ]
}

fn grow() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    let before = bed.hosts[..3]
        .iter()
        .map(fingerprint)
        .collect::<Result<Vec<_>>>()?;
    let old = bed.provisioning.copy_output()?;
    bed.grow(5)?;

    leave_a_learner(&mut bed)?;
    // The learner is promoted at the next boot, and then the fifth node joins.
    bed.hosts[3].boot()?;
    for host in &bed.hosts {
        wait_healthy(host, 5, CONVERGENCE_TIMEOUT)?;
    }
    ensure!(
        etcdctl(
            &bed.hosts[4],
            "get answer --print-value-only --consistency=s"
        )?
        .trim()
            == "42"
    );
    let after = bed.hosts[..3]
        .iter()
        .map(fingerprint)
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        before == after,
        "an old member was changed: {before:?}\n{after:?}"
    );
    let stranger = bed.hosts[0].run(&["firstboot", "status"])?;
    ensure!(
        stranger.code() == 0
            && stranger
                .stdout
                .contains("not in the recipe of this node's image"),
        "{stranger:?}"
    );

    // An old member is rebuilt from the old image while another member is down. The rebuilt member
    // also counts the members that its image does not list.
    bed.provisioning.restore_output(&old)?;
    bed.hosts[2].cut_power()?;
    bed.hosts[1].cut_power()?;
    bed.replace_disk(2)?;
    bed.hosts[2].boot()?;
    // This version of etcd does not accept a new member while a voter is down, but firstboot has
    // already removed the rebuilt node's old member.
    bed.hosts[0].wait_for(
        ". /etc/profile.d/etcdctl.sh; ! etcdctl member list | grep -q etcd-3",
        CONVERGENCE_TIMEOUT,
    )?;
    bed.hosts[1].boot()?;
    for host in &bed.hosts {
        wait_healthy(host, 5, CONVERGENCE_TIMEOUT)?;
    }
    ensure!(listed(&bed.hosts[0], "etcd-3")?.is_some());
    Ok(())
}

/// On the fourth node, firstboot fails at its deadline and is not started again. etcd runs there as
/// a learner, and the fifth node waits for that learner.
fn leave_a_learner(bed: &mut Bed) -> Result<()> {
    let host = &mut bed.hosts[3];
    let drop_in = "/etc/systemd/system/firstboot.service.d/hold.conf";
    let impatient =
        "[Service]\nExecStart=\nExecStart=/usr/local/bin/firstboot run --deadline 0\nRestart=no\n";
    host.write(drop_in, impatient, 0o644)?;
    host.write(
        "/etc/systemd/system/etcd.service.d/slow.conf",
        "[Service]\nExecStartPre=/bin/sleep 3\n",
        0o644,
    )?;
    host.boot()?;
    host.wait_for(
        "systemctl is-failed --quiet firstboot.service",
        CONVERGENCE_TIMEOUT,
    )?;
    let left_over =
        ". /etc/profile.d/etcdctl.sh; etcdctl member list | grep -q 'started, etcd-4,.*true$'";
    bed.hosts[0].wait_for(left_over, CONVERGENCE_TIMEOUT)?;
    bed.hosts[4].boot()?;
    wait_said(
        &bed.hosts[4],
        &["etcd-4 is still a learner", "[learner-pending]"],
    )?;
    bed.hosts[0].check(&["sh", "-c", left_over])?;

    fs::remove_file(bed.hosts[3].path(drop_in))?;
    bed.hosts[3].cut_power()?;
    Ok(())
}

/// A cluster grows from one member to three. Then the first member is reinstalled from the old
/// image, which contains only this member. Neither its first boot nor a restore makes a second
/// cluster.
fn only_member() -> Result<()> {
    let three = fs::read_to_string(recipe("demo"))?;
    let one = fs::read_to_string(demo(1, "", "")?)?;
    let mut bed = Bed::unbuilt()?;
    bed.grow_from(&one, 1)?;
    bed.hosts[0].boot()?;
    wait_healthy(&bed.hosts[0], 1, CONVERGENCE_TIMEOUT)?;
    etcdctl(&bed.hosts[0], "snapshot save /root/today.db")?;
    let snapshot = fs::read(bed.hosts[0].path("/root/today.db"))?;
    bed.grow_from(&three, 3)?;
    for host in &mut bed.hosts[1..] {
        host.boot()?;
    }
    for host in &bed.hosts {
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    }

    bed.hosts[0].cut_power()?;
    bed.replace_disk(0)?;
    fs::write(bed.hosts[0].path("/root/today.db"), snapshot)?;
    bed.hosts[0].boot()?;
    wait_said(
        &bed.hosts[0],
        &[
            "treats this node as a member of its cluster",
            "[another-cluster]",
        ],
    )?;
    let restore = bed.hosts[0].run(&["firstboot", "restore", "/root/today.db"])?;
    ensure!(
        restore.code() == 3 && restore.stderr.contains("[another-cluster]"),
        "{restore:?}"
    );
    ensure!(!bed.hosts[0].path("/var/lib/etcd/data").exists());

    // The newest image also contains the other members, so the node returns to their cluster.
    bed.hosts[0].cut_power()?;
    bed.reinstall(0)?;
    bed.hosts[0].boot()?;
    for host in &bed.hosts {
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    }
    Ok(())
}
