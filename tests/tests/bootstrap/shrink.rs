//! Tests removing a member for good: the member leaves, and then the other nodes are updated to an
//! image whose recipe no longer contains the node.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::wait_healthy;
use tests::harness::trial;
use tests::programs::demo;

use crate::bed::{CONVERGENCE_TIMEOUT, REQUIREMENTS};
use crate::update::{bed, build, build_from, ends, is_at_rest, update};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "after_a_member_left_the_others_are_updated_to_a_recipe_without_it",
        REQUIREMENTS,
        shrink,
    )]
}

fn shrink() -> Result<()> {
    let bed = bed()?;
    bed.hosts[2].check(&["firstboot", "leave"])?;

    // As long as the recipe contains the node, the other nodes must assume that the node is being
    // rebuilt, so they do not begin an update.
    let file = ("word", "three\n");
    build(
        &bed,
        "[files.overlay]\n\"/etc/own/word\" = \"word\"\n",
        &[file],
    )?;
    ends(
        &update(&bed.hosts[0], "--deadline 3")?,
        4,
        &["it is in the recipe, but is not a member of the cluster"],
    )?;

    build_from(&bed, &fs::read_to_string(demo(2, "", "")?)?, "", &[])?;
    for host in &bed.hosts[..2] {
        ends(&update(host, "")?, 0, &[])?;
        is_at_rest(host)?;
    }
    for host in &bed.hosts[..2] {
        wait_healthy(host, 2, CONVERGENCE_TIMEOUT)?;
        let status = host.run(&["firstboot", "status"])?;
        ensure!(
            status.code() == 0 && !status.stdout.contains("etcd-3"),
            "{status:?}"
        );
    }
    Ok(())
}
