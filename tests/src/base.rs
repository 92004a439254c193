//! The root file system from which hosts and the stand-in installer start.
//!
//! The default is a Debian 12 system that the test bed makes once with debootstrap.
//! `ETCD_IMAGE_BASE_ROOT` can name another folder or tarball, such as the export of a centos:7
//! container, which is closer to a real node. No test writes to the root, because each host is an
//! overlay on top of the root.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{cache, process, progress};

/// The environment variable that names a root file system supplied by the user.
pub const SETTING: &str = "ETCD_IMAGE_BASE_ROOT";

const SUITE: &str = "bookworm";

/// The packages that debootstrap installs in addition to the minimal system: packages that a host
/// needs to boot, and packages with commands that the CentOS 7 installer also has.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "udev",
    "dbus",
    "iproute2",
    "nftables",
    "procps",
    "util-linux",
    "kmod",
    "openssh-server",
    "chrony",
    "xfsprogs",
    "parted",
    "gdisk",
    "curl",
    "wget",
    "ca-certificates",
    "rsync",
    "xz-utils",
    "gawk",
    "ethtool",
    "strace",
    "lsof",
    "dmidecode",
    "netbase",
    "policycoreutils",
];

/// Packages that are installed after debootstrap has ended: firewalld needs polkitd, which cannot
/// be configured while debootstrap runs.
const LATER: &[&str] = &["firewalld"];

/// The script that makes the last changes to the root. Each host gets its own machine id and name
/// at boot. firewalld is disabled, because it would close etcd's ports in tests of other features.
/// The tests that need firewalld enable it. systemd runs all generators at each boot and at each
/// reload, so the script masks the generators whose units no test needs.
const FINISH: &str = r#"
set -eu
root=$1; shift
mount --make-rprivate /
mount -t proc proc "$root/proc"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
chroot "$root" apt-get install -y -q --no-install-recommends "$@"
chroot "$root" systemctl disable firewalld
mkdir -p "$root/etc/systemd/system-generators"
for name in bless-boot cryptsetup debug getty gpt-auto hibernate-resume integritysetup rc-local run \
    system-update sysv veritysetup; do
    ln -s /dev/null "$root/etc/systemd/system-generators/systemd-$name-generator"
done
chroot "$root" apt-get clean
rm -rf "$root/usr/sbin/policy-rc.d" "$root"/var/lib/apt/lists/* "$root/etc/hostname"
: > "$root/etc/machine-id"
umount "$root/proc"
"#;

/// Returns the base root's folder. If the root is not in the cache, makes or unpacks the root
/// first.
pub fn base() -> Result<PathBuf> {
    match std::env::var_os(SETTING) {
        Some(own) if !own.is_empty() => of_the_user(Path::new(&own)),
        _ => cache::entry(&format!("base/{SUITE}-{}", key()), debootstrap),
    }
}

fn of_the_user(own: &Path) -> Result<PathBuf> {
    let data = own
        .metadata()
        .with_context(|| format!("{SETTING} names {}, which cannot be read", own.display()))?;
    if data.is_dir() {
        return Ok(own.to_path_buf());
    }
    let identity = format!("{}-{}-{}", own.display(), data.len(), data.mtime());
    let key = hex(&Sha256::digest(identity.as_bytes()))[..12].to_owned();
    cache::entry(&format!("base/own-{key}"), |folder| {
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "--xattrs", "-C"])
            .arg(folder)
            .arg("-xaf")
            .arg(own);
        process::run(&mut tar)?.ok()?;
        if !folder.join("etc").is_dir() {
            bail!(
                "{} does not contain a root file system: it has no etc/ at its top level",
                own.display()
            );
        }
        Ok(())
    })
}

/// Returns the cache key of the root, which depends on the package lists and on the script
/// [`FINISH`].
fn key() -> String {
    let mut hash = Sha256::new();
    for package in PACKAGES.iter().chain(LATER) {
        hash.update(package.as_bytes());
        hash.update(b"\n");
    }
    hash.update(FINISH.as_bytes());
    hex(&hash.finalize())[..12].to_owned()
}

fn debootstrap(folder: &Path) -> Result<()> {
    eprintln!(
        "bed: making the hosts' base system with debootstrap. This is done once and takes about two minutes."
    );
    let mut strap = Command::new("debootstrap");
    strap
        .arg("--variant=minbase")
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(SUITE)
        .arg(folder);
    progress::run("base system", &mut strap)?.ok()?;
    // This command runs in separate namespaces, so that all mounts and processes of the packages'
    // scripts disappear with the namespaces.
    let mut finish = Command::new("unshare");
    finish
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            FINISH,
            "finish",
        ])
        .arg(folder)
        .args(LATER);
    progress::run("base system", &mut finish)?.ok()?;
    fs::metadata(folder.join("usr/bin/firewall-cmd"))
        .context("apt-get succeeded, but the root has no firewall-cmd")?;
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
