//! A setting of the image, and the file or place in which it is set.

use serde::{Deserialize, Serialize};

/// The file or place in which a setting is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// `/etc/sysctl.d/95-etcd.conf`.
    Sysctl,
    /// The mount options of XFS volumes, in `/etc/fstab`, in the kickstart's `part` and, for `/`,
    /// in `rootflags=`.
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
    /// Returns the file or place as text for the operator.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Sysctl => "/etc/sysctl.d/95-etcd.conf",
            Self::Mount => "XFS mount options",
            Self::Kernel => "the kernel's command line",
            Self::Package => "packages of @core",
            Self::Journald => "/etc/systemd/journald.conf.d/95-etcd.conf",
            Self::Limit => "resource limits",
            Self::Chrony => "/etc/chrony.conf",
            Self::Etcd => "/etc/etcd/etcd.conf",
        }
    }
}

/// A key, its value in the image, and its values in the guide (docs/guide.md) and in the other
/// profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    pub(crate) place: Place,
    pub(crate) key: String,
    /// The guide's value, or `None` if the guide does not mention the key.
    pub(crate) guide: Option<String>,
    /// The value in the profile that the recipe did not choose.
    #[serde(skip)]
    pub(super) other: Option<String>,
    /// The value in this image, or `None` if the image keeps the system's value.
    pub(crate) image: Option<String>,
    pub(crate) why: String,
    pub(crate) source: String,
}
