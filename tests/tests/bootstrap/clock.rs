//! Tests a node with a new disk and a wrong clock. The node must not join a cluster, because leases
//! and certificates depend on the clock.

use std::path::Path;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::etcdctl;
use tests::crash::UpdateKind;
use tests::crash::bed::{Bed, Traced};
use tests::crash::clock;
use tests::harness::trial;

use crate::bed::{REQUIREMENTS, wait_said};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_node_with_a_new_disk_and_a_wrong_clock_waits_until_the_clock_is_set",
        REQUIREMENTS,
        off,
    )]
}

/// Sets two wrong clocks, one after the other. The first wrong clock is so far behind that the
/// machine's own certificates are not valid yet. The second wrong clock is ahead, which only a
/// comparison with the members' clocks reveals.
fn off() -> Result<()> {
    let bed = Bed::booted(Path::new(env!("CARGO_BIN_EXE_tracer")), UpdateKind::Files)?;
    bed.make_healthy(0)?;
    let before = etcdctl(&bed.hosts[0], "member list")?;
    let own = |line: &&str| line.contains(" etcd-3,");
    let orders = bed.orders(2, Traced::Firstboot);

    bed.forget(2)?;
    clock::set_off(&orders, -86_400)?;
    bed.start(&[2])?;
    wait_said(
        &bed.hosts[2],
        &[
            "it is valid from",
            "this node's clock shows",
            "chronyc tracking",
        ],
    )?;
    clock::set_off(&orders, 3600)?;
    wait_said(
        &bed.hosts[2],
        &[
            "the smallest difference is -3600 s",
            "[clock-off]",
            "chronyc tracking",
        ],
    )?;
    ensure!(
        etcdctl(&bed.hosts[0], "member list")? == before,
        "the member list has changed"
    );

    clock::set_right(&orders)?;
    bed.wait_healthy()?;
    let after = etcdctl(&bed.hosts[0], "member list")?;
    ensure!(
        after.lines().find(own) != before.lines().find(own),
        "etcd-3 is still the old member:\n{after}"
    );
    ensure!(
        after.lines().count() == 3,
        "the cluster does not have three members:\n{after}"
    );
    Ok(())
}
