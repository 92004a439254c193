//! The programs of a release.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::sources;
use crate::{cache, process};

/// The programs of a release. 3.4 has no etcdutl.
pub const PROGRAMS: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];

/// Returns the folder with the release's programs, for tests that need no tarball.
pub fn binaries(version: &str) -> Result<PathBuf> {
    cache::entry(&format!("etcd/v{version}"), |folder| {
        eprintln!("bed: getting etcd {version}");
        sources::fetch(version, folder)?;
        says_its_version(&folder.join("etcd"), version)
    })
}

fn says_its_version(etcd: &Path, version: &str) -> Result<()> {
    let said = process::check(&etcd.to_string_lossy(), &["--version"])?;
    let expected = format!("etcd Version: {version}");
    ensure!(
        said.lines().any(|line| line == expected),
        "{} should print `{expected}`, but prints:\n{said}",
        etcd.display()
    );
    Ok(())
}
