//! Real etcd releases in upstream's layout, and the mirror that serves them.
//!
//! Tests cannot reach upstream's download hosts, so the test bed makes the releases from the
//! available sources; see [`sources`]. The same binaries always produce the same tarball, byte for
//! byte, so a test's recipe can pin the tarball's digest. The tarball is not upstream's own and has
//! a different digest.

mod binary;
mod digest;
mod programs;
mod sources;
mod standalone;
mod tarball;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

pub use digest::sha256;
pub use programs::{PROGRAMS, binaries};
pub use standalone::StandaloneEtcd;

use crate::cache;
use crate::requirement::Requirement;

pub use binary::replace_etcd_binary;

/// The version in recipes/demo.toml. The release 3.5.1 consists of upstream's own programs, so the
/// test bed does not compile this release.
pub const DEMO: &str = "3.5.1";

/// The newest release that Go can build here. The builder's table of upstream's digests does not
/// contain this release. If the table contained this release, the builder would refuse the release
/// that is built here, because the digest of a local build is different.
const NEWEST: &str = "3.7.3";

/// Returns [`NEWEST`], or, if this machine cannot build that release, [`DEMO`] and the reason.
pub fn newest() -> (&'static str, Option<String>) {
    match need(NEWEST).missing() {
        None => (NEWEST, None),
        reason => (DEMO, reason),
    }
}

/// Returns the version to run a suite with: `ETCD_VERSION` if it is set, otherwise the demo's
/// version.
pub fn asked() -> String {
    std::env::var("ETCD_VERSION")
        .ok()
        .filter(|version| !version.is_empty())
        .unwrap_or_else(|| DEMO.to_owned())
}

/// A release that the mirror serves as a file.
#[derive(Debug, Clone)]
pub struct Release {
    /// The version, such as `3.5.1`.
    pub version: String,
    /// `etcd-vX.Y.Z-linux-amd64.tar.gz`, with SHA256SUMS next to it.
    pub tarball: PathBuf,
    /// The tarball's digest, in hexadecimal.
    pub sha256: String,
}

/// Returns the requirement for making the release on this machine.
pub fn need(version: &str) -> Requirement {
    match version {
        sources::FROM_PIP => Requirement::Pip,
        sources::FROM_DEBIAN => Requirement::Apt,
        // The other releases require Go 1.26 (server/go.mod of the tags).
        _ => Requirement::Go(26),
    }
}

/// Returns the folder to serve as a release mirror: `vX.Y.Z/etcd-vX.Y.Z-linux-amd64.tar.gz` and
/// `vX.Y.Z/SHA256SUMS` for each release made so far, in the layout of upstream's own download
/// hosts.
pub fn mirror() -> PathBuf {
    cache::folder().join("mirror")
}

/// Returns the release of the given version in the mirror. If the release does not exist yet, makes
/// it. If Go must build the programs, this takes minutes.
pub fn release(version: &str) -> Result<Release> {
    let name = file_name(version);
    let binaries = binaries(version)?;
    let folder = cache::entry(&format!("mirror/v{version}"), |folder| {
        let digest = tarball::write(&folder.join(&name), version, &binaries)?;
        fs::write(folder.join("SHA256SUMS"), format!("{digest}  {name}\n"))
            .context("cannot write SHA256SUMS")
    })?;
    let sums = fs::read_to_string(folder.join("SHA256SUMS"))
        .with_context(|| format!("cannot read {}", folder.join("SHA256SUMS").display()))?;
    let sha256 = sums
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    Ok(Release {
        version: version.to_owned(),
        tarball: folder.join(name),
        sha256,
    })
}

/// Returns the name of a release's tarball.
pub fn file_name(version: &str) -> String {
    format!("{}.tar.gz", tarball::top_folder(version))
}
