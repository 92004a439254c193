//! Tests the timer for snapshots. Every run takes one snapshot of the cluster, even if one member
//! is down.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::etcdctl;
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, far, names};

const NEWEST: &str = "/etcd-image/backup/newest";
const OWN: &str = "/var/backups/etcd";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_scheduled_snapshot_is_taken_once_whichever_member_is_down",
        REQUIREMENTS,
        once,
    )]
}

fn snapshots(hosts: &[Host]) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for host in hosts {
        let own = names(host, OWN)?
            .into_iter()
            .filter(|name| name.strip_suffix(".json").is_none());
        all.extend(own.map(|name| format!("{} {name}", host.name())));
    }
    Ok(all)
}

/// Makes the timer's last run appear long past, so that systemd makes up for the missed run at boot
/// (Persistent=).
fn make_timer_overdue(host: &Host) -> Result<()> {
    let stamp = host.path("/var/lib/systemd/timers/stamp-firstboot-snapshot.timer");
    fs::create_dir_all(stamp.parent().context("the file has no folder")?)?;
    let three_days_ago = SystemTime::now() - Duration::from_secs(3 * 86_400);
    File::create(&stamp)?.set_modified(three_days_ago)?;
    Ok(())
}

fn once() -> Result<()> {
    let mut bed = Bed::new(3, &far())?;
    for host in &bed.hosts {
        make_timer_overdue(host)?;
    }
    bed.boot()?;
    is_made_up_for(&bed.hosts)?;
    let taken = snapshots(&bed.hosts)?;
    ensure!(
        taken.len() == 1,
        "expected exactly one new snapshot: {taken:?}"
    );
    let maker = taken
        .first()
        .and_then(|name| name.split(' ').next())
        .context("the snapshot does not name a member")?
        .to_owned();

    let status = bed.hosts[0].run(&["firstboot", "status"])?.stdout;
    ensure!(
        status.contains("snapshot: ") && !status.contains("OVERDUE"),
        "{status}"
    );

    // Repeat the same run while the member that took the snapshot is off and another member cannot
    // take a snapshot.
    etcdctl(&bed.hosts[0], &format!("del {NEWEST}"))?;
    let at = bed
        .hosts
        .iter()
        .position(|host| host.name() == maker)
        .context("no host has the name of the member that took the snapshot")?;
    bed.hosts[at].cut_power()?;
    let mut down = bed.hosts.remove(at);
    shorten_turns(&bed.hosts)?;
    cannot(&bed.hosts[0])?;
    bed.hosts[1].check(&["systemctl", "start", "firstboot-snapshot"])?;
    let taken = snapshots(&bed.hosts)?;
    ensure!(
        taken.len() == 1
            && taken
                .iter()
                .all(|name| name.starts_with(bed.hosts[1].name())),
        "{taken:?}"
    );

    // The members that could not take the snapshot or were down find that the snapshot already
    // exists.
    bed.hosts[0]
        .sh("umount /var/backups/etcd && systemctl start firstboot-snapshot")?
        .ok()?;
    down.boot()?;
    down.wait_for("firstboot status", CONVERGENCE_TIMEOUT)?;
    let said = down.check(&["firstboot", "snapshot", "--scheduled", "--spread", "1"])?;
    ensure!(said.contains("has taken the snapshot of"), "{said}");
    bed.hosts.push(down);
    ensure!(
        snapshots(&bed.hosts)?.len() == 2,
        "{:?}",
        snapshots(&bed.hosts)?
    );
    Ok(())
}

/// Checks that a snapshot that was due while the nodes were off is taken when they start.
fn is_made_up_for(hosts: &[Host]) -> Result<()> {
    for host in hosts {
        host.wait_for(
            "journalctl -u firstboot-snapshot -o cat | grep -qE 'has taken the snapshot|checked: '",
            CONVERGENCE_TIMEOUT,
        )?;
        let timer = host.check(&[
            "systemctl",
            "show",
            "-p",
            "ActiveState",
            "firstboot-snapshot.timer",
        ])?;
        ensure!(timer.trim() == "ActiveState=active", "{timer}");
    }
    Ok(())
}

/// The members attempt a scheduled snapshot one after another. This function shortens the time
/// between two members from half a minute to one second.
fn shorten_turns(hosts: &[Host]) -> Result<()> {
    for host in hosts {
        let sooner = "[Service]\nExecStart=\nExecStart=/usr/local/bin/firstboot exec --sockets inet \
                      /usr/local/bin/firstboot snapshot --scheduled --spread 1\n";
        host.write(
            "/etc/systemd/system/firstboot-snapshot.service.d/sooner.conf",
            sooner,
            0o644,
        )?;
        host.check(&["systemctl", "daemon-reload"])?;
    }
    Ok(())
}

/// Checks that the unit's state and exit code report a disk that cannot be written to. Also checks
/// that `firstboot status` reports the snapshot as overdue, because no member has taken the
/// snapshot.
fn cannot(host: &Host) -> Result<()> {
    host.sh("mount -t tmpfs -o ro none /var/backups/etcd")?
        .ok()?;
    let started = host.run(&["systemctl", "start", "firstboot-snapshot"])?;
    ensure!(!started.success(), "{started:?}");
    let shown = host.check(&[
        "systemctl",
        "show",
        "-p",
        "ActiveState,ExecMainStatus",
        "firstboot-snapshot",
    ])?;
    ensure!(
        shown.contains("ActiveState=failed") && shown.contains("ExecMainStatus=1"),
        "{shown}"
    );
    let journal = host.journal("firstboot-snapshot")?;
    ensure!(journal.contains("Read-only file system"), "{journal}");
    let status = host.run(&["firstboot", "status"])?.stdout;
    ensure!(
        status.contains("snapshot: none yet") && status.contains("OVERDUE"),
        "{status}"
    );
    let json = host.run(&["firstboot", "status", "--json"])?.stdout;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(json["backup"]["overdue"] == true, "{json}");
    Ok(())
}
