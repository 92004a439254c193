//! The requirements of tests, and the reasons why a test cannot run if one of them is not met.

use std::path::Path;
use std::process::Command;

use crate::{process, run};

/// The requirements of a test with a cluster of hosts.
pub const NEEDS_CLUSTER: &[Requirement] = &[
    Requirement::Root,
    Requirement::Nspawn,
    Requirement::Debootstrap,
    Requirement::Network,
    Requirement::Pip,
];
/// The requirements of a test with `builder serve` and clients in network namespaces.
pub const NEEDS_SERVER: &[Requirement] = &[
    Requirement::Root,
    Requirement::Network,
    Requirement::Pip,
    Requirement::Curl,
];
/// The requirements of a test in which `builder serve` installs hosts.
pub const NEEDS_SERVER_AND_HOSTS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Nspawn,
    Requirement::Debootstrap,
    Requirement::Network,
    Requirement::Pip,
    Requirement::Curl,
];

/// Something that a test requires of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// Root, and permission to create namespaces.
    Root,
    /// systemd-nspawn, with which hosts can boot.
    Nspawn,
    /// debootstrap, or a base system that the user supplies.
    Debootstrap,
    /// iproute2 and nftables, to make the networks of tests, and Python, to delay and record their
    /// traffic.
    Network,
    /// Go 1.MINOR or later, to build the etcd releases that the tests do not download.
    Go(u32),
    /// pip, to fetch upstream's etcd 3.5.1 and the S3 server.
    Pip,
    /// apt-get and dpkg-deb, to fetch Debian's packages.
    Apt,
    /// QEMU for x86.
    Qemu,
    /// mksquashfs, strip and depmod, to make an installer's root file system.
    Squashfs,
    /// OpenSSH's client.
    Ssh,
    /// dnsmasq, to assign addresses by DHCP.
    Dnsmasq,
    /// Support for TAP interfaces in the kernel, to connect a virtual machine to a network of the
    /// test bed.
    Tun,
    /// setools, to query the rules of an SELinux policy.
    Setools,
    /// curl.
    Curl,
    /// age and age-keygen.
    Age,
    /// zstd.
    Zstd,
    /// strace, to kill a program at a certain system call.
    Strace,
    /// XFS tools and loop devices.
    Xfs,
    /// Support for FUSE in the kernel, for the tests' own file system.
    Fuse,
    /// mkfs.vfat and mcopy, for seed images.
    Fat,
    /// genisoimage and xorriso, for seed disks.
    Iso,
    /// shellcheck.
    Shellcheck,
    /// createrepo_c and rpmbuild, for a repository of packages.
    Createrepo,
    /// dpkg-deb and rpmbuild, to make the packages of the programs.
    Packaging,
    /// mandoc, to render manual pages.
    Mandoc,
    /// Chromium with its driver, to show pages, and npm, to fetch the rules that check them.
    Browser,
    /// git and make, to find out from the Makefile which commit `make build` builds.
    Make,
}

impl Requirement {
    /// Returns why the requirement is not met, and the remedy if one is known. Returns `None` if
    /// the requirement is met.
    pub fn missing(self) -> Option<String> {
        match self {
            Requirement::Root if !nix::unistd::geteuid().is_root() => {
                Some("it needs root: run the tests with sudo".into())
            }
            // In a container, root is not always allowed to create namespaces.
            Requirement::Root => program("unshare", "util-linux").or_else(namespaces),
            Requirement::Nspawn => programs(&[
                ("systemd-nspawn", "systemd-container"),
                ("setpriv", "util-linux"),
            ]),
            Requirement::Debootstrap if std::env::var_os("ETCD_IMAGE_BASE_ROOT").is_some() => None,
            Requirement::Debootstrap => program("debootstrap", "debootstrap"),
            Requirement::Network => programs(&[
                ("ip", "iproute2"),
                ("nft", "nftables"),
                ("python3", "python3"),
            ]),
            Requirement::Go(minor) => go(minor),
            Requirement::Pip => answers("pip", "--version", "python3-pip"),
            Requirement::Apt => programs(&[("apt-get", "apt"), ("dpkg-deb", "dpkg")]),
            Requirement::Qemu => program("qemu-system-x86_64", "qemu-system-x86"),
            Requirement::Squashfs => programs(&[
                ("mksquashfs", "squashfs-tools"),
                ("strip", "binutils"),
                ("depmod", "kmod"),
            ]),
            Requirement::Ssh => {
                programs(&[("ssh", "openssh-client"), ("ssh-keygen", "openssh-client")])
            }
            Requirement::Dnsmasq => program("dnsmasq", "dnsmasq-base"),
            Requirement::Tun => device(
                "/dev/net/tun",
                "it needs taps: modprobe tun, and /dev/net/tun in a container",
            ),
            Requirement::Setools => program("sesearch", "setools"),
            Requirement::Curl => program("curl", "curl"),
            Requirement::Age => programs(&[("age", "age"), ("age-keygen", "age")]),
            Requirement::Zstd => program("zstd", "zstd"),
            Requirement::Strace => program("strace", "strace"),
            Requirement::Xfs => programs(&[("mkfs.xfs", "xfsprogs"), ("losetup", "mount")]),
            Requirement::Shellcheck => program("shellcheck", "shellcheck"),
            Requirement::Createrepo => {
                programs(&[("createrepo_c", "createrepo-c"), ("rpmbuild", "rpm")])
            }
            Requirement::Packaging => programs(&[("dpkg-deb", "dpkg"), ("rpmbuild", "rpm")]),
            Requirement::Mandoc => program("mandoc", "mandoc"),
            Requirement::Browser => programs(&[
                ("chromium", "chromium"),
                ("chromedriver", "chromium-driver"),
                ("npm", "npm"),
            ]),
            Requirement::Make => programs(&[("git", "git"), ("make", "make")]),
            Requirement::Fuse => device(
                "/dev/fuse",
                "it needs FUSE: modprobe fuse, and /dev/fuse in a container",
            ),
            Requirement::Iso => programs(&[("genisoimage", "genisoimage"), ("xorriso", "xorriso")]),
            Requirement::Fat => programs(&[("mkfs.vfat", "dosfstools"), ("mcopy", "mtools")]),
        }
    }
}

fn namespaces() -> Option<String> {
    let refused =
        process::check("unshare", &["--mount", "--net", "--pid", "--fork", "true"]).err()?;
    Some(format!(
        "it needs the right to make namespaces, but {refused:#}"
    ))
}

/// Returns the remedy if the device does not exist.
fn device(path: &str, needed: &str) -> Option<String> {
    (!Path::new(path).exists()).then(|| needed.to_owned())
}

/// Returns the reasons why a test with these requirements cannot run here, or `None` if it can.
pub fn missing(requirements: &[Requirement]) -> Option<String> {
    let reasons: Vec<String> = requirements
        .iter()
        .filter_map(|requirement| requirement.missing())
        .collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Returns the remedy for the first of these programs that is missing.
fn programs(needed: &[(&str, &str)]) -> Option<String> {
    needed
        .iter()
        .find_map(|(name, package)| program(name, package))
}

fn program(name: &str, package: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| is_program(&folder.join(name)));
    (!found).then(|| format!("it needs {name}: apt-get install {package}"))
}

/// Checks that a program runs. Use this function instead of [`program`] if the PATH can contain a
/// broken shim of the program. A program in Python takes half a second to start, so a whole suite
/// checks each program only once.
fn answers(name: &str, argument: &str, package: &str) -> Option<String> {
    let mark = run::shared().map(|shared| shared.join(format!("{name}-works")));
    if mark.as_ref().is_some_and(|mark| mark.exists()) {
        return None;
    }
    let ran = process::run(Command::new(name).arg(argument));
    let works = ran.is_ok_and(|ran| ran.success());
    if let Some(mark) = mark.filter(|_| works) {
        // If the mark file cannot be written, the next run of a test program checks again.
        let _ = std::fs::write(mark, "");
    }
    (!works).then(|| format!("it needs a working {name}: apt-get install {package}"))
}

/// Checks which version of Go is installed, and prevents Go from downloading a different version.
fn go(minor: u32) -> Option<String> {
    let said = process::run(
        Command::new("go")
            .args(["env", "GOVERSION"])
            .env("GOTOOLCHAIN", "local"),
    );
    let version = said
        .map(|ran| ran.stdout.trim().to_owned())
        .unwrap_or_default();
    let found: Option<u32> = version
        .strip_prefix("go1.")
        .and_then(|rest| rest.split('.').next()?.parse().ok());
    match found {
        Some(found) if found >= minor => None,
        Some(_) => Some(format!(
            "it needs Go 1.{minor} or later, but this machine has {version}: https://go.dev/dl"
        )),
        None => Some(format!("it needs Go 1.{minor} or later: https://go.dev/dl")),
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
