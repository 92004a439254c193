//! Tests a node that has announced that it is ready. The node's journal entry survives a power cut,
//! even if firstboot was killed before it flushed the entry.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::crash::UpdateKind;
use tests::crash::bed::{Bed, CONVERGENCE_TIMEOUT, Traced};
use tests::crash::order::{Point, TracerOrder};
use tests::harness::trial;
use tests::lossy::Loss;
use tests::requirement::Requirement;

use crate::requirements::{REQUIREMENTS, tracer};

pub(crate) fn trials() -> Vec<Trial> {
    let with_fuse: Vec<Requirement> = REQUIREMENTS
        .iter()
        .copied()
        .chain([Requirement::Fuse])
        .collect();
    vec![trial(
        "a_kill_and_then_a_power_cut_revoke_no_promise_to_other_members",
        &with_fuse,
        ready,
    )]
}

/// firstboot is killed after it has written to the journal that it is ready, and before it flushes
/// that entry. After its restart, firstboot reads and reports the entry, and then the power fails.
fn ready() -> Result<()> {
    const JOURNAL: &str = "/var/lib/firstboot/journal";
    let mut bed = Bed::lossy(tracer(), UpdateKind::Files)?;
    bed.flush_disks();
    // firstboot accepts its document, generates its disk id and becomes ready. Each of these events
    // is one line in the journal.
    let third = Point {
        what: format!("fsync {JOURNAL}"),
        nth: 3,
    };
    TracerOrder::Kill(third).submit(&bed.orders(0, Traced::Firstboot))?;
    // The other two nodes cannot reach each other, and therefore never become ready.
    bed.hosts[0].network().drop_between("etcd-2", "etcd-3")?;
    bed.start(&[0, 1, 2])?;
    ensure!(
        bed.reaches_point(0, Traced::Firstboot)?,
        "firstboot was not killed"
    );
    // This status is from the second start. In the first start, firstboot was killed before it
    // could report which members it was waiting for.
    bed.hosts[0].wait_for(
        "systemctl show -p NRestarts firstboot | grep -q =1",
        CONVERGENCE_TIMEOUT,
    )?;
    bed.hosts[0].wait_for(
        "systemctl show -p StatusText firstboot | grep -q 'waiting until'",
        CONVERGENCE_TIMEOUT,
    )?;
    let before = bed.hosts[0].check(&["cat", JOURNAL])?;
    ensure!(
        before.lines().count() == 3 && before.contains("\"ready\""),
        "the journal does not contain the entry:\n{before}"
    );

    bed.power_cut(&[0], Loss::Unflushed)?;
    bed.hosts[0].wait_for(&format!("test -s {JOURNAL}"), CONVERGENCE_TIMEOUT)?;
    let after = bed.hosts[0].check(&["cat", JOURNAL])?;
    ensure!(
        after.starts_with(&before),
        "a reported entry is lost; before:\n{before}\nafter:\n{after}"
    );
    bed.hosts[0].network().heal_all()?;
    bed.wait_healthy()
}
