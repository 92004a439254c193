//! The timer: every run is made once per cluster, and with one member down as well.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::etcdctl;
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{Bed, NEEDS, PATIENCE, far, names};

const NEWEST: &str = "/etcd-image/backup/newest";
const OWN: &str = "/var/backups/etcd";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("a_run_of_the_schedule_is_made_once_whoever_is_down", NEEDS, once)]
}

/// The snapshots of all hosts that are on.
fn snapshots(hosts: &[Host]) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for host in hosts {
        let own = names(host, OWN)?.into_iter().filter(|name| name.strip_suffix(".json").is_none());
        all.extend(own.map(|name| format!("{} {name}", host.name())));
    }
    Ok(all)
}

fn once() -> Result<()> {
    let mut bed = Bed::new(3, &far())?;
    for host in &bed.hosts {
        // As if the timer had gone off long ago last: what was due since is made up for at the start (Persistent=).
        let stamp = host.path("/var/lib/systemd/timers/stamp-firstboot-snapshot.timer");
        fs::create_dir_all(stamp.parent().context("no folder")?)?;
        File::create(&stamp)?.set_modified(SystemTime::now() - Duration::from_secs(3 * 86_400))?;
    }
    bed.boot()?;
    for host in &bed.hosts {
        host.wait_for("journalctl -u firstboot-snapshot -o cat | grep -qE 'was taken by|checked: '", PATIENCE)?;
        let timer = host.check(&["systemctl", "show", "-p", "ActiveState", "firstboot-snapshot.timer"])?;
        ensure!(timer.trim() == "ActiveState=active", "{timer}");
    }
    let taken = snapshots(&bed.hosts)?;
    ensure!(taken.len() == 1, "made by more or less than one: {taken:?}");
    let maker = taken.first().and_then(|name| name.split(' ').next()).context("nobody")?.to_owned();

    // The same run once more, as it were, and the one that would take it is off.
    etcdctl(&bed.hosts[0], &format!("del {NEWEST}"))?;
    let at = bed.hosts.iter().position(|host| host.name() == maker).context("who?")?;
    bed.hosts[at].pull_the_plug()?;
    let mut down = bed.hosts.remove(at);
    let runs = bed.hosts.iter().map(|host| {
        let mut run = host.command(&["firstboot", "snapshot", "--scheduled", "--spread", "1"])?;
        run.spawn().context("cannot start firstboot")
    });
    for mut run in runs.collect::<Result<Vec<_>>>()? {
        ensure!(run.wait()?.success(), "a run of the schedule failed");
    }
    let taken = snapshots(&bed.hosts)?;
    ensure!(taken.len() == 1, "made by more or less than one: {taken:?}");

    // The one that was off finds it made.
    down.boot()?;
    down.wait_for("firstboot status", PATIENCE)?;
    let said = down.check(&["firstboot", "snapshot", "--scheduled", "--spread", "1"])?;
    ensure!(said.contains("was taken by"), "{said}");
    Ok(())
}
