//! Tests that a restore order that is not carried out leaves everything unchanged.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, token};
use crate::orders::{SNAPSHOT, cluster, content, restore, snapshot};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "another_snapshot_on_one_of_three_is_refused_by_name_and_digest",
            REQUIREMENTS,
            wrong_snapshot,
        ),
        trial(
            "a_full_disk_rolls_the_restore_back",
            REQUIREMENTS,
            full_disk,
        ),
    ]
}

/// Checks that all members still run on their previous data.
fn as_before(bed: &Bed, first: &str, before: &serde_json::Value) -> Result<()> {
    for host in &bed.hosts {
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
        ensure!(
            content(host)? == *before && token(host)? == *first,
            "{} has changed",
            host.name()
        );
        ensure!(
            !host.path("/var/lib/etcd/aside").exists(),
            "{} has archived its data",
            host.name()
        );
        ensure!(
            !host.path("/var/lib/etcd/restore").exists(),
            "{} keeps partial data",
            host.name()
        );
    }
    Ok(())
}

fn wrong_snapshot() -> Result<()> {
    let bed = cluster("3.5.1")?;
    let [one, two, three] = &bed.hosts[..] else {
        anyhow::bail!("the bed does not have three hosts")
    };
    etcdctl(one, "put answer 42")?;
    snapshot(&bed, 0)?;
    etcdctl(one, "put answer 43")?;
    etcdctl(three, &format!("snapshot save {SNAPSHOT}.new"))?;
    let (before, first) = (content(one)?, token(one)?);

    // Only one member gets the order. That member's etcd stops, and starts again after the deadline
    // has passed.
    let lonely = one.run(&["firstboot", "restore", SNAPSHOT, "--deadline", "4"])?;
    ensure!(
        lonely.code() == 4 && lonely.stderr.contains("[restore-cancelled]"),
        "{lonely:?}"
    );
    ensure!(
        lonely.stdout.contains("etcd-2 runs etcd in the cluster")
            && lonely.stdout.contains("has no order yet"),
        "{lonely:?}"
    );
    as_before(&bed, &first, &before)?;

    let (newer, deadline) = (format!("{SNAPSHOT}.new"), ["--deadline", "30"]);
    let orders: [(_, &[&str]); 3] = [
        (one, &[SNAPSHOT, deadline[0], deadline[1]]),
        (two, &[SNAPSHOT, deadline[0], deadline[1]]),
        (three, &[&newer, deadline[0], deadline[1]]),
    ];
    let came = restore(&orders)?;
    ensure!(
        came.iter().all(|ran| ran.code() == 3 || ran.code() == 4),
        "{came:?}"
    );
    let digest = |host: &Host, path: &str| -> Result<String> {
        Ok(host.check(&["sha256sum", path])?[..16].to_owned())
    };
    let (right, wrong) = (digest(one, SNAPSHOT)?, digest(three, &newer)?);
    let named =
        |ran: &tests::process::Output| ran.stderr.contains(&right) && ran.stderr.contains(&wrong);
    ensure!(
        came.iter().any(|ran| ran.code() == 3 && named(ran)),
        "{came:?}"
    );
    as_before(&bed, &first, &before)?;

    // These orders are invalid: a file that is not a snapshot, a name that is not a member, too few
    // remaining members, and a rollback without archived data.
    one.write("/root/none.db", "nothing", 0o600)?;
    for (arguments, why) in [
        (&["/root/none.db"][..], "not a good snapshot"),
        (&["--from", "etcd-9"], "[restore-source]"),
        (
            &[SNAPSHOT, "--without", "etcd-2", "etcd-3"],
            "not a majority",
        ),
        (&["--rollback"], "no restore has archived data"),
    ] {
        let ran = one.run(&[&["firstboot", "restore"], arguments].concat())?;
        ensure!(
            ran.code() == 3 && ran.stderr.contains(why),
            "{arguments:?}: {ran:?}"
        );
    }
    another_member_has_the_turn(one)?;
    as_before(&bed, &first, &before)
}

/// Another member has the turn, so a restore would make its update fail.
fn another_member_has_the_turn(one: &Host) -> Result<()> {
    let turn = r#"{"node":"etcd-2","serial":7,"since":0}"#;
    etcdctl(one, &format!("put /etcd-image/update/turn '{turn}'"))?;
    let ran = one.run(&["firstboot", "restore", SNAPSHOT])?;
    ensure!(
        ran.code() == 4 && ran.stderr.contains("[update-turn]"),
        "{ran:?}"
    );
    let plan = one.check(&["firstboot", "restore", "--dry-run", SNAPSHOT])?;
    ensure!(
        plan.contains("warning    etcd-2 has held the turn"),
        "{plan}"
    );
    one.check(&["firstboot", "update", "--break-turn", "etcd-2"])
        .map(drop)
}

fn full_disk() -> Result<()> {
    let mut bed = Bed::with_etcd("3.5.1", 3)?;
    bed.hosts[2].nspawn_argument("--tmpfs=/var/lib/etcd:size=700M,mode=0700");
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let [one, two, three] = &bed.hosts[..] else {
        anyhow::bail!("the bed does not have three hosts")
    };
    etcdctl(one, "put answer 42")?;
    snapshot(&bed, 0)?;
    let (before, first) = (content(one)?, token(one)?);

    // The member waits for the other members, which do not have the order yet. While the member
    // waits, the member's disk fills up.
    let command = ["firstboot", "restore", SNAPSHOT, "--deadline", "60"];
    let mut waiting = three.command(&command)?;
    waiting
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let waiting = waiting.spawn()?;
    three.wait_for(
        "grep -q '\"event\":\"told\"' /var/lib/firstboot/journal",
        CONVERGENCE_TIMEOUT,
    )?;
    three.sh(
        "dd if=/dev/zero of=/var/lib/etcd/filler bs=1M; truncate -s -1M /var/lib/etcd/filler",
    )?;
    let arguments: &[&str] = &[SNAPSHOT, "--deadline", "60"];
    let came = restore(&[(one, arguments), (two, arguments)])?;
    ensure!(
        came.iter().all(|ran| ran.code() == 3 || ran.code() == 4),
        "{came:?}"
    );
    let full = waiting.wait_with_output()?;
    let said = String::from_utf8_lossy(&full.stderr);
    ensure!(
        full.status.code() == Some(1) && said.contains("etcd starts with its previous data"),
        "{full:?}"
    );
    println!("{said}");
    three.check(&["rm", "/var/lib/etcd/filler"])?;
    // The third node's data is on a file system that is visible only inside the host. For this
    // node, `as_before` therefore cannot see archived or partial data.
    as_before(&bed, &first, &before)
}
