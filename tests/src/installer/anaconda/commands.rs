//! The rules for single storage commands, and for commands that exclude each other.

use super::super::kickstart::Command;

/// The formats that blivet can make on x86 (formats/__init__.py, getFormat).
const FORMATS: &[&str] = &[
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "vfat",
    "btrfs",
    "swap",
    "efi",
    "biosboot",
    "prepboot",
    "appleboot",
    "lvmpv",
    "mdmember",
    "tmpfs",
];
/// The commands of a custom layout. pykickstart does not accept `autopart` or `mount` together with
/// these commands.
const CUSTOM: &[&str] = &["part", "partition", "raid", "volgroup", "logvol"];

/// The commands that exclude each other.
const WHOLE: &[&str] = &["autopart", "mount", "reqpart"];

/// Refuses the same commands as pykickstart's `parse` (commands/autopart.py, mount.py, reqpart.py,
/// logvol.py, btrfs.py) and AutoPart.parse of kickstart.py.
pub(super) fn read(command: &Command, earlier: &[Command]) -> Result<(), String> {
    let name = command.name.as_str();
    let both_whole = |other: &str| name != other && WHOLE.contains(&name) && WHOLE.contains(&other);
    let custom_beside =
        |whole: &str, part: &str| ["autopart", "mount"].contains(&whole) && CUSTOM.contains(&part);
    let excludes =
        |other: &str| both_whole(other) || custom_beside(name, other) || custom_beside(other, name);
    if let Some(other) = earlier.iter().find(|other| excludes(&other.name)) {
        return Err(format!(
            "{} and {name} can't be used at the same time",
            other.name
        ));
    }
    let sized = [
        "--size",
        "--percent",
        "--useexisting",
        "--noformat",
        "--recommended",
    ];
    let given =
        |option: &&str| command.has(option) || command.option(option).is_some_and(|v| v != "0");
    match name {
        "autopart" => match command.option("--fstype") {
            Some(kind) if !FORMATS.contains(&kind) => {
                Err(format!("autopart fstype of {kind} is invalid."))
            }
            _ => Ok(()),
        },
        "logvol" if !sized.iter().any(given) => Err("Size required".into()),
        "btrfs" if words(command).len() < 2 && !command.has("--useexisting") => {
            Err("btrfs must be given a list of partitions".into())
        }
        _ => Ok(()),
    }
}

/// Returns the words of a command that are not options.
pub(super) fn words(command: &Command) -> Vec<&str> {
    let words = command.arguments.iter().map(String::as_str);
    words.filter(|word| !word.starts_with("--")).collect()
}

/// Returns the format of a `part`, `raid` or `logvol` line, if blivet can make that format.
pub(super) fn format(command: &Command, mount: &str) -> Result<String, String> {
    let kind = match mount.split_once('.') {
        _ if mount == "swap" => "swap",
        Some(("raid", _)) => "mdmember",
        Some(("pv", _)) => "lvmpv",
        Some(("btrfs", _)) => "btrfs",
        _ => command.option("--fstype").unwrap_or("xfs"),
    };
    if FORMATS.contains(&kind) {
        return Ok(kind.to_owned());
    }
    Err(format!("The \"{kind}\" file system type is not supported."))
}

/// Models `DEFAULT_PART_SIZE` in blivet's devices/partition.py. Returns the size of a `part` line
/// in MiB.
pub(super) fn part_size(part: &Command) -> u64 {
    part.option("--size")
        .and_then(|text| text.parse().ok())
        .unwrap_or(500)
}
