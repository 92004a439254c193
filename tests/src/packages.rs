//! Fetches Debian packages without installing them on the test machine. An installation would
//! change the machine: nginx starts a server, and iPXE adds itself to the boot menu.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::overlay::Overlay;
use crate::{base, cache, process, progress};

/// Returns a folder with the files of a package, at the same paths as in a root file system.
pub fn unpacked(package: &str) -> Result<PathBuf> {
    cache::entry(&format!("package-{package}"), |folder| {
        unpack(package, &[], folder)
    })
}

/// Returns a folder with the files of a package from another release of Debian, at the same paths
/// as in a root file system. The package comes from the archive that apt uses on this machine.
pub fn unpacked_of_release(release: &str, package: &str) -> Result<PathBuf> {
    cache::entry(&format!("package-{release}-{package}"), |folder| {
        let archives = process::check(
            "apt-get",
            &[
                "indextargets",
                "--format=$(REPO_URI)",
                "Created-By: Packages",
                "Label: Debian",
                "Component: main",
            ],
        )?;
        let archive = archives
            .lines()
            .next()
            .context("apt does not know Debian's archive: run apt-get update")?;
        let work = tempfile::tempdir()?;
        let sources = work.path().join("sources.list");
        fs::write(&sources, format!("deb {archive} {release} main\n"))?;
        let lists = work.path().join("lists");
        fs::create_dir_all(lists.join("partial"))?;
        let options = [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={}", lists.display()),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
        ];
        process::run(apt_get(&options).arg("update"))?.ok()?;
        unpack(package, &options, folder)
    })
}

/// Returns `apt-get` with these options.
fn apt_get(options: &[String]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["-q", "-o", "APT::Sandbox::User=root"]);
    for option in options {
        apt.args(["-o", option]);
    }
    apt
}

/// Fetches a package with these options of apt, and unpacks the package into a folder.
fn unpack(package: &str, options: &[String], folder: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    eprintln!(
        "fetching Debian's {package} with apt-get download: it is unpacked into the cache, and not installed"
    );
    let mut apt = apt_get(options);
    apt.current_dir(work.path()).args(["download", package]);
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
}

/// Installs packages in a root. Services are not started.
const INSTALL: &str = r#"
set -eu
root=$1; shift
mount --make-rprivate /
mount -t proc proc "$root/proc"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
chroot "$root" apt-get update -q
chroot "$root" apt-get install -y -q --no-install-recommends "$@"
chroot "$root" apt-get clean
rm -rf "$root/usr/sbin/policy-rc.d" "$root"/var/lib/apt/lists/*
umount "$root/proc"
"#;

/// Returns a layer for the hosts' base system (see [`crate::host::Host::use_layer`]), in which a
/// package is installed with all packages that it needs. Nothing is installed on this machine.
pub fn layer(package: &str) -> Result<PathBuf> {
    let base = base::base()?;
    let key = base.file_name().unwrap_or_default().to_string_lossy();
    let entry = cache::entry(&format!("layers/{key}-{package}"), |folder| {
        eprintln!("installing Debian's {package} in a copy of the hosts' base system");
        let overlay = Overlay::new("layer", &base)?;
        let mut install = Command::new("unshare");
        install.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c"]);
        install
            .args([INSTALL, "install"])
            .arg(overlay.root())
            .arg(package);
        progress::run(package, &mut install)?.ok()?;
        overlay.into_layer(&folder.join("layer"))
    })?;
    Ok(entry.join("layer"))
}
