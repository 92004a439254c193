//! What a node has told others is on its disk, even where it was killed before it could see to that.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::crash::bed::{Bed, PATIENCE, Traced};
use tests::crash::order::{Order, Point};
use tests::harness::trial;
use tests::lossy::Loss;
use tests::need::Need;

use crate::needs::{NEEDS, tracer};

pub(crate) fn trials() -> Vec<Trial> {
    let with_fuse: Vec<Need> = NEEDS.iter().copied().chain([Need::Fuse]).collect();
    vec![trial("a_kill_and_then_a_power_cut_take_back_no_word_given_to_others", &with_fuse, ready)]
}

/// firstboot is killed between writing down that it is ready and flushing that. Started again it reads so, tells so,
/// and then the power goes.
fn ready() -> Result<()> {
    const JOURNAL: &str = "/var/lib/firstboot/journal";
    let mut bed = Bed::lossy(tracer())?;
    bed.settle();
    // It accepts its identity, begins a life, is ready: three lines.
    let third = Point { what: format!("fsync {JOURNAL}"), nth: 3 };
    Order::Kill(third).give(&bed.orders(0, Traced::Firstboot))?;
    // The others do not see each other, and so are never ready.
    bed.hosts[0].network().part("etcd-2", "etcd-3")?;
    bed.start(&[0, 1, 2])?;
    ensure!(bed.comes_by(0, Traced::Firstboot)?, "firstboot was not killed");
    // Of its second start: the first was killed before it could say for whom it waits.
    bed.hosts[0].wait_for("systemctl show -p NRestarts firstboot | grep -q =1", PATIENCE)?;
    bed.hosts[0].wait_for("systemctl show -p StatusText firstboot | grep -q 'waiting until'", PATIENCE)?;
    let before = bed.hosts[0].check(&["cat", JOURNAL])?;
    ensure!(
        before.lines().count() == 3 && before.contains("\"ready\""),
        "the journal is not as it should be:\n{before}"
    );

    bed.power_cut(&[0], Loss::Unflushed)?;
    bed.hosts[0].wait_for(&format!("test -s {JOURNAL}"), PATIENCE)?;
    let after = bed.hosts[0].check(&["cat", JOURNAL])?;
    ensure!(after.starts_with(&before), "a line was told and is lost; before:\n{before}\nafter:\n{after}");
    bed.hosts[0].network().heal_all()?;
    bed.wait_whole()
}
