//! `[install]`: how anaconda installs a machine.

mod disk;
mod family;
mod names;
mod package;
mod repo;

pub use disk::Disk;
pub use family::Family;
pub use names::{Keymap, Locale, Timezone};
pub use package::Package;
pub use repo::{Repo, RepoKey, RepoName};

use super::ssh::SshKey;
use super::values::{Base, CryptHash, Size, Word, read_size};
use crate::Sha256;
use crate::cluster::InstallData;
use crate::diagnostic::Diagnostic;
use crate::reader::{Located, Table};

/// How a machine is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The distribution that the installation trees contain.
    pub family: Family,
    /// The URLs of the installation trees, in the order in which they are tried.
    pub trees: Vec<Base>,
    /// The digest of a tree's `repodata/repomd.xml`. This digest pins all packages. anaconda 7 does
    /// not check package signatures (yumpayload.py sets no gpgcheck).
    pub repomd_sha256: Option<Sha256>,
    /// Additional repositories, for the installation and for the node.
    pub repos: Vec<Repo>,
    /// The URLs of the folder `image/`. The installer tries the folder of the kickstart
    /// (`inst.ks=`) last.
    pub servers: Vec<Base>,
    /// The disk to install on. `None` means the first suitable disk.
    pub disk: Option<Disk>,
    /// The sizes of the partitions.
    pub partitions: Partitions,
    /// Whether the data of an earlier installation is kept.
    pub data: InstallData,
    /// The time zone.
    pub timezone: Timezone,
    /// The system's language.
    pub lang: Locale,
    /// The console's key map.
    pub keyboard: Keymap,
    /// The public keys with which users may log in as root.
    pub ssh_keys: Vec<SshKey>,
    /// The hash of root's password. `None` means that the password is locked.
    pub root_password: Option<CryptHash>,
    /// Additional packages.
    pub packages: Vec<Package>,
    /// A serial console in the kernel's notation (`ttyS0,115200`).
    pub console: Option<Word>,
}

/// The sizes of the partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partitions {
    /// The size of /boot.
    pub boot: Size,
    /// The size of the root file system.
    pub root: Size,
    /// The size of /var/lib/etcd. `None` means the rest of the disk.
    pub etcd: Option<Size>,
}

pub(super) fn read(root: &Table<'_>) -> Option<Install> {
    let table = root.table("install");
    let table = table.as_ref();
    let family = table
        .and_then(|table| table.choice("family", &Family::WORDS))
        .map_or(Family::Centos, |at| at.value);
    let trees = read_trees(root, table, family)?;
    let repos = repo::read(table, family, &trees);
    if !trees.is_empty() && !repos.iter().any(Repo::has_updates) {
        let place = table.map_or(0..0, |table| {
            table.place("repo").unwrap_or_else(|| table.header())
        });
        let message = "no update repository: nodes receive the packages of the original 7.9 \
            release, without later fixes";
        let help = if repos.is_empty() {
            "add [[install.repo]] with the `name` and `urls` of a repository that contains the updates"
        } else {
            "add the repository that contains the updates, because [[install.repo]] replaces the \
             default update repository. If one of your repositories already contains updates, \
             include `updates` in its `name`, as in \"own-updates\""
        };
        root.report(Diagnostic::warning(place, message).help(help));
    }
    let install = Install {
        family,
        trees,
        repomd_sha256: optional(table, "repomd-sha256"),
        repos,
        servers: values(table.and_then(|table| table.list("servers"))).unwrap_or_default(),
        disk: optional(table, "disk"),
        partitions: table
            .and_then(|table| table.table("partitions"))
            .map_or(DEFAULT_PARTITIONS, |t| read_partitions(&t)),
        data: table
            .and_then(|table| table.choice("data", &DATA))
            .map_or_else(InstallData::default, |at| at.value),
        timezone: value(table, "timezone", "UTC")?,
        lang: value(table, "lang", "en_US.UTF-8")?,
        keyboard: value(table, "keyboard", "us")?,
        ssh_keys: values(table.and_then(|table| table.list("ssh-keys"))).unwrap_or_default(),
        root_password: optional(table, "root-password"),
        packages: table.and_then(|table| table.list("packages")).map_or_else(
            Vec::new,
            |packages| {
                packages
                    .into_iter()
                    .map(|at: Located<Package>| at.value.at(at.span))
                    .collect()
            },
        ),
        console: optional(table, "console"),
    };
    if let Some(table) = table {
        table.finish();
    }
    Some(install)
}

fn values<T>(found: Option<Vec<Located<T>>>) -> Option<Vec<T>> {
    found.map(|list| list.into_iter().map(|at| at.value).collect())
}

/// Reads a value that has no default.
fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(
    table: Option<&Table<'_>>,
    key: &'static str,
) -> Option<T> {
    table.and_then(|table| table.value(key)).map(|at| at.value)
}

/// Reads a value that has a default. A bad value is reported and replaced by the default, so that
/// reading can continue.
fn value<T: std::str::FromStr<Err = String>>(
    table: Option<&Table<'_>>,
    key: &'static str,
    default: &str,
) -> Option<T> {
    table
        .and_then(|table| table.value(key))
        .map_or_else(|| default.parse().ok(), |at| Some(at.value))
}

fn read_trees(root: &Table<'_>, table: Option<&Table<'_>>, family: Family) -> Option<Vec<Base>> {
    if let Some(trees) = values(table.and_then(|table| table.list("trees"))) {
        if table.and_then(|table| table.count("trees")) == Some(0) {
            let place = table.and_then(|table| table.place("trees")).unwrap_or(0..0);
            let help = "remove `trees` to install from the family's own trees";
            root.report(Diagnostic::error(place, "`trees` is empty").help(help));
        }
        return Some(trees);
    }
    if family.trees().is_empty() {
        let place = table.map_or(0..0, |table| {
            table.place("family").unwrap_or_else(|| table.header())
        });
        let message = format!("{} has no public tree", family.name());
        let help = "serve the contents of the family's DVD over HTTP, and set the address: trees = \
                    [\"http://…/\"]";
        root.report(
            Diagnostic::error(place, message)
                .label("`trees` is missing")
                .help(help),
        );
    }
    family
        .trees()
        .iter()
        .map(|text| text.parse().ok())
        .collect()
}

const DATA: [(&str, InstallData); 2] = [("wipe", InstallData::Wipe), ("keep", InstallData::Keep)];

const DEFAULT_PARTITIONS: Partitions = Partitions {
    boot: Size(1 << 30),
    root: Size(8 << 30),
    etcd: None,
};

fn read_partitions(table: &Table<'_>) -> Partitions {
    let size = |key, least: u64| {
        let at = read_size(table, key, least..=u64::MAX)?;
        if at.value.0 < least {
            let expected = format!("expected {} or more", Size(least));
            table.report(
                Diagnostic::error(at.span, format!("`{key}` is too small")).label(expected),
            );
        }
        Some(at.value)
    };
    let partitions = Partitions {
        boot: size("boot", 256 << 20).unwrap_or(DEFAULT_PARTITIONS.boot),
        root: size("root", 4 << 30).unwrap_or(DEFAULT_PARTITIONS.root),
        // The minimum is twice the size of a database at etcd's default quota, because a snapshot
        // from the leader is stored next to the old database.
        etcd: size("etcd", 4 << 30),
    };
    table.finish();
    partitions
}
