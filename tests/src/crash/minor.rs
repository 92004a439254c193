//! The scenarios of updates to another minor version of etcd on one node: a downgrade by an older
//! image, and the return to the older image after a newer image has failed its health check. In
//! both scenarios, firstboot lets etcd downgrade the cluster, and then replaces the node's etcd.
//! The other members run the newer minor version.

use anyhow::{Result, ensure};

use super::bed::{Bed, CONVERGENCE_TIMEOUT, Traced, wait_finished};
use super::releases::{NEW_MINOR, OLD_MINOR, Release, offer};
use super::sweep::Scenario;
use super::updating::{self, OTHERS, UPDATE, VICTIM, clear_keys, reset};
use crate::cluster::{etcdctl, no_downgrade, status, wait_minor};

/// The update's unit installs an image with the older minor version.
pub(super) const DOWNGRADE: Scenario = Scenario {
    name: "downgrade, the unit",
    setup: |bed| {
        make_newer(bed)?;
        offer(&bed.orders(VICTIM, Traced::OrderUpdate), Release::Older)
    },
    end: |bed| ends(bed, Release::Older),
    ..UPDATE
};

/// The update's unit installs an image with the newer minor version. The image fails its health
/// check after the members have agreed on that version.
pub(super) const DOWNGRADE_BACK: Scenario = Scenario {
    name: "revert by a downgrade, the unit",
    setup: |bed| {
        make_older(bed)?;
        offer(&bed.orders(VICTIM, Traced::OrderUpdate), Release::BadMinor)
    },
    end: |bed| ends(bed, Release::BadMinor),
    ..UPDATE
};

/// Makes all three hosts a healthy cluster of the newer minor version, with the victim on its first
/// image.
fn make_newer(bed: &Bed) -> Result<()> {
    let host = &bed.hosts[VICTIM];
    host.check(&["systemctl", "stop", "firstboot.service", "etcd.service"])?;
    reset(host)?;
    if host.run(&["test", "-d", "/var/lib/etcd/data"])?.success() {
        bed.start(&[VICTIM])?;
        // If the last run has failed, the member may be broken. `make_healthy` then makes a new
        // cluster.
        let _ = wait_finished(host);
    }
    bed.make_healthy(OTHERS[0])?;
    // Cancel the downgrade that a failed run may have left behind. Ignore an error, because usually
    // no downgrade is pending.
    let _ = etcdctl(host, "downgrade cancel");
    wait_minor(host, NEW_MINOR, CONVERGENCE_TIMEOUT)?;
    clear_keys(host)
}

/// If the victim does not run the older minor version yet, does the same as [`make_newer`] and then
/// installs that version on the victim. Always removes the traces of earlier updates.
fn make_older(bed: &Bed) -> Result<()> {
    let host = &bed.hosts[VICTIM];
    if has_older(bed).is_err() {
        make_newer(bed)?;
        offer(&bed.orders(VICTIM, Traced::OrderUpdate), Release::Older)?;
        bed.launch(VICTIM, Traced::OrderUpdate)?;
        ends(bed, Release::Older)?;
    }
    host.check(&["rm", "-rf", "/var/lib/firstboot/update"])?;
    bed.make_healthy(OTHERS[0])?;
    clear_keys(host)
}

/// Waits until the update has ended. Checks that only the victim runs the older minor version, and
/// that the cluster's downgrade has ended.
fn ends(bed: &Bed, release: Release) -> Result<()> {
    updating::ends(bed, release)?;
    has_older(bed)
}

fn has_older(bed: &Bed) -> Result<()> {
    let host = &bed.hosts[VICTIM];
    let seen: Vec<_> = status(host)?
        .into_iter()
        .map(|member| (member.name, member.version, member.healthy))
        .collect();
    let right = |(name, version, healthy): &(String, String, bool)| {
        let is_victim = name == host.name();
        *healthy && version == if is_victim { OLD_MINOR } else { NEW_MINOR }
    };
    ensure!(
        seen.len() == bed.hosts.len() && seen.iter().all(right),
        "expected healthy members, with {OLD_MINOR} only on {}: {seen:?}",
        host.name()
    );
    no_downgrade(host)
}
