//! The distributions that share CentOS 7.9's installer, kernel and packages.

/// A distribution of the RHEL 7 family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// CentOS 7.9.
    Centos,
    /// Red Hat Enterprise Linux 7.9.
    Rhel,
    /// Oracle Linux 7.9.
    Oracle,
}

/// A repository of the family: its name, and its addresses in the order in which they are tried.
type Repository = (&'static str, &'static [&'static str]);

impl Family {
    /// The values that `[install] family` accepts.
    pub(crate) const WORDS: [(&'static str, Self); 3] = [
        ("centos", Self::Centos),
        ("rhel", Self::Rhel),
        ("oracle", Self::Oracle),
    ];

    /// Returns the family's value in the recipe.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Centos => "centos",
            Self::Rhel => "rhel",
            Self::Oracle => "oracle",
        }
    }

    /// Returns the distribution's name for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Centos => "CentOS 7.9",
            Self::Rhel => "RHEL 7.9",
            Self::Oracle => "Oracle Linux 7.9",
        }
    }

    /// Returns the trees that can be used without an account. RHEL requires a subscription, so its
    /// list is empty.
    pub(crate) const fn trees(self) -> &'static [&'static str] {
        match self {
            Self::Centos => &CENTOS_TREES,
            Self::Rhel => &[],
            Self::Oracle => &["https://yum.oracle.com/repo/OracleLinux/OL7/9/base/x86_64/"],
        }
    }

    /// Returns the update repository that matches an installation from [`Family::trees`].
    pub(crate) const fn updates(self) -> Option<Repository> {
        match self {
            Self::Centos => Some(("updates", &CENTOS_UPDATES)),
            Self::Rhel => None,
            Self::Oracle => Some((
                "ol7_latest",
                &["https://yum.oracle.com/repo/OracleLinux/OL7/latest/x86_64/"],
            )),
        }
    }

    /// Returns the path of the key that signs the family's packages. The family's release package
    /// installs the key.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Centos => "/etc/pki/rpm-gpg/RPM-GPG-KEY-CentOS-7",
            Self::Rhel => "/etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-release",
            Self::Oracle => "/etc/pki/rpm-gpg/RPM-GPG-KEY-oracle",
        }
    }

    /// Returns the kernel packages to exclude, because everything on a node is written for kernel
    /// 3.10.0-1160.
    pub const fn other_kernels(self) -> &'static [&'static str] {
        match self {
            Self::Centos | Self::Rhel => &[],
            Self::Oracle => &["kernel-uek"],
        }
    }
}

/// CentOS 7.9 moved to the vault when mirrorlist.centos.org was shut down, and few mirrors still
/// provide CentOS 7.9 (DataDog/datadog-agent#54987).
const CENTOS_TREES: [&str; 3] = [
    "https://vault.centos.org/7.9.2009/os/x86_64/",
    "https://linuxsoft.cern.ch/centos-vault/7.9.2009/os/x86_64/",
    "https://archive.kernel.org/centos-vault/7.9.2009/os/x86_64/",
];
const CENTOS_UPDATES: [&str; 3] = [
    "https://vault.centos.org/7.9.2009/updates/x86_64/",
    "https://linuxsoft.cern.ch/centos-vault/7.9.2009/updates/x86_64/",
    "https://archive.kernel.org/centos-vault/7.9.2009/updates/x86_64/",
];
