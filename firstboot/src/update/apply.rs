//! Makes the running system use the files that a replacement has installed. The update logs a
//! failed effect but continues, because the health check decides whether the update succeeds.

use std::path::PathBuf;

use anyhow::Result;

use super::effects::{Effect, effects};
use super::file_changes::{FileChange, Kind};
use crate::change::Change;
use crate::steps::selinux;
use crate::system_command::run;

/// Stops and disables the units whose files the replacement will remove. The caller must call this
/// function before the replacement.
pub(super) fn stop_removed_units(changes: &[FileChange], say: &mut impl FnMut(String)) {
    for effect in effects(changes) {
        if let Effect::RemoveUnit(name) = effect {
            attempt(say, &["stop", &name]);
            attempt(say, &["disable", &name]);
        }
    }
}

/// Sets the SELinux labels of the files, reloads systemd if it reads any of them, and applies every
/// effect except reboots and the removal of units.
pub(super) fn apply_effects(
    changes: &[FileChange],
    present: Vec<PathBuf>,
    say: &mut impl FnMut(String),
) -> Result<()> {
    // Under SELinux, the programs do not start without their labels.
    selinux::all(present).iter().try_for_each(Change::apply)?;
    if changes
        .iter()
        .any(|change| is_read_by_systemd(&change.path))
    {
        run("systemctl", &["daemon-reload"])?;
    }
    for effect in effects(changes) {
        match effect {
            // Run systemd-sysctl directly, because systemd skips systemd-sysctl.service if
            // /proc/sys is read-only (ConditionPathIsReadWrite=). In a container, parts of
            // /proc/sys can be writable even if /proc/sys itself is read-only.
            Effect::Sysctl => log_failure(say, run("/usr/lib/systemd/systemd-sysctl", &[])),
            Effect::Tmpfiles(path) => log_failure(
                say,
                run("systemd-tmpfiles", &["--create", &format!("/{path}")]),
            ),
            Effect::Firewall => attempt(say, &["reload-or-try-restart", "firewalld.service"]),
            Effect::Chrony => attempt(say, &["try-restart", "chronyd.service"]),
            Effect::Sshd => attempt(say, &["reload-or-try-restart", "sshd.service"]),
            Effect::Journald => attempt(say, &["restart", "systemd-journald.service"]),
            Effect::RestartUnit(name) => attempt(say, &["try-restart", &name]),
            Effect::AddUnit(name) => {
                attempt(say, &["preset", &name]);
                if run("systemctl", &["is-enabled", "--quiet", &name]).is_ok() {
                    attempt(say, &["start", "--no-block", &name]);
                }
            }
            Effect::Reboot(_) | Effect::RemoveUnit(_) => {}
        }
    }
    Ok(())
}

/// Returns whether systemd or one of its generators reads a file when systemd loads its units.
fn is_read_by_systemd(path: &str) -> bool {
    [
        "etc/systemd/",
        "usr/lib/systemd/",
        "etc/init.d/",
        "etc/rc.d/",
    ]
    .iter()
    .any(|folder| path.starts_with(folder))
        || path == "etc/fstab"
}

/// Returns the same changes in the opposite direction.
pub(super) fn reversed(changes: &[FileChange]) -> Vec<FileChange> {
    let reverse = |kind| match kind {
        Kind::Added => Kind::Removed,
        Kind::Removed => Kind::Added,
        Kind::Replaced => Kind::Replaced,
    };
    changes
        .iter()
        .map(|change| FileChange {
            path: change.path.clone(),
            kind: reverse(change.kind),
        })
        .collect()
}

fn attempt(say: &mut impl FnMut(String), words: &[&str]) {
    log_failure(say, run("systemctl", words));
}

fn log_failure(say: &mut impl FnMut(String), done: Result<()>) {
    if let Err(error) = done {
        say(format!("{error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_is_reloaded_for_units_drop_ins_scripts_and_fstab_only() {
        for (path, reads) in [
            ("etc/systemd/system/etcd.service", true),
            ("etc/systemd/system/etcd.service.d/a.conf", true),
            ("usr/lib/systemd/system/own.timer", true),
            ("etc/rc.d/init.d/own", true),
            ("etc/fstab", true),
            ("etc/fstab.d/own", false),
            ("etc/chrony.conf", false),
            ("usr/local/bin/etcd", false),
        ] {
            assert_eq!(is_read_by_systemd(path), reads, "{path}");
        }
    }
}
