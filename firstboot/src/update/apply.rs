//! Makes the running system use the files that a replacement has installed. The change of a file
//! can have effects, such as the restart of a unit. If an effect cannot be applied, the update logs
//! the failure and continues, because the health check decides whether the update succeeds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use recipes::unit;

use super::effects::{Effect, effects, restart};
use super::file_changes::{FileChange, Kind};
use crate::change::Change;
use crate::steps::selinux;
use crate::system_command::run;

/// Returns all effects of these changes on the system with this root. Some units have another file,
/// which the changes neither add nor remove. If the changes remove a file of such a unit, the unit
/// is restarted instead of stopped and disabled. If the changes add a file to such a unit, the unit
/// is also restarted, because it may already be running.
pub(super) fn effects_on(root: &Path, changes: &[FileChange]) -> BTreeSet<Effect> {
    let on_system = |effect: Effect| match effect {
        Effect::RemoveUnit(name) if has_other_file(root, &name, changes) => [restart(name), None],
        Effect::AddUnit(name) if has_other_file(root, &name, changes) => {
            [restart(name.clone()), Some(Effect::AddUnit(name))]
        }
        effect => [Some(effect), None],
    };
    let all = effects(changes).into_iter().flat_map(on_system);
    all.flatten().collect()
}

/// Stops and disables the units that the replacement will remove. The caller must call this
/// function before the replacement.
pub(super) fn stop_removed_units(changes: &[FileChange], say: &mut impl FnMut(String)) {
    for effect in effects_on(Path::new("/"), changes) {
        if let Effect::RemoveUnit(name) = effect {
            attempt(say, &["stop", &name]);
            attempt(say, &["disable", &name]);
        }
    }
}

/// Applies all sysctl files, in systemd's order.
pub(super) fn apply_sysctl_files(say: &mut impl FnMut(String)) {
    // Run systemd-sysctl directly, because systemd skips systemd-sysctl.service if /proc/sys is
    // read-only (ConditionPathIsReadWrite=). In a container, parts of /proc/sys can be writable
    // even if /proc/sys itself is read-only.
    log_failure(say, run("/usr/lib/systemd/systemd-sysctl", &[]));
}

/// Sets the SELinux labels of the files, reloads systemd if systemd reads any of these files, and
/// applies every effect except reboots and the removal of units.
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
    for effect in effects_on(Path::new("/"), changes) {
        match effect {
            Effect::Sysctl => apply_sysctl_files(say),
            Effect::Tmpfiles(path) => log_failure(
                say,
                run("systemd-tmpfiles", &["--create", &format!("/{path}")]),
            ),
            Effect::Firewall => attempt(say, &["reload-or-try-restart", "firewalld.service"]),
            Effect::Chrony => attempt(say, &["try-restart", "chronyd.service"]),
            Effect::Sshd => attempt(say, &["reload-or-try-restart", "sshd.service"]),
            Effect::Journald => attempt(say, &["restart", "systemd-journald.service"]),
            // Do not wait, because the unit may finish its start only after etcd answers, and etcd
            // starts only after the replacement.
            Effect::RestartUnit(name) => attempt(say, &["try-restart", "--no-block", &name]),
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

/// Returns whether a unit has a file that the replacement neither adds nor removes, for example the
/// file of the base system that a file of the image overrides. The replacement does not remove such
/// a unit. A service can also have a script in init.d, as CentOS 7's network.service does.
fn has_other_file(root: &Path, name: &str, changes: &[FileChange]) -> bool {
    let appears_or_disappears = |path: &str| {
        changes
            .iter()
            .any(|change| change.path == path && change.kind != Kind::Replaced)
    };
    let script = name.strip_suffix(".service");
    let script = script.map(|name| format!("etc/rc.d/init.d/{name}"));
    unit::FOLDERS
        .iter()
        .map(|folder| format!("{folder}{name}"))
        .chain(script)
        .any(|path| !appears_or_disappears(&path) && root.join(&path).exists())
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

/// Returns the changes that undo these changes.
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

    #[test]
    fn a_unit_with_another_file_is_restarted_and_not_removed() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().join("usr/lib/systemd/system");
        let scripts = root.path().join("etc/rc.d/init.d");
        for folder in [&base, &scripts] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(base.join("chronyd.service"), "").unwrap();
        std::fs::write(base.join("own.service"), "").unwrap();
        std::fs::write(base.join("own.target"), "").unwrap();
        std::fs::write(scripts.join("network"), "").unwrap();
        let change = |path: &str, kind| FileChange {
            path: path.to_owned(),
            kind,
        };
        let of = |changes: &[FileChange]| -> Vec<String> {
            effects_on(root.path(), changes)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        for name in ["chronyd.service", "network.service"] {
            let overrides = |kind| change(&format!("etc/systemd/system/{name}"), kind);
            let restarts = format!("restarts {name} if it is running");
            let enables = format!("enables and starts {name} if the presets enable it");
            assert_eq!(of(&[overrides(Kind::Removed)]), [restarts.as_str()]);
            assert_eq!(of(&[overrides(Kind::Added)]), [restarts, enables]);
        }
        let target = change("etc/systemd/system/own.target", Kind::Added);
        let enables = "enables and starts own.target if the presets enable it";
        assert_eq!(of(&[target]), [enables]);
        let other = change("etc/systemd/system/other.service", Kind::Removed);
        assert_eq!(of(&[other]), ["stops and disables other.service"]);
        // The replacement removes one file of the unit, and adds or removes a second file. The
        // second file does not prevent the removal of the unit.
        for kind in [Kind::Added, Kind::Removed] {
            let moved = [
                change("etc/systemd/system/own.service", Kind::Removed),
                change("usr/lib/systemd/system/own.service", kind),
            ];
            let effects = of(&moved);
            let removes = "stops and disables own.service".to_owned();
            assert!(effects.contains(&removes), "{kind:?}");
            let restarts = "restarts own.service if it is running".to_owned();
            assert!(!effects.contains(&restarts), "{kind:?}");
        }
    }
}
