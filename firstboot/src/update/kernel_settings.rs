//! Keeps the values of the kernel settings that a replacement of files changes. Without these
//! values, a rollback could not restore a setting that only the new image contains, because no file
//! of the previous image has the earlier value.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Component, Path};

use anyhow::Result;

use super::effects;
use super::file_changes::{FileChange, Kind};
use crate::files;

/// The folder of the kernel settings.
pub(super) const PROC_SYS: &str = "/proc/sys";

/// Pairs of settings. A write to one setting of a pair sets the other setting to 0 (Linux 3.14,
/// mm/page-writeback.c and mm/mmap.c).
const PAIRS: [(&str, &str); 3] = [
    ("vm/dirty_background_bytes", "vm/dirty_background_ratio"),
    ("vm/dirty_bytes", "vm/dirty_ratio"),
    ("vm/overcommit_kbytes", "vm/overcommit_ratio"),
];

/// The values of kernel settings, keyed by the settings' paths below [`PROC_SYS`].
pub(super) type KernelSettings = BTreeMap<String, String>;

/// Returns the present values of all settings in the sysctl files that a replacement will add or
/// replace. If a setting belongs to one of the [`PAIRS`], also returns the value of the pair's
/// other setting. The new files are in the folder `new`. Ignores settings that the kernel does not
/// have.
pub(super) fn current(
    proc_sys: &Path,
    changes: &[FileChange],
    new: &Path,
) -> Result<KernelSettings> {
    let mut settings = KernelSettings::new();
    for change in changes {
        if change.kind == Kind::Removed || !effects::is_sysctl(&change.path) {
            continue;
        }
        let text = files::read(new.join(&change.path))?;
        for key in keys(&String::from_utf8_lossy(&text)) {
            if let Some(value) = value(proc_sys, &key) {
                settings.insert(key, value);
            }
        }
    }
    Ok(settings)
}

/// Writes the values to the kernel, and returns the settings that have another value afterwards.
pub(super) fn restore(proc_sys: &Path, settings: &KernelSettings) -> Vec<String> {
    let differs = |(key, old): &(&String, &String)| {
        value(proc_sys, key).is_some_and(|present| present != **old)
    };
    // The kernel may refuse a value that conflicts with a setting whose old value has not been
    // restored yet. In this case, the second attempt succeeds.
    for _ in 0..2 {
        for (key, old) in settings.iter().filter(differs) {
            // The kernel refuses some values, such as 0 for vm.dirty_bytes. In a pair of settings,
            // the refused setting gets its old value when the other setting is written. The line
            // break is needed for an empty value, because a write of no bytes has no effect.
            let _ = OpenOptions::new()
                .write(true)
                .open(proc_sys.join(key))
                .and_then(|mut file| file.write_all(format!("{old}\n").as_bytes()));
        }
    }
    let lost = settings.iter().filter(differs);
    lost.map(|(key, _)| key.replace('/', ".")).collect()
}

/// Returns the paths of the settings in a sysctl file. If a setting belongs to one of the
/// [`PAIRS`], also returns the path of the pair's other setting.
fn keys(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']));
    let named = lines.filter_map(|line| Some(path(line.split_once('=')?.0.trim())));
    let mut keys: Vec<String> = named.collect();
    for (one, other) in PAIRS {
        if keys.iter().any(|key| key == one || key == other) {
            keys.extend([one.to_owned(), other.to_owned()]);
        }
    }
    keys.retain(|key| {
        Path::new(key)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
    });
    keys
}

/// Returns the path of a setting. If the first separator in the key is a dot, every dot separates
/// two folders, and a slash stands for a dot in a folder's name (systemd 219, sysctl-util.c,
/// sysctl_normalize).
fn path(key: &str) -> String {
    let swapped = |separator| match separator {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    match key.find(['.', '/']) {
        Some(at) if key[at..].starts_with('.') => key.chars().map(swapped).collect(),
        _ => key.to_owned(),
    }
}

fn value(proc_sys: &Path, key: &str) -> Option<String> {
    let bytes = files::read(proc_sys.join(key)).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::test_root::is_root;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn a_setting_that_only_the_new_image_contains_gets_its_old_value_again() {
        let folder = tempfile::tempdir().unwrap();
        let (kernel, new) = (folder.path().join("kernel"), folder.path().join("new"));
        let before = [
            ("net/ipv4/ip_local_reserved_ports", "\n"),
            ("net/ipv4/tcp_keepalive_time", "7200\n"),
            ("net/ipv4/tcp_rmem", "4096\t87380\t6291456\n"),
            ("net/ipv4/conf/eth0.5/forwarding", "0\n"),
            ("vm/dirty_bytes", "0\n"),
            ("vm/dirty_ratio", "20\n"),
            ("vm/swappiness", "60\n"),
        ];
        write(&kernel, &before);
        let text = "# vm.laptop_mode = 1\nnet.ipv4.tcp_keepalive_time=611\n\
                    net/ipv4/tcp_rmem = 1 2 3\nnet.ipv4.ip_local_reserved_ports = 2379-2381\nnet.ipv4.conf.eth0/5.forwarding = 1\n\
                    vm.dirty_bytes = 1000\nvm.unknown = 1\n../new/etc/sysctl.d/95-etcd.conf = 1\n";
        write(
            &new,
            &[
                ("etc/sysctl.d/95-etcd.conf", text),
                ("etc/other", "vm.swappiness = 1\n"),
            ],
        );
        let change = |path: &str, kind| FileChange {
            path: path.to_owned(),
            kind,
        };
        let changes = [
            change("etc/other", Kind::Replaced),
            change("etc/sysctl.d/95-etcd.conf", Kind::Added),
            change("etc/sysctl.d/96-own.conf", Kind::Removed),
        ];
        let settings = current(&kernel, &changes, &new).unwrap();
        let known: Vec<_> = settings.keys().map(String::as_str).collect();
        let expected = before.map(|(key, _)| key);
        let expected: Vec<_> = expected
            .into_iter()
            .filter(|key| *key != "vm/swappiness")
            .collect();
        let mut sorted = expected.clone();
        sorted.sort_unstable();
        assert_eq!(known, sorted);
        write(
            &kernel,
            &expected.iter().map(|key| (*key, "1\n")).collect::<Vec<_>>(),
        );
        write(&kernel, &[("vm/swappiness", "1\n")]);
        assert_eq!(restore(&kernel, &settings), [""; 0]);
        for (key, value) in before {
            let expected = if key == "vm/swappiness" {
                "1"
            } else {
                value.trim_end()
            };
            let present = super::value(&kernel, key).unwrap();
            assert_eq!(present.trim_end(), expected, "{key}");
        }
    }

    #[test]
    fn a_setting_of_the_running_kernel_is_restored() {
        if !is_root("a_setting_of_the_running_kernel_is_restored") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = "etc/sysctl.d/95-etcd.conf";
        write(
            folder.path(),
            &[(
                path,
                "net.ipv4.tcp_keepalive_time = 611\nnet.ipv4.ip_local_reserved_ports = 2379\n",
            )],
        );
        let changes = [FileChange {
            path: path.to_owned(),
            kind: Kind::Added,
        }];
        let (key, ports) = (
            "net/ipv4/tcp_keepalive_time",
            "net/ipv4/ip_local_reserved_ports",
        );
        let change_and_restore = || {
            // The network settings of this thread are separate from those of the machine.
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let kernel = Path::new(PROC_SYS);
            let before = super::value(kernel, key).unwrap();
            let settings = current(kernel, &changes, folder.path()).unwrap();
            assert_eq!(super::value(kernel, ports).unwrap(), "");
            fs::write(kernel.join(key), "611").unwrap();
            fs::write(kernel.join(ports), "2379").unwrap();
            assert_eq!(super::value(kernel, key).unwrap(), "611");
            assert_eq!(restore(kernel, &settings), [""; 0]);
            assert_eq!(super::value(kernel, key).unwrap(), before);
            assert_eq!(super::value(kernel, ports).unwrap(), "");
        };
        std::thread::scope(|scope| scope.spawn(change_and_restore).join().unwrap());
    }

    #[test]
    fn settings_that_keep_another_value_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let lost = KernelSettings::from([("gone".to_owned(), "1".to_owned())]);
        assert_eq!(
            restore(folder.path(), &lost),
            [""; 0],
            "the kernel has no such setting"
        );
        let lost = KernelSettings::from([("kernel/ostype".to_owned(), "other".to_owned())]);
        assert_eq!(restore(Path::new(PROC_SYS), &lost), ["kernel.ostype"]);
    }
}
