//! Determines the actions that the running system needs after a replacement of files. The actions
//! depend only on the files' paths and on whether each file is added, replaced or removed. An
//! update always restarts etcd and firstboot, regardless of the files that it replaces.

use std::collections::BTreeSet;
use std::fmt;

use recipes::unit;
use recipes::update::Reboot;

use super::file_changes::{FileChange, Kind};

/// An action that makes the running system use changed files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    Sysctl,
    /// Create the files and folders that a file in tmpfiles.d describes.
    Tmpfiles(String),
    /// Reload firewalld, which then reads its rules and firewalld.conf. During a restart, the
    /// kernel would accept all packets while firewalld is stopped (firewalld 0.6.3, core/fw.py,
    /// `reload` and `stop`).
    Firewall,
    Chrony,
    /// Reload sshd, which keeps its open sessions.
    Sshd,
    /// Restart journald, which keeps its connections to all services.
    Journald,
    /// Restart a unit, if it is running.
    RestartUnit(String),
    /// Apply the presets to a new unit, and start the unit if the presets enable it.
    AddUnit(String),
    /// Stop and disable a unit before its file is removed.
    RemoveUnit(String),
    /// Reboot the system. Without a reboot, the change of this file has no effect.
    Reboot(String),
}

/// The units that an update always restarts or must never restart.
const OWN: [&str; 7] = [
    "etcd.service",
    "firstboot.service",
    "firstboot-update.service",
    "firstboot-auto-update.service",
    "firstboot-image.service",
    "firstboot-renew.service",
    "firstboot-snapshot.service",
];

/// The units of the base system that an update does not restart. While firewalld restarts, the
/// kernel accepts all packets; when dbus restarts, the programs lose their connections to it.
const APPLIED_AT_BOOT: [&str; 2] = ["dbus.service", "firewalld.service"];

/// Returns all effects of these changes, without duplicates.
pub(super) fn effects(changes: &[FileChange]) -> BTreeSet<Effect> {
    changes.iter().filter_map(effect).collect()
}

/// Returns whether the node reboots to apply these changes.
pub(super) fn reboots(rule: Reboot, changes: &[FileChange]) -> bool {
    match rule {
        Reboot::Never => false,
        Reboot::WhenNeeded => !only_at_boot(changes).is_empty(),
        Reboot::Always => true,
    }
}

/// Returns the changed files that only a reboot applies.
pub(super) fn only_at_boot(changes: &[FileChange]) -> Vec<String> {
    let paths = effects(changes)
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Reboot(path) => Some(format!("/{path}")),
            _ => None,
        });
    paths.collect()
}

fn effect(change: &FileChange) -> Option<Effect> {
    let (path, gone) = (change.path.as_str(), change.kind == Kind::Removed);
    let below = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    if let Some(rest) = unit::in_folder(path) {
        return unit_effect(path, rest, change.kind);
    }
    if is_sysctl(path) {
        return Some(if gone {
            Effect::Reboot(path.to_owned())
        } else {
            Effect::Sysctl
        });
    }
    if below(&["etc/tmpfiles.d/", "usr/lib/tmpfiles.d/"]) {
        return (!gone).then(|| Effect::Tmpfiles(path.to_owned()));
    }
    if below(&["etc/firewalld/"]) {
        return Some(Effect::Firewall);
    }
    if below(&["etc/systemd/journald.conf.d/"]) || path == "etc/systemd/journald.conf" {
        return Some(Effect::Journald);
    }
    let boots = below(&[
        "etc/systemd/system.conf.d/",
        "usr/lib/systemd/system.conf.d/",
        "etc/modules-load.d/",
        "usr/lib/modules-load.d/",
        "etc/udev/",
        "usr/lib/udev/",
        "etc/selinux/",
        "boot/",
    ]);
    if boots || ["etc/fstab", "etc/systemd/system.conf"].contains(&path) {
        return Some(Effect::Reboot(path.to_owned()));
    }
    match path {
        "etc/chrony.conf" => Some(Effect::Chrony),
        "etc/ssh/sshd_config" => Some(Effect::Sshd),
        _ => None,
    }
}

/// Returns whether a file contains kernel settings.
pub(super) fn is_sysctl(path: &str) -> bool {
    let folders = ["etc/sysctl.d/", "usr/lib/sysctl.d/"];
    folders.iter().any(|folder| path.starts_with(folder)) || path == "etc/sysctl.conf"
}

/// Returns the effect of a change to a unit's file or to a drop-in. `rest` is the path of the file
/// relative to the folder with unit files.
fn unit_effect(path: &str, rest: &str, kind: Kind) -> Option<Effect> {
    let (name, drop_in) = match rest.split_once('/') {
        Some((folder, _)) => (folder.strip_suffix(".d")?, true),
        None => (rest, false),
    };
    if !unit::can_start(name) || OWN.contains(&name) {
        return None;
    }
    if APPLIED_AT_BOOT.contains(&name) {
        return Some(Effect::Reboot(path.to_owned()));
    }
    let name = name.to_owned();
    Some(match kind {
        Kind::Added if !drop_in => Effect::AddUnit(name),
        Kind::Removed if !drop_in => Effect::RemoveUnit(name),
        _ => return restart(name),
    })
}

/// Returns the restart of a unit, or `None` for a target, because its restart would also stop the
/// units that require the target.
pub(super) fn restart(unit: String) -> Option<Effect> {
    (!unit.ends_with(".target")).then_some(Effect::RestartUnit(unit))
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl => f.write_str("applies the kernel settings"),
            Self::Tmpfiles(path) => write!(f, "applies /{path}"),
            Self::Firewall => f.write_str("reloads firewalld"),
            Self::Chrony => f.write_str("restarts chronyd"),
            Self::Sshd => f.write_str("reloads sshd"),
            Self::Journald => f.write_str("restarts journald"),
            Self::RestartUnit(name) => write!(f, "restarts {name} if it is running"),
            Self::AddUnit(name) => write!(f, "enables and starts {name} if the presets enable it"),
            Self::RemoveUnit(name) => write!(f, "stops and disables {name}"),
            Self::Reboot(path) => write!(f, "needs a reboot to apply /{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(changes: &[(&str, Kind)]) -> Vec<String> {
        let changes: Vec<_> = changes
            .iter()
            .map(|(path, kind)| FileChange {
                path: (*path).to_owned(),
                kind: *kind,
            })
            .collect();
        effects(&changes).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_changed_unit_of_dbus_or_firewalld_needs_a_reboot() {
        for (path, kind) in [
            ("etc/systemd/system/firewalld.service", Kind::Added),
            ("etc/systemd/system/dbus.service", Kind::Replaced),
            ("etc/systemd/system/dbus.service.d/own.conf", Kind::Removed),
        ] {
            let reboot = format!("needs a reboot to apply /{path}");
            assert_eq!(of(&[(path, kind)]), [reboot]);
        }
    }

    #[test]
    fn each_kind_of_changed_file_has_its_effect() {
        for (path, kind, expected) in [
            (
                "etc/sysctl.d/95-etcd.conf",
                Kind::Replaced,
                "applies the kernel settings",
            ),
            (
                "etc/sysctl.d/95-etcd.conf",
                Kind::Removed,
                "needs a reboot to apply /etc/sysctl.d/95-etcd.conf",
            ),
            (
                "usr/lib/tmpfiles.d/etcd.conf",
                Kind::Replaced,
                "applies /usr/lib/tmpfiles.d/etcd.conf",
            ),
            (
                "etc/firewalld/zones/etcd.xml",
                Kind::Replaced,
                "reloads firewalld",
            ),
            ("etc/chrony.conf", Kind::Replaced, "restarts chronyd"),
            ("etc/ssh/sshd_config", Kind::Replaced, "reloads sshd"),
            (
                "etc/systemd/journald.conf.d/95-etcd.conf",
                Kind::Replaced,
                "restarts journald",
            ),
            (
                "etc/fstab",
                Kind::Replaced,
                "needs a reboot to apply /etc/fstab",
            ),
            (
                "etc/systemd/system/own.service",
                Kind::Added,
                "enables and starts own.service if the presets enable it",
            ),
            (
                "etc/systemd/system/own.timer",
                Kind::Removed,
                "stops and disables own.timer",
            ),
            (
                "etc/systemd/system/own.service",
                Kind::Replaced,
                "restarts own.service if it is running",
            ),
            (
                "etc/systemd/system/own.service.d/a.conf",
                Kind::Added,
                "restarts own.service if it is running",
            ),
        ] {
            assert_eq!(of(&[(path, kind)]), [expected], "{path}");
        }
    }

    #[test]
    fn units_of_every_kind_that_can_be_enabled_are_enabled() {
        for name in ["srv.automount", "own.swap", "own.target"] {
            let path = format!("etc/systemd/system/{name}");
            let expected = format!("enables and starts {name} if the presets enable it");
            assert_eq!(of(&[(path.as_str(), Kind::Added)]), [expected]);
        }
    }

    #[test]
    fn units_that_are_always_restarted_and_files_that_no_service_reads_have_no_effect() {
        let paths = [
            "usr/local/bin/etcd",
            "etc/systemd/system/etcd.service",
            "etc/systemd/system/etcd.service.d/a.conf",
            "etc/systemd/system/firstboot-update.service",
            "etc/systemd/system/firstboot-auto-update.service",
            "etc/systemd/system/own@.service",
            "etc/systemd/system/basic.target.d/a.conf",
            "etc/motd",
        ];
        assert_eq!(of(&paths.map(|path| (path, Kind::Replaced))), [""; 0]);
    }

    #[test]
    fn a_node_reboots_if_the_recipe_requires_it() {
        let change = |path: &str| {
            [FileChange {
                path: path.to_owned(),
                kind: Kind::Replaced,
            }]
        };
        for (rule, fstab, chrony) in [
            (Reboot::Never, false, false),
            (Reboot::WhenNeeded, true, false),
            (Reboot::Always, true, true),
        ] {
            assert_eq!(reboots(rule, &change("etc/fstab")), fstab, "{rule:?}");
            assert_eq!(
                reboots(rule, &change("etc/chrony.conf")),
                chrony,
                "{rule:?}"
            );
        }
        for path in [
            "etc/fstab",
            "etc/systemd/system.conf",
            "etc/systemd/system.conf.d/a.conf",
            "usr/lib/systemd/system.conf.d/a.conf",
            "usr/lib/modules-load.d/a.conf",
            "usr/lib/udev/rules.d/a.rules",
        ] {
            assert_eq!(only_at_boot(&change(path)), [format!("/{path}")]);
        }
    }

    #[test]
    fn a_changed_firewalld_conf_never_stops_the_firewall() {
        let both = [
            ("etc/firewalld/zones/etcd.xml", Kind::Replaced),
            ("etc/firewalld/firewalld.conf", Kind::Replaced),
        ];
        assert_eq!(of(&both), ["reloads firewalld"]);
    }
}
