//! A file of a node, and its kind.

use super::unit;

/// A file as it will be on the node.
#[derive(Debug, Clone)]
pub(crate) struct File<'a> {
    /// The name that findings show.
    pub(crate) shown: String,
    /// The path on the node, as far as it is known. A kickstart is not stored on the node, so only
    /// its file name matters.
    pub(crate) path: String,
    pub(crate) text: &'a str,
    /// The file's permissions, if known.
    pub(crate) mode: Option<u32>,
}

/// The kinds of files that can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Kickstart,
    Unit,
    SystemdConf,
    Sysctl,
    Chrony,
    Firewalld,
    FirewalldConf,
    Fstab,
    Preset,
    Tmpfiles,
    Script,
}

impl Kind {
    /// Returns the kind of a file, from its path on the node.
    pub(super) fn of(path: &str) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let within = |part: &str| folder.split('/').any(|name| name == part);
        Some(match (name, extension) {
            // The kind of a drop-in depends on its folder, so a drop-in may be called chrony.conf.
            _ if unit::name_of(path).is_some() => Self::Unit,
            _ if unit::systemd_conf::section_of(path).is_some() => Self::SystemdConf,
            (_, "conf") if within("sysctl.d") => Self::Sysctl,
            (_, "conf") if within("tmpfiles.d") => Self::Tmpfiles,
            (_, "ks" | "cfg") if extension == "ks" || name.starts_with("ks") => Self::Kickstart,
            ("chrony.conf", _) => Self::Chrony,
            ("fstab", _) => Self::Fstab,
            ("sysctl.conf", _) => Self::Sysctl,
            ("firewalld.conf", _) => Self::FirewalldConf,
            (_, "preset") => Self::Preset,
            (_, "xml")
                if within("firewalld")
                    || within("zones")
                    || within("services")
                    || within("ipsets") =>
            {
                Self::Firewalld
            }
            (_, "sh") => Self::Script,
            _ if folder.ends_with("/etc/firstboot/post") => Self::Script,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_takes_precedence_over_the_name() {
        for (path, kind) in [
            ("/etc/systemd/system/etcd.service.d/chrony.conf", Kind::Unit),
            ("/etc/systemd/system/etcd.service.d/fstab", Kind::Fstab),
            (
                "/etc/systemd/journald.conf.d/sysctl.conf",
                Kind::SystemdConf,
            ),
            ("/etc/sysctl.d/chrony.conf", Kind::Sysctl),
            ("/usr/lib/tmpfiles.d/firewalld.conf", Kind::Tmpfiles),
            ("/etc/chrony.conf", Kind::Chrony),
            ("/etc/sysctl.conf", Kind::Sysctl),
            ("/etc/firewalld/firewalld.conf", Kind::FirewalldConf),
            ("centos7.ks", Kind::Kickstart),
        ] {
            assert_eq!(Kind::of(path), Some(kind), "{path}");
        }
    }
}
