//! The systemd units that an image can contain. The installation and an update apply the presets
//! to the same units.

/// The folders with unit files, without the leading slash.
pub const FOLDERS: [&str; 2] = ["etc/systemd/system/", "usr/lib/systemd/system/"];

/// The kinds of units that can be enabled and started.
const KINDS: [&str; 8] = [
    ".service",
    ".timer",
    ".socket",
    ".path",
    ".mount",
    ".automount",
    ".swap",
    ".target",
];

/// Returns the rest of a path after the folder with unit files, or `None` if the path is not in
/// such a folder. The path has no leading slash.
///
/// ```
/// # use recipes::unit;
/// let path = "etc/systemd/system/own.service.d/a.conf";
/// assert_eq!(unit::in_folder(path), Some("own.service.d/a.conf"));
/// assert_eq!(unit::in_folder("etc/motd"), None);
/// ```
pub fn in_folder(path: &str) -> Option<&str> {
    FOLDERS.iter().find_map(|folder| path.strip_prefix(folder))
}

/// Returns whether a unit with this name can be enabled and started. A template cannot run without
/// an instance name.
///
/// ```
/// # use recipes::unit;
/// assert!(unit::can_start("own.timer"));
/// assert!(!unit::can_start("own@.service") && !unit::can_start("own.slice"));
/// ```
pub fn can_start(name: &str) -> bool {
    !name.contains('@') && KINDS.iter().any(|kind| name.ends_with(kind))
}
