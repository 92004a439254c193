//! One setting, and the place that it goes to.

use serde::{Deserialize, Serialize};

/// Where a setting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// `/etc/sysctl.d/95-etcd.conf`.
    Sysctl,
    /// The mount options of XFS volumes: `/etc/fstab`, the kickstart's `part` and, for `/`,
    /// `rootflags=`.
    Mount,
    /// The kernel's command line.
    Kernel,
    /// The kickstart's `%packages`.
    Package,
    /// `/etc/systemd/journald.conf.d/95-etcd.conf`.
    Journald,
    /// Resource limits: the units, `system.conf.d` and `limits.d`.
    Limit,
    /// `/etc/chrony.conf`.
    Chrony,
    /// `/etc/etcd/etcd.conf`, which firstboot writes.
    Etcd,
}

impl Place {
    /// The file, for people.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Sysctl => "/etc/sysctl.d/95-etcd.conf",
            Self::Mount => "mounts of XFS volumes",
            Self::Kernel => "the kernel's command line",
            Self::Package => "packages of @core",
            Self::Journald => "/etc/systemd/journald.conf.d/95-etcd.conf",
            Self::Limit => "resource limits",
            Self::Chrony => "/etc/chrony.conf",
            Self::Etcd => "/etc/etcd/etcd.conf",
        }
    }
}

/// One key, what it is set to and what the two profiles have for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    pub(crate) place: Place,
    pub(crate) key: String,
    /// What the guide says; `None` where it says nothing.
    pub(crate) guide: Option<String>,
    /// What the other profile than the recipe's has.
    #[serde(skip)]
    pub(super) other: Option<String>,
    /// What this image has; `None` where it leaves the key as the system has it.
    pub(crate) image: Option<String>,
    pub(crate) why: String,
    pub(crate) source: String,
}
