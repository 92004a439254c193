//! A cluster with a single node, which is enough to test a node.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tests::cluster::{Provisioning, wait_healthy};
use tests::etcd;
use tests::host::Host;
use tests::programs::recipe;
use tests::requirement::{NEEDS_CLUSTER, Requirement};
use tests::run;

pub(crate) const REQUIREMENTS: &[Requirement] = NEEDS_CLUSTER;
pub(crate) const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(240);

/// The demo's first node, the only member of its cluster.
pub(crate) struct Bed {
    // The host must be dropped before its network.
    pub(crate) host: Host,
    pub(crate) provisioning: Provisioning,
}

/// Makes the demo's first node, installed and off. The recipe's last section is `[install]`, to
/// which the lines `install` are added. The lines `more` follow.
fn off(install: &str, more: &str) -> Result<Bed> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    let demo = fs::read_to_string(recipe("demo"))?;
    let (first, rest) = demo
        .split_once("[[node]]\nname = \"etcd-2\"")
        .context("the demo has no etcd-2")?;
    let (_, rest) = rest
        .split_once("[network]")
        .context("the demo has no [network]")?;
    let path = run::current()?.folder("recipe")?.join("recipe.toml");
    fs::write(&path, format!("{first}[network]{rest}{install}\n{more}"))?;
    provisioning.build(&path)?;
    let host = provisioning.node("etcd-1")?;
    Ok(Bed { host, provisioning })
}

/// Makes a node, installed and off, with these lines at the end of its recipe.
pub(crate) fn installed(more: &str) -> Result<Bed> {
    off("", more)
}

impl Bed {
    /// Makes a healthy member. The recipe's last section is `[install]`, to which the lines
    /// `install` are added. The lines `more` follow.
    pub(crate) fn new(install: &str, more: &str) -> Result<Self> {
        let mut bed = off(install, more)?;
        bed.host.boot()?;
        wait_healthy(&bed.host, 1, CONVERGENCE_TIMEOUT)?;
        Ok(bed)
    }
}
