//! anaconda's actions, as values that can be printed and compared.

use std::collections::BTreeSet;
use std::fmt;

use super::values::FinalAction;

/// How anaconda ends after an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Failure {
    /// anaconda ends before it has registered its exit handler. The machine stays on, and its
    /// screen no longer changes.
    Early(String),
    /// anaconda ends through its exit handler, which carries out the final action that the
    /// kickstart requests, such as `reboot`.
    Late(String),
}

/// An action of anaconda on the new system, or on the installer itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A program that runs in the installer.
    Installer(Vec<String>),
    /// A program that runs in the new system.
    Target(Vec<String>),
    /// A line of a configuration file.
    Set {
        /// The path of the file.
        path: &'static str,
        /// The key on the line.
        key: &'static str,
        /// The value of the key.
        value: String,
    },
    /// A whole file.
    File {
        /// The path of the file.
        path: &'static str,
        /// The content of the file.
        content: String,
    },
    /// A symbolic link.
    Link {
        /// The path of the link.
        path: &'static str,
        /// The target of the link.
        to: String,
    },
    /// The hosts on the `server` lines in chrony.conf.
    Servers(Vec<String>),
    /// root's password.
    Root {
        /// The password's hash, or the plain text to be hashed.
        password: Option<String>,
        /// Whether root's account is locked.
        locked: bool,
    },
    /// A new group.
    Group {
        /// The name of the group.
        name: String,
        /// The number of the group (gid).
        gid: Option<u32>,
    },
    /// A new account, and a group with the same name.
    User(User),
    /// A line of an account's authorized_keys.
    SshKey {
        /// The name of the account.
        user: String,
        /// The line of authorized_keys.
        key: String,
    },
}

/// A new account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The name of the account.
    pub name: String,
    /// The number of the account (uid).
    pub uid: Option<u32>,
    /// The number of the primary group.
    pub gid: Option<u32>,
    /// Additional groups, which must exist.
    pub groups: Vec<String>,
    /// The account's home directory.
    pub home: String,
    /// The account's shell.
    pub shell: Option<String>,
    /// The account's comment (GECOS).
    pub gecos: Option<String>,
    /// The password's hash, or the plain text to be hashed.
    pub password: Option<String>,
    /// Whether the account is locked.
    pub locked: bool,
}

/// A partition that anaconda makes or reuses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    /// The mount point, or the format of a partition that is not mounted, such as `biosboot`.
    pub mount: String,
    /// The format of the partition, such as a file system.
    pub kind: String,
    /// The size in MiB, or the minimum size if the partition grows.
    pub mib: u64,
    /// Whether the partition takes up the remaining space.
    pub grows: bool,
    /// The label of the file system.
    pub label: Option<String>,
    /// The partition's options in fstab.
    pub options: String,
    /// The partition's disk.
    pub disk: String,
    /// For a partition that exists before the installation: its name, and whether anaconda formats
    /// it.
    pub existing: Option<(String, bool)>,
}

/// A device made from partitions or from other devices of this kind, such as an array, a volume
/// group, a logical volume or a Btrfs volume. The model does not compute its size.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume {
    /// The device's name in blivet's device tree.
    pub name: String,
    /// The type of the device, as blivet names it.
    pub device: &'static str,
    /// The format of the content, such as a file system.
    pub format: Option<String>,
    /// The device's mount point, if the device is mounted.
    pub mount: Option<String>,
    /// The label of the format.
    pub label: Option<String>,
    /// The device's options in fstab.
    pub options: Option<String>,
    /// The names of the devices from which this device is made. In place of a partition, the list
    /// contains the name of its disk.
    pub on: Vec<String>,
}

/// The actions that anaconda will carry out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The partition table of each disk.
    pub labels: Vec<(String, &'static str)>,
    /// The partitions, sorted by mount point.
    pub partitions: Vec<Partition>,
    /// The other devices, sorted by name.
    pub volumes: Vec<Volume>,
    /// The boot loader, the disk from which it starts, and the kernel's arguments.
    pub boot_loader: Option<(&'static str, String, Vec<String>)>,
    /// The packages.
    pub software: Selection,
    /// The actions before the packages are installed.
    pub before: Vec<Effect>,
    /// The actions between the packages and `%post`.
    pub after: Vec<Effect>,
    /// The final action that the kickstart requests.
    pub end: Option<FinalAction>,
}

impl Plan {
    /// Returns the mount points of all file systems.
    pub fn mounts(&self) -> impl Iterator<Item = &str> {
        let partitions = self.partitions.iter().map(|part| part.mount.as_str());
        let volumes = self
            .volumes
            .iter()
            .filter_map(|volume| volume.mount.as_deref());
        partitions
            .chain(volumes)
            .filter(|mount| mount.starts_with('/'))
    }
}

/// The selected packages and groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The groups, each with the part of the group to install: `mandatory`, `default` or `all`.
    pub groups: Vec<(String, &'static str)>,
    /// The packages that the kickstart lists, and chrony if NTP needs it. If one of these packages
    /// is missing, the installation ends.
    pub packages: BTreeSet<String>,
    /// The names and patterns that are excluded, even if they are requested elsewhere.
    pub excluded: BTreeSet<String>,
    /// The packages that anaconda itself needs. If one of these is missing, the installation also
    /// ends.
    pub required: BTreeSet<String>,
    /// Whether the group `core` is installed in addition to the selection.
    pub core: bool,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installer(words) => write!(f, "installer runs {}", words.join(" ")),
            Self::Target(words) => write!(f, "target runs {}", words.join(" ")),
            Self::Set { path, key, value } => write!(f, "{path} has {key}={value}"),
            Self::File { path, content } => write!(f, "{path} is {content:?}"),
            Self::Link { path, to } => write!(f, "{path} -> {to}"),
            Self::Servers(servers) => {
                write!(f, "/etc/chrony.conf has server {}", servers.join(", "))
            }
            Self::Root { password, locked } => {
                write!(f, "root password {password:?} locked {locked}")
            }
            Self::Group { name, gid } => write!(f, "group {name} {gid:?}"),
            Self::User(user) => {
                let User {
                    name,
                    uid,
                    gid,
                    groups,
                    home,
                    shell,
                    gecos,
                    password,
                    locked,
                } = user;
                write!(
                    f,
                    "user {name} {uid:?} {gid:?} {groups:?} {home} {shell:?} {gecos:?} {password:?} locked {locked}"
                )
            }
            Self::SshKey { user, key } => write!(f, "ssh key of {user}: {key}"),
        }
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        write!(
            f,
            "volume {} {} {} {} {} {} on {}",
            self.name,
            self.device,
            text(&self.format),
            text(&self.mount),
            text(&self.label),
            text(&self.options),
            self.on.join(" ")
        )
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (disk, label) in &self.labels {
            writeln!(f, "disk {disk} {label}")?;
        }
        for Partition {
            mount,
            kind,
            mib,
            grows,
            label,
            options,
            disk,
            existing,
        } in &self.partitions
        {
            let size = if *grows {
                "the rest".to_owned()
            } else {
                format!("{mib} MiB")
            };
            let existing = match existing {
                None => String::new(),
                Some((name, true)) => format!(" as {name}"),
                Some((name, false)) => format!(" as {name}, unchanged"),
            };
            writeln!(
                f,
                "part {mount} {kind} {size} {} {options} on {disk}{existing}",
                label.as_deref().unwrap_or("-")
            )?;
        }
        for volume in &self.volumes {
            writeln!(f, "{volume}")?;
        }
        if let Some((program, stage1, arguments)) = &self.boot_loader {
            writeln!(
                f,
                "boot loader {program} on {stage1} with {}",
                arguments.join(" ")
            )?;
        }
        write!(f, "{}", self.software)?;
        for effect in self.before.iter().chain(&self.after) {
            writeln!(f, "{effect}")?;
        }
        if let Some(end) = self.end {
            writeln!(f, "end {end}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |words: &BTreeSet<String>| words.iter().cloned().collect::<Vec<_>>().join(" ");
        let groups: Vec<String> = self
            .groups
            .iter()
            .map(|(name, what)| format!("{name} ({what})"))
            .collect();
        writeln!(f, "core {}", self.core)?;
        writeln!(f, "groups {}", groups.join(" "))?;
        writeln!(f, "packages {}", line(&self.packages))?;
        writeln!(f, "excluded {}", line(&self.excluded))?;
        writeln!(f, "required {}", line(&self.required))
    }
}
