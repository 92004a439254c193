//! Tests a node that gets a different address from a new image. The node replaces its old member,
//! but not while that member is alive.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::programs::recipe;

use crate::bed::{
    Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, has_no_etcd, listed, wait_refused, wait_said,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_node_with_a_new_address_replaces_its_old_member_after_the_old_machine_is_off",
        REQUIREMENTS,
        moved,
    )]
}

/// Moves a node to a new address. ARP finds no owner of that address, so only the members that are
/// connected to the old machine show that it is alive.
fn moved() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    let before = listed(&bed.hosts[0], "etcd-3")?.context("etcd-3 is not listed")?;

    bed.build(&fs::read_to_string(recipe("demo"))?.replace("10.101.15.103", "10.101.15.104"))?;
    let mut new = bed.moved("etcd-3")?;
    new.boot()?;
    let rival = [
        "etcd-1 is still connected to this node's member",
        &before.0,
        "at https://10.101.15.103:2380",
    ];
    wait_said(&new, &rival)?;
    // If a member answers late, firstboot's wait of 60 s begins again, so this time limit is
    // doubled.
    new.wait_for(
        "systemctl is-failed --quiet firstboot.service",
        2 * CONVERGENCE_TIMEOUT,
    )?;
    wait_refused(
        &new,
        &[
            &rival[..],
            &["has suspected this for 60 s", "[duplicate-suspected]"],
        ]
        .concat(),
    )?;
    has_no_etcd(&new)?;
    ensure!(
        listed(&bed.hosts[0], "etcd-3")?.as_ref() == Some(&before),
        "the member list has changed"
    );

    bed.hosts[2].cut_power()?;
    new.check(&["systemctl", "restart", "--no-block", "firstboot.service"])?;
    wait_healthy(&new, 3, CONVERGENCE_TIMEOUT)?;
    // A node with the old image reports that its recipe contains another address for the moved
    // member.
    wait_healthy(&bed.hosts[0], 3, CONVERGENCE_TIMEOUT)?;
    let shown = bed.hosts[0].check(&["firstboot", "status"])?;
    ensure!(
        shown.contains("the recipe of this node's image has the address 10.101.15.103"),
        "{shown}"
    );
    let (id, line) = listed(&bed.hosts[0], "etcd-3")?.context("etcd-3 is not listed")?;
    ensure!(
        id != before.0 && line.contains("https://10.101.15.104:2380"),
        "etcd-3 is {line}"
    );
    ensure!(etcdctl(&new, "get answer --print-value-only --consistency=s")?.trim() == "42");

    // The machine at the old address boots again and finds that its member has been removed.
    bed.hosts[2].boot()?;
    wait_refused(&bed.hosts[2], &[&before.0, "[member-removed]"])
}
