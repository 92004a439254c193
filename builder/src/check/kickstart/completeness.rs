//! Checks the commands of a kickstart together (anaconda 21.48.22.159: the mandatory spokes of
//! ui/tui/spokes/, kickstart.py, doKickstartStorage, users.py).

use std::collections::BTreeSet;

use super::document::Kickstart;
use super::line::Line;
use super::storage;
use crate::check::finding::Finding;

/// Checks the commands of a kickstart together.
pub(super) fn check(kickstart: &Kickstart<'_>, out: &mut Vec<Finding>) {
    // Check only a complete kickstart. A file without sections may be a part of another kickstart,
    // and the commands of included files are unknown.
    if !kickstart.sections.is_empty() && !kickstart.includes {
        missing(kickstart, out);
        undefined(kickstart, out);
        storage::check(kickstart, out);
    }
    let mut groups = BTreeSet::new();
    for line in &kickstart.commands {
        let name = line.value("--name");
        if line.is(&["group"]) {
            groups.extend(name);
        }
        let user = name.filter(|_| line.is(&["user"]));
        if let Some(name) = user.filter(|name| groups.contains(name)) {
            out.push(
                Finding::warning("kickstart/group-twice", line.span(), format!("the group {name} is created twice"))
                    .effect("anaconda creates the account, fails to create the group, and then neither sets the password nor locks the account")
                    .fix("remove the command `group`, because `user` also creates the group; `user --gid=` sets the group's id"),
            );
        }
    }
}

/// Reports missing commands without which an unattended installation stops. Language, keyboard and
/// boot loader have defaults.
fn missing(kickstart: &Kickstart<'_>, out: &mut Vec<Finding>) {
    let has = |names: &[&str]| kickstart.commands.iter().any(|line| line.is(names));
    let wheel =
        |line: &Line<'_>| line.is(&["user"]) && line.list("--groups").any(|group| group == "wheel");
    let root = has(&["rootpw"]) || kickstart.commands.iter().any(wheel);
    let disk = has(&[
        "autopart",
        "partition",
        "logvol",
        "btrfs",
        "raid",
        "volgroup",
        "mount",
        "reqpart",
    ]);
    let mounted = kickstart
        .commands
        .iter()
        .any(|line| line.is(&["autopart"]) || mounts_root(line));
    for (there, name) in [
        (has(&["timezone"]), "timezone"),
        (root, "rootpw"),
        (disk, "part or autopart"),
        // anaconda requires a device for / (storage_utils.py, verify_root).
        (mounted || !disk, "part / or autopart"),
    ] {
        if !there {
            out.push(
                Finding::error(
                    "kickstart/needed",
                    0..0,
                    format!("the command {name} is missing"),
                )
                .effect(
                    "anaconda ends with an error in cmdline mode, and waits for an answer in text and graphical mode",
                )
                .fix(format!("add {name}")),
            );
        }
    }
}

/// Returns whether a line sets the mount point `/` for a device. The command `mount` names the
/// device first.
fn mounts_root(line: &Line<'_>) -> bool {
    let mount_point = usize::from(line.is(&["mount"]));
    line.is(&["partition", "raid", "logvol", "btrfs", "mount"])
        && line
            .words
            .get(mount_point)
            .is_some_and(|word| word.value == "/")
}

/// Finds storage members and volume groups that no command creates. The order of the commands does
/// not matter, because anaconda always creates partitions, arrays, groups and volumes in this
/// order.
fn undefined(kickstart: &Kickstart<'_>, out: &mut Vec<Finding>) {
    let made: BTreeSet<&str> = kickstart
        .commands
        .iter()
        .filter(|line| line.is(&["partition", "raid", "volgroup"]))
        .filter_map(|line| line.words.first())
        .map(|word| word.value.as_str())
        .collect();
    for line in &kickstart.commands {
        if line.is(&["volgroup", "raid", "btrfs"]) {
            let ours = |name: &str| {
                ["pv.", "raid.", "btrfs."]
                    .iter()
                    .any(|kind| name.starts_with(kind))
            };
            for member in line
                .words
                .iter()
                .skip(1)
                .filter(|word| ours(&word.value) && !made.contains(word.value.as_str()))
            {
                let message = format!("nothing in the kickstart creates {}", member.value);
                out.push(
                    Finding::error("kickstart/undefined", member.span.clone(), message)
                        .effect("anaconda stops: undefined partition")
                        .fix(format!("add part {} --size=…", member.value)),
                );
            }
        }
        let group = match line.command.name {
            "logvol" => line.value("--vgname"),
            // Check the volume group of the snapshot's origin (SnapshotData.setup). If the snapshot
            // is taken before the installation, the origin already exists on the disks.
            "snapshot" if storage::is_post_install(line) => line
                .words
                .first()
                .and_then(|word| word.value.split_once('/'))
                .map(|(group, _)| group),
            _ => None,
        };
        let exists = line.has("--useexisting") || line.has("--noformat");
        if let Some(group) = group.filter(|group| !exists && !made.contains(group)) {
            out.push(
                Finding::warning(
                    "kickstart/undefined",
                    line.span(),
                    format!("nothing in the kickstart creates the volume group {group}"),
                )
                .effect("anaconda stops unless the disks already contain this volume group")
                .fix(format!("add volgroup {group} pv.01")),
            );
        }
    }
}
