//! Fetches and unpacks Debian packages without installing them. An installation would change the
//! machine: nginx starts a server, and iPXE adds itself to the boot menu.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{cache, process};

/// Returns a folder with the files of a package, laid out as in the root.
pub fn unpacked(package: &str) -> Result<PathBuf> {
    cache::entry(&format!("package-{package}"), |folder| {
        let work = tempfile::tempdir()?;
        eprintln!(
            "fetching Debian's {package} with apt-get download: it is unpacked into the cache, and not installed"
        );
        let mut apt = Command::new("apt-get");
        apt.current_dir(work.path()).args([
            "-q",
            "-o",
            "APT::Sandbox::User=root",
            "download",
            package,
        ]);
        process::run(&mut apt)?
            .ok()
            .with_context(|| format!("apt has no {package}: run apt-get update"))?;
        for deb in fs::read_dir(work.path())? {
            process::check(
                "dpkg-deb",
                &[
                    "-x",
                    &deb?.path().to_string_lossy(),
                    &folder.to_string_lossy(),
                ],
            )?;
        }
        Ok(())
    })
}
