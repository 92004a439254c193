//! `[install]`: what anaconda is told.

use super::ssh::SshKey;
use super::values::{Base, CryptHash, Package, Size, Word};
use crate::Sha256;
use crate::diagnostic::Diagnostic;
use crate::reader::{At, Table};

/// How a machine is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// Where CentOS 7.9's packages are, first tried first.
    pub trees: Vec<Base>,
    /// The digest of a tree's `repodata/repomd.xml`: anaconda 7 checks no package signature
    /// (yumpayload.py sets no gpgcheck), this pins them all.
    pub repomd_sha256: Option<Sha256>,
    /// Where the folder image/ is served; empty: beside the kickstart (`inst.ks=`).
    pub servers: Vec<Base>,
    /// The disk to install on; `None`: the first one found.
    pub disk: Option<Word>,
    /// The sizes.
    pub partitions: Partitions,
    /// The time zone.
    pub timezone: Word,
    /// The system's language.
    pub lang: Word,
    /// The console's key map.
    pub keyboard: Word,
    /// Who may log in as root.
    pub ssh_keys: Vec<SshKey>,
    /// root's password, hashed; `None`: locked.
    pub root_password: Option<CryptHash>,
    /// More packages.
    pub packages: Vec<Package>,
    /// A serial console, as the kernel writes it (`ttyS0,115200`).
    pub console: Option<Word>,
}

/// The sizes of the partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partitions {
    /// /boot.
    pub boot: Size,
    /// The root.
    pub root: Size,
    /// /var/lib/etcd; `None`: the rest.
    pub etcd: Option<Size>,
}

/// The release's own trees: CentOS 7.9 lies in the vault since mirrorlist.centos.org is gone, and few mirrors
/// carry it (DataDog/datadog-agent#54987 lists these).
const TREES: [&str; 3] = [
    "https://vault.centos.org/7.9.2009/os/x86_64/",
    "https://linuxsoft.cern.ch/centos-vault/7.9.2009/os/x86_64/",
    "https://archive.kernel.org/centos-vault/7.9.2009/os/x86_64/",
];

pub(super) fn read(root: &Table<'_>) -> Option<Install> {
    let table = root.table("install");
    let table = table.as_ref();
    let values = |found: Option<Vec<At<Base>>>| found.map(|list| list.into_iter().map(|at| at.value).collect());
    let trees = values(table.and_then(|table| table.list("trees")));
    let trees = match trees {
        Some(trees) => trees,
        None => TREES.iter().map(|text| text.parse().ok()).collect::<Option<Vec<_>>>()?,
    };
    if let Some(table) = table.filter(|table| table.count("trees") == Some(0)) {
        table.report(Diagnostic::error(table.header(), "`trees` is empty").help("leave it out to use CentOS's vault"));
    }
    let word = |key: &'static str, default: &str| {
        table.and_then(|table| table.value(key)).map_or_else(|| default.parse().ok(), |at| Some(at.value))
    };
    let install = Install {
        trees,
        repomd_sha256: table.and_then(|table| table.value("repomd-sha256")).map(|at| at.value),
        servers: values(table.and_then(|table| table.list("servers"))).unwrap_or_default(),
        disk: table.and_then(|table| table.value("disk")).map(|at| at.value),
        partitions: table
            .and_then(|table| table.table("partitions"))
            .map_or(DEFAULT_PARTITIONS, |t| read_partitions(&t)),
        timezone: word("timezone", "UTC")?,
        lang: word("lang", "en_US.UTF-8")?,
        keyboard: word("keyboard", "us")?,
        ssh_keys: table
            .and_then(|table| table.list("ssh-keys"))
            .map_or_else(Vec::new, |keys| keys.into_iter().map(|at| at.value).collect()),
        root_password: table.and_then(|table| table.value("root-password")).map(|at| at.value),
        packages: table
            .and_then(|table| table.list("packages"))
            .map_or_else(Vec::new, |words| words.into_iter().map(|at| at.value).collect()),
        console: table.and_then(|table| table.value("console")).map(|at| at.value),
    };
    if let Some(table) = table {
        table.finish();
    }
    Some(install)
}

const DEFAULT_PARTITIONS: Partitions = Partitions { boot: Size(1 << 30), root: Size(8 << 30), etcd: None };

fn read_partitions(table: &Table<'_>) -> Partitions {
    let size = |key, least: u64| {
        let at: At<Size> = table.value(key)?;
        if at.value.0 < least {
            let expected = format!("expected {} or more", Size(least));
            table.report(Diagnostic::error(at.span, format!("`{key}` is too small")).label(expected));
        }
        Some(at.value)
    };
    let partitions = Partitions {
        boot: size("boot", 256 << 20).unwrap_or(DEFAULT_PARTITIONS.boot),
        root: size("root", 4 << 30).unwrap_or(DEFAULT_PARTITIONS.root),
        // Two databases of etcd's default quota, since a snapshot from the leader arrives beside the old one.
        etcd: size("etcd", 4 << 30),
    };
    table.finish();
    partitions
}
