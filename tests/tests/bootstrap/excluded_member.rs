//! Tests `firstboot run --without`, with which an operator starts the cluster although one machine
//! does not boot.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{etcdctl, wait_healthy};
use tests::harness::trial;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, has_no_etcd, token, wait_said};
use crate::builder_status;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "the_operator_starts_the_cluster_without_a_missing_member",
        REQUIREMENTS,
        without,
    )]
}

fn without() -> Result<()> {
    let mut bed = Bed::new(3)?;
    bed.hosts[0].boot()?;
    bed.hosts[1].boot()?;
    for host in &bed.hosts[..2] {
        wait_said(host, &["is empty as well", "etcd-3 has not answered since"])?;
    }
    let few = bed.hosts[0].run(&["firstboot", "run", "--without", "etcd-2", "etcd-3"])?;
    ensure!(
        few.code() == 3
            && few
                .stderr
                .contains("1 of 3 members would remain, which is not a majority"),
        "{few:?}"
    );

    // If an operator passes `--without` on only one of the two nodes, only the status text changes.
    bed.hosts[0].check(&["firstboot", "run", "--without", "etcd-3"])?;
    wait_said(
        &bed.hosts[0],
        &["etcd-2 has waited for all members of the recipe"],
    )?;
    wait_said(&bed.hosts[1], &["etcd-1 has waited for all but etcd-3"])?;
    bed.hosts[..2].iter().try_for_each(has_no_etcd)?;

    bed.hosts[1].check(&["firstboot", "run", "--without", "etcd-3"])?;
    for host in &bed.hosts[..2] {
        wait_said(host, &["is a healthy member"])?;
    }
    ensure!(token(&bed.hosts[0])? == token(&bed.hosts[1])?);
    let members = etcdctl(&bed.hosts[0], "member list")?;
    ensure!(
        members.lines().count() == 2 && !members.contains("etcd-3"),
        "{members}"
    );
    let status = bed.hosts[0].run(&["firstboot", "status"])?.stdout;
    ensure!(status.contains("excluded from the bootstrap"), "{status}");
    let late = bed.hosts[0].run(&["firstboot", "run", "--without", "etcd-3"])?;
    ensure!(
        late.code() == 3 && late.stderr.contains("[exclusion-too-late]"),
        "{late:?}"
    );

    // The third member starts later. The third member does not bootstrap a cluster, but joins the
    // running cluster. The member may find that cluster immediately, so it does not always report
    // that it is waiting.
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[0], 3, CONVERGENCE_TIMEOUT)?;
    let said = bed.hosts[2].journal("firstboot")?;
    ensure!(
        said.contains("adding this node to the cluster")
            && said.contains("this node is now a voter"),
        "{said}"
    );
    builder_status::shows_a_cluster_that_loses_its_members(&mut bed)
}
