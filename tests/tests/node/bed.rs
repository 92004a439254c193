//! A cluster with a single node, which is enough to test a node.

use std::time::Duration;

use anyhow::Result;
use tests::cluster::{Provisioning, wait_healthy};
use tests::etcd;
use tests::host::Host;
use tests::programs::demo;
use tests::requirement::{NEEDS_CLUSTER, Requirement};

pub(crate) const REQUIREMENTS: &[Requirement] = NEEDS_CLUSTER;
pub(crate) const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(240);

/// The demo's first node, the only member of its cluster.
pub(crate) struct Bed {
    // The host must be dropped before its network.
    pub(crate) host: Host,
    pub(crate) provisioning: Provisioning,
}

/// Makes the demo's first node, installed and off. Adds the lines `install` and then the lines
/// `more` to the end of the recipe, whose last section is `[install]`.
fn off(install: &str, more: &str) -> Result<Bed> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&demo(1, "", &format!("{install}\n{more}"))?)?;
    let host = provisioning.node("etcd-1")?;
    Ok(Bed { host, provisioning })
}

/// Makes a node, installed and off, with these lines at the end of its recipe.
pub(crate) fn installed(more: &str) -> Result<Bed> {
    off("", more)
}

impl Bed {
    /// Makes a healthy member. Adds the lines `install` and then the lines `more` to the end of the
    /// recipe, whose last section is `[install]`.
    pub(crate) fn new(install: &str, more: &str) -> Result<Self> {
        let mut bed = off(install, more)?;
        bed.host.boot()?;
        wait_healthy(&bed.host, 1, CONVERGENCE_TIMEOUT)?;
        Ok(bed)
    }
}
