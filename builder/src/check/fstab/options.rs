//! The mount options of XFS on kernel 3.10, of mount(8), and of systemd 219.

/// XFS options that need a value (kernel 3.10.0-1160, fs/xfs/xfs_super.c, tokens).
const VALUED: [&str; 8] = [
    "allocsize",
    "biosize",
    "logbsize",
    "logbufs",
    "logdev",
    "rtdev",
    "sunit",
    "swidth",
];

/// XFS options that have no value and that a remount ignores.
const PLAIN: &[&str] = &[
    "noalign",
    "swalloc",
    "largeio",
    "nolargeio",
    "ikeep",
    "noikeep",
    "attr2",
    "noattr2",
    "filestreams",
    "wsync",
    "noquota",
    "quota",
    "uquota",
    "gquota",
    "pquota",
    "prjquota",
    "usrquota",
    "grpquota",
    "qnoenforce",
    "uqnoenforce",
    "gqnoenforce",
    "pqnoenforce",
    "discard",
    "nodiscard",
    "nouuid",
    "norecovery",
    "grpid",
    "nogrpid",
    "bsdgroups",
    "sysvgroups",
    "dax",
];

/// XFS options that a remount applies, and old XFS options that have no effect.
pub(super) const XFS: &[&str] = &[
    "inode64",
    "inode32",
    "barrier",
    "nobarrier",
    "delaylog",
    "nodelaylog",
    "ihashsize",
    "osyncisdsync",
    "osyncisosync",
    "irixsgid",
];

/// Returns whether XFS applies an option only at the first mount of a volume. A remount parses the
/// option, ignores it and reports success (kernel 3.10.0-1160, fs/xfs/xfs_super.c, xfs_fs_remount:
/// all but ro, rw, barrier, nobarrier, inode64, inode32).
pub(in crate::check) fn only_at_first_mount(option: &str) -> bool {
    let name = option.split('=').next().unwrap_or_default();
    VALUED.contains(&name) || PLAIN.contains(&name)
}

/// The options that mount(8) and the VFS accept on any file system (util-linux 2.23,
/// libmount/src/optmap.c).
pub(super) const GENERIC: &[&str] = &[
    "defaults",
    "ro",
    "rw",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "sync",
    "async",
    "dirsync",
    "remount",
    "bind",
    "rbind",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "silent",
    "loud",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "_netdev",
    "nofail",
    "comment",
    "loop",
    "offset",
    "sizelimit",
    "encryption",
    "uhelper",
    "helper",
    "private",
    "slave",
    "shared",
    "unbindable",
    "rprivate",
    "rslave",
    "rshared",
    "runbindable",
    "context",
    "fscontext",
    "defcontext",
    "rootcontext",
    "seclabel",
];

/// systemd's own options in release 219 (man/systemd.mount.xml). RHEL back-ported
/// x-systemd.requires and x-systemd.requires-mounts-for in 219-3, and x-systemd.idle-timeout in
/// 219-32 (changelog of RHEL's systemd.spec: #1164334, #1354410).
pub(super) const SYSTEMD: &[&str] = &[
    "x-systemd.automount",
    "x-systemd.device-timeout",
    "x-systemd.requires",
    "x-systemd.requires-mounts-for",
    "x-systemd.idle-timeout",
    "x-initrd.mount",
];

/// Returns whether XFS, mount(8) or the VFS accepts an option. XFS accepts an option that needs a
/// value only with a value, and any other option only without a value.
pub(super) fn known_to_xfs(option: &str) -> bool {
    let (name, value) = option
        .split_once('=')
        .map_or((option, None), |(name, value)| (name, Some(value)));
    let plain = PLAIN.contains(&name) || XFS.contains(&name);
    GENERIC.contains(&name)
        || name.starts_with("x-")
        || (plain && value.is_none())
        || (VALUED.contains(&name) && value.is_some())
}

pub(super) fn xfs_only(name: &str) -> bool {
    [
        "allocsize",
        "logbsize",
        "logbufs",
        "inode64",
        "largeio",
        "swalloc",
    ]
    .contains(&name)
}

/// How XFS handles the value of an option.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum XfsValue {
    /// XFS uses the value unchanged.
    Taken,
    /// XFS uses this number of bytes instead. 0 means that the option has no effect.
    Instead(u64),
    /// XFS refuses the mount or the remount. The text describes the values that XFS accepts.
    Refused(&'static str),
}

/// Classifies an XFS option by its value (fs/xfs/xfs_super.c, xfs_parseargs).
pub(super) fn xfs_value(option: &str) -> XfsValue {
    let Some((name, value)) = option.split_once('=') else {
        return XfsValue::Taken;
    };
    match name {
        // The kernel uses only the lowest bit that is set (ffs), so an odd number has no effect.
        "allocsize" | "biosize" => match size(value).map(|bytes| (bytes, bytes.trailing_zeros())) {
            Some((bytes, log @ (0 | 12..=30))) if bytes != 0 => {
                let taken = if log == 0 { 0 } else { 1 << log };
                if taken == bytes {
                    XfsValue::Taken
                } else {
                    XfsValue::Instead(taken)
                }
            }
            _ => XfsValue::Refused("a power of two from 4k to 1g"),
        },
        "logbsize" => match size(value) {
            Some(0 | 0x4000 | 0x8000 | 0x1_0000 | 0x2_0000 | 0x4_0000) => XfsValue::Taken,
            _ => XfsValue::Refused("16k, 32k, 64k, 128k or 256k"),
        },
        "logbufs" => match value.parse::<u32>() {
            Ok(0 | 2..=8) => XfsValue::Taken,
            _ => XfsValue::Refused("a number from 2 to 8"),
        },
        _ => XfsValue::Taken,
    }
}

/// Parses a number of bytes with at most one suffix (fs/xfs/xfs_super.c, suffix_kstrtoint).
fn size(value: &str) -> Option<u64> {
    let (digits, shift) = match value.char_indices().next_back()? {
        (at, 'k' | 'K') => (&value[..at], 10),
        (at, 'm' | 'M') => (&value[..at], 20),
        (at, 'g' | 'G') => (&value[..at], 30),
        _ => (value, 0),
    };
    let number = digits.parse::<i32>().ok()?;
    u64::try_from(number).ok()?.checked_shl(shift)
}

/// Formats a number of bytes as the value of an XFS option, such as `64k`.
pub(super) fn shown(bytes: u64) -> String {
    let units = [(1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k")];
    let unit = units.iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    unit.map_or_else(
        || bytes.to_string(),
        |(unit, suffix)| format!("{}{suffix}", bytes / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_checked_as_xfs_checks_it() {
        let of = xfs_value;
        for taken in [
            "allocsize=64m",
            "allocsize=4096",
            "allocsize=1G",
            "logbsize=256k",
            "logbufs=8",
            "sunit=1",
        ] {
            assert_eq!(of(taken), XfsValue::Taken, "{taken}");
        }
        assert_eq!(of("allocsize=3m"), XfsValue::Instead(1 << 20));
        assert_eq!(of("allocsize=65535"), XfsValue::Instead(0));
        for refused in [
            "allocsize=2k",
            "allocsize=2g",
            "allocsize=65k",
            "allocsize=64mm",
            "allocsize=0",
            "allocsize=",
            "logbsize=48k",
            "logbufs=1",
        ] {
            assert!(matches!(of(refused), XfsValue::Refused(_)), "{refused}");
        }
    }

    #[test]
    fn options_are_recognized_as_xfs_recognizes_them() {
        for known in ["grpid", "dax", "inode64", "logdev=/dev/sdb1", "noatime"] {
            assert!(known_to_xfs(known), "{known}");
        }
        for unknown in ["mtpt", "inode64=1", "logbufs", "lazytime"] {
            assert!(!known_to_xfs(unknown), "{unknown}");
        }
    }
}
