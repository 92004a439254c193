//! Tests upgrading etcd with a new image, from which one node after another is reinstalled while
//! clients write. Before it changes anything, firstboot refuses a version of etcd that is
//! incompatible with the other members' version.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Writers};
use tests::cluster::{boot_all, status, wait_healthy};
use tests::etcd;
use tests::harness::{long, trial};
use tests::host::Host;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, has_no_etcd, listed, wait_said};

const FIRST: &str = "3.5.1";
const OLD: &str = "3.5.35";
const NEW: &str = "3.6.16";
const LAST: &str = "3.7.3";

pub(crate) fn trials() -> Vec<Trial> {
    let versions = |versions: &[&str]| {
        [
            REQUIREMENTS,
            &versions
                .iter()
                .map(|version| etcd::need(version))
                .collect::<Vec<_>>(),
        ]
        .concat()
    };
    vec![
        trial(
            "a_new_image_upgrades_the_minor_version_and_the_old_one_cannot_downgrade",
            &versions(&[OLD, NEW]),
            upgrade,
        ),
        long(
            "each_step_waits_for_the_patch_that_it_needs",
            &versions(&[FIRST, OLD, NEW, LAST]),
            steps,
        ),
        long(
            "a_new_member_of_3_7_gets_no_log_that_3_5_began",
            &versions(&[OLD, NEW, LAST]),
            young,
        ),
        trial(
            "data_is_not_given_to_a_version_that_cannot_read_it",
            &versions(&[FIRST, NEW]),
            data,
        ),
        trial(
            "images_with_incompatible_versions_form_no_cluster",
            &versions(&[FIRST, NEW]),
            together,
        ),
    ]
}

fn upgrade() -> Result<()> {
    let mut bed = Bed::with_etcd(OLD, 3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let writers = Writers::start(&client, &addresses, "w/");
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;

    for at in 0..3 {
        bed.install_with(at, NEW)?;
        bed.hosts[at].boot()?;
        for host in &bed.hosts {
            wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
        }
        writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;
    }
    let written = writers.stop()?;
    for address in &addresses {
        written.kept_in(&client::insist(|| client.all(*address, "w/"))?)?;
    }
    let seen = status(&bed.hosts[0])?;
    ensure!(
        seen.iter().all(|member| member.version == NEW),
        "not {NEW}: {seen:?}"
    );
    let minor = |version: &str| version.split('.').nth(1).map(str::to_owned);
    // etcd raises its storage version a few seconds after it raises the cluster version
    // (server/etcdserver/server.go, monitorStorageVersion).
    let storage = format!("\"storageVersion\":\"3.{}", minor(NEW).unwrap_or_default());
    let raised = format!(
        ". /etc/profile.d/etcdctl.sh && etcdctl endpoint status -w json | grep '{storage}'"
    );
    bed.hosts[1].wait_for(&raised, CONVERGENCE_TIMEOUT)?;

    // firstboot does not remove the node's member before the node gets an image whose etcd can join
    // the cluster.
    let before = listed(&bed.hosts[0], "etcd-3")?;
    bed.install_with(2, OLD)?;
    bed.hosts[2].boot()?;
    let words = format!(
        "the cluster's version is 3.{}, and {OLD} is older",
        minor(NEW).unwrap_or_default()
    );
    wait_said(&bed.hosts[2], &[&words])?;
    ensure!(
        before.is_some() && listed(&bed.hosts[0], "etcd-3")? == before,
        "the entry of etcd-3 in the member list has changed"
    );
    bed.install_with(2, NEW)?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT).map(drop)
}

/// The number of writes between two steps. The writes outnumber the entries that the raft log
/// keeps, so each new member starts from a snapshot.
const WRITES_BETWEEN_STEPS: usize = 2000;

/// With plain etcd, the cluster lost its quorum in every run in which nodes with 3.6.16 replaced
/// nodes with 3.5.1 after a compaction of the raft log (etcd-io/etcd#19557). The second new node
/// mistook a member for a learner, and no third node could be added.
fn steps() -> Result<()> {
    let mut bed = Bed::compacting(FIRST, 3, 100)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    client.fill(&addresses, WRITES_BETWEEN_STEPS, 50)?;
    let before = listed(&bed.hosts[0], "etcd-3")?;
    for (version, words) in [
        (
            NEW,
            "etcd-1 is etcd 3.5.1, and 3.6.16 cannot run alongside it: 3.6 requires that every 3.5 member runs 3.5.32 or later",
        ),
        (
            LAST,
            "etcd-1 is etcd 3.5.1, and 3.7.3 cannot run alongside it: etcd does not support skipping a minor version",
        ),
    ] {
        bed.install_with(2, version)?;
        bed.hosts[2].boot()?;
        wait_said(&bed.hosts[2], &[words])?;
        ensure!(
            before.is_some() && listed(&bed.hosts[0], "etcd-3")? == before,
            "the entry of etcd-3 in the member list has changed"
        );
    }
    let writers = Writers::start(&client, &addresses[..2], "w/");
    for version in [OLD, NEW, LAST] {
        for at in [2, 0, 1] {
            bed.install_with(at, version)?;
            bed.hosts[at].boot()?;
            for host in &bed.hosts {
                wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
            }
            client.fill(&addresses, WRITES_BETWEEN_STEPS, 50)?;
        }
    }
    let written = writers.stop()?;
    for (host, address) in bed.hosts.iter().zip(&addresses) {
        written.kept_in(&client::insist(|| client.all(*address, "w/"))?)?;
        let filled = client::insist(|| client.all(*address, "filled/"))?.len();
        ensure!(
            filled == WRITES_BETWEEN_STEPS,
            "{filled} of {WRITES_BETWEEN_STEPS} keys on {}",
            host.name()
        );
        let seen = status(host)?;
        ensure!(
            seen.iter()
                .all(|member| member.version == LAST && member.errors.is_empty()),
            "{seen:?}"
        );
    }
    Ok(())
}

/// etcd 3.7 cannot read the requests of the v2 API with which members of 3.5 publish their names.
/// In a cluster with few log entries, the leader would send these requests to a new member.
/// firstboot therefore makes the members compact their logs first.
fn young() -> Result<()> {
    let mut bed = Bed::with_etcd(OLD, 3)?;
    boot_all(&mut bed.hosts)?;
    // Wait for a message from firstboot instead of running `firstboot status`, which lists the
    // alarms and thus adds an entry to etcd's raft log.
    let healthy = |host: &Host| {
        let said = "journalctl --no-pager -b -u firstboot | grep -q 'is a healthy member of'";
        host.wait_for(said, CONVERGENCE_TIMEOUT)
    };
    bed.hosts.iter().try_for_each(healthy)?;
    for (version, at) in [(NEW, 2), (NEW, 0), (NEW, 1), (LAST, 2)] {
        bed.install_with(at, version)?;
        bed.hosts[at].boot()?;
        healthy(&bed.hosts[at])?;
    }
    let said = bed.hosts[2].journal("firstboot")?;
    ensure!(
        said.contains("writing entries until the members have compacted their raft logs"),
        "{said}"
    );
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT).map(drop)
}

/// Installs different versions of etcd on a node that keeps its data.
fn data() -> Result<()> {
    let mut bed = Bed::with_etcd(FIRST, 3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let with = |bed: &mut Bed, version: &str| {
        bed.hosts[2].shutdown()?;
        etcd::replace_etcd_binary(&bed.hosts[2], version)?;
        bed.hosts[2].boot()
    };
    with(&mut bed, NEW)?;
    wait_said(
        &bed.hosts[2],
        &[
            "the version that last used this node's data is etcd 3.5.1, and 3.6.16 cannot run \
             alongside it",
        ],
    )?;
    let state = bed.hosts[2]
        .run(&["systemctl", "is-active", "etcd"])?
        .stdout;
    ensure!(state.trim() == "inactive", "etcd is {state}");
    with(&mut bed, FIRST)?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT).map(drop)
}

fn together() -> Result<()> {
    let mut bed = Bed::with_etcd(FIRST, 3)?;
    etcd::replace_etcd_binary(&bed.hosts[1], NEW)?;
    boot_all(&mut bed.hosts)?;
    wait_said(
        &bed.hosts[0],
        &[
            "etcd-2",
            "its image is etcd 3.6.16, and 3.5.1 cannot run alongside it",
        ],
    )?;
    wait_said(
        &bed.hosts[1],
        &["its image is etcd 3.5.1, and 3.6.16 cannot run alongside it"],
    )?;
    has_no_etcd(&bed.hosts[2])?;
    bed.hosts[1].shutdown()?;
    etcd::replace_etcd_binary(&bed.hosts[1], FIRST)?;
    bed.hosts[1].boot()?;
    bed.wait_all_healthy()
}
