//! The mount options of XFS on kernel 3.10, of mount(8), and of systemd 219.

/// Whether XFS reads an option only at the first mount of a volume. A remount ignores such an
/// option and reports success (kernel 3.10, fs/xfs/xfs_super.c, xfs_fs_remount: all but ro, rw,
/// barrier, nobarrier, inode64, inode32).
pub(in crate::check) fn only_at_first_mount(option: &str) -> bool {
    let name = option.split('=').next().unwrap_or_default();
    [
        "allocsize",
        "logbsize",
        "logbufs",
        "logdev",
        "rtdev",
        "sunit",
        "swidth",
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
        "discard",
        "nodiscard",
        "nouuid",
        "norecovery",
        "mtpt",
    ]
    .contains(&name)
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

/// systemd's own options, as of 219 (man/systemd.mount.xml). x-systemd.requires and
/// -requires-mounts-for are back-ports of RHEL's 219-3, x-systemd.idle-timeout of 219-32 (the
/// changelog of its systemd.spec: #1164334, #1354410).
pub(super) const SYSTEMD: &[&str] = &[
    "x-systemd.automount",
    "x-systemd.device-timeout",
    "x-systemd.requires",
    "x-systemd.requires-mounts-for",
    "x-systemd.idle-timeout",
    "x-initrd.mount",
];

pub(super) const XFS: &[&str] = &[
    "inode64",
    "inode32",
    "barrier",
    "nobarrier",
    "uqnoenforce",
    "gqnoenforce",
    "pqnoenforce",
    "qnoenforce",
    "delaylog",
    "nodelaylog",
];

pub(super) fn known_to_xfs(name: &str) -> bool {
    GENERIC.contains(&name)
        || XFS.contains(&name)
        || only_at_first_mount(name)
        || name.starts_with("x-")
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

pub(super) fn is_allocsize(option: &str) -> bool {
    let Some(value) = option.strip_prefix("allocsize=") else {
        return false;
    };
    let digits = value.trim_end_matches(['k', 'm', 'g', 'K', 'M', 'G']);
    let shift = match value[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return false,
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift));
    bytes.is_some_and(|bytes| bytes.is_power_of_two() && (4096..=1 << 30).contains(&bytes))
}
