//! Checks sysctl.d files as systemd 219 applies them on kernel 3.10.0-1160 (src/sysctl/sysctl.c).

mod key;
mod setting;
mod value;

use std::collections::BTreeMap;

use self::setting::{Setting, read};
use super::file::File;
use super::finding::Finding;
use super::masked::masks;
use super::tables;
use crate::tuning::Place;

/// etcd's ports for clients, peers and metrics.
const ETCD_PORTS: std::ops::RangeInclusive<u64> = 2379..=2381;

/// Checks one file.
pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let settings = read(text, &mut out);
    let mut seen: BTreeMap<&str, &Setting<'_>> = BTreeMap::new();
    for setting in &settings {
        if let Some(finding) = key::unknown(setting) {
            out.push(finding);
            continue;
        }
        let wrong_value = value::check(setting);
        if wrong_value.is_none() && setting.key == "kernel.modules_disabled" {
            out.push(disables_modules(setting));
        }
        out.extend(wrong_value);
        if let Some(first) = seen.insert(&setting.key, setting) {
            let message = format!("{} is set twice in this file", setting.key);
            let finding = if first.value.text == setting.value.text {
                Finding::warning("sysctl/twice", setting.span, message)
                    .effect("both lines set the same value")
            } else {
                Finding::warning("sysctl/twice", setting.span, message).effect(format!(
                    "this line replaces the earlier value, {}",
                    first.value.text
                ))
            };
            out.push(finding.fix("remove one of the lines"));
        }
    }
    let number = |key: &str| {
        seen.get(key)
            .and_then(|setting| setting.value.text.parse::<u64>().ok())
    };
    if let (Some(ratio), Some(background)) = (
        number("vm.dirty_ratio"),
        number("vm.dirty_background_ratio"),
    ) && background >= ratio
        && ratio > 0
    {
        let span = seen["vm.dirty_background_ratio"].value;
        let message = format!(
            "vm.dirty_background_ratio = {background} is not below vm.dirty_ratio = {ratio}"
        );
        out.push(
            Finding::warning("sysctl/dirty", span, message)
                .effect("the kernel uses half of vm.dirty_ratio instead")
                .fix("set vm.dirty_background_ratio below vm.dirty_ratio"),
        );
    }
    if let Some(setting) = seen.get("net.ipv4.ip_local_port_range") {
        out.extend(swallows_ports(
            setting,
            seen.get("net.ipv4.ip_local_reserved_ports").copied(),
        ));
    }
    out
}

/// Returns an error about `kernel.modules_disabled = 1`, which no later setting can undo. firewalld
/// exits if it cannot load nf_conntrack (firewalld 0.6.3, core/fw.py, `_start`). systemd-sysctl
/// applies the settings before firewalld starts.
fn disables_modules(setting: &Setting<'_>) -> Finding {
    Finding::error(
        "sysctl/modules-disabled",
        setting.span,
        "kernel.modules_disabled forbids the loading of kernel modules until the next restart",
    )
    .effect("firewalld cannot load nf_conntrack, and exits without any rules")
    .fix("remove the line")
}

fn swallows_ports(range: &Setting<'_>, reserved: Option<&Setting<'_>>) -> Option<Finding> {
    let bounds: Vec<u64> = range
        .value
        .words()
        .filter_map(|word| word.text.parse().ok())
        .collect();
    let [low, high] = bounds[..] else { return None };
    let kept = reserved
        .and_then(|setting| value::ports(setting.value.text))
        .unwrap_or_default();
    let free = |port: &u64| {
        (low..=high).contains(port)
            && !kept
                .iter()
                .any(|(first, last)| (first..=last).contains(&port))
    };
    let taken: Vec<String> = ETCD_PORTS
        .filter(free)
        .map(|port| port.to_string())
        .collect();
    (!taken.is_empty()).then(|| {
        Finding::warning(
            "sysctl/etcd-ports",
            range.value,
            format!(
                "the local port range includes etcd ports: {}",
                taken.join(", ")
            ),
        )
        .effect("an outgoing connection can occupy one of these ports, and etcd then cannot listen on the port")
        .fix("also write net.ipv4.ip_local_reserved_ports = 2379-2381")
    })
}

/// Returns whether a file contains sysctl settings that are read at boot.
pub(super) fn is_sysctl_file(path: &str) -> bool {
    path == "/etc/sysctl.conf"
        || (path.contains("/sysctl.d/")
            && path
                .rsplit_once('.')
                .is_some_and(|(_, kind)| kind == "conf"))
}

/// Returns advice on how to make systemd read the file `own` after the file `other`. If `other` is
/// /etc/sysctl.conf, no file name helps, because systemd reads that file last. The image's own file
/// cannot be renamed.
fn later_name(own: &str, other: &str) -> String {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    if other == "/etc/sysctl.conf" {
        return "remove the line from /etc/sysctl.conf, or set the key there; systemd 219 reads that file last"
            .to_owned();
    }
    if own == Place::Sysctl.file() {
        return format!(
            "remove the key from {other}, or give that file a name that sorts before {}",
            name(own)
        );
    }
    let (own, other) = (name(own), name(other));
    let bare = own.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    let later = ["95-", "99-zz-", "zz-"].map(|prefix| format!("{prefix}{bare}"));
    match later.iter().find(|name| **name > other) {
        Some(later) => format!("rename {own} to {later}, which sorts after {other}"),
        None => format!(
            "set the key in {other} instead, because no suitable new name for {own} sorts after {other}"
        ),
    }
}

/// Finds settings that a later file replaces or that tuned also sets. systemd reads the files in
/// the order of their names, regardless of their folder, and /etc/sysctl.conf last.
pub(super) fn cross_check(files: &[File<'_>], tuned: bool) -> Vec<(usize, Finding)> {
    let rank = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        (path == "/etc/sysctl.conf", name)
    };
    let mut out = Vec::new();
    let own = files
        .iter()
        .enumerate()
        .filter(|(_, file)| is_sysctl_file(&file.path) && masks(&file.path, files).is_none());
    let settings: Vec<_> = own
        .map(|(index, file)| (index, file, read(file.text, &mut Vec::new())))
        .collect();
    // The last setting of each key: the rank of its file, the path of its file, and its value.
    let mut last: BTreeMap<&str, ((bool, String), &str, &str)> = BTreeMap::new();
    let stock = tables::SYSCTL_STOCK
        .iter()
        .filter(|(file, ..)| masks(file, files).is_none())
        .map(|(file, key, value)| (*key, (rank(file), *file, *value)));
    let own = settings.iter().flat_map(|(_, file, settings)| {
        let of = |value| (rank(&file.path), file.path.as_str(), value);
        settings
            .iter()
            .map(move |own| (own.key.as_str(), of(own.value.text)))
    });
    for (key, setting) in stock.chain(own) {
        if last.get(key).is_none_or(|before| before.0 <= setting.0) {
            last.insert(key, setting);
        }
    }
    for (index, file, settings) in &settings {
        let own = rank(&file.path);
        for setting in settings {
            if let Some((_, other, value)) = last
                .get(setting.key.as_str())
                .filter(|(rank, _, value)| *rank > own && *value != setting.value.text)
            {
                let message = format!("{other} is read later and sets {} to {value}", setting.key);
                out.push((
                    *index,
                    Finding::warning("sysctl/overridden", setting.span, message)
                        .effect("the later value replaces this value")
                        .fix(later_name(&file.path, other)),
                ));
            }
            if tuned && tables::SYSCTL_TUNED.contains(setting.key.as_str()) {
                let message = format!("tuned also sets {}", setting.key);
                out.push((
                    *index,
                    Finding::warning("sysctl/tuned", setting.span, message)
                        .effect(
                            "tuned writes its own value, and applies the value from sysctl.d again \
                             only if reapply_sysctl = 1, which is the default",
                        )
                        .fix("leave tuned out, or set the key in your own tuned profile"),
                ));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files<'a>(own: &str, other: &str) -> [File<'a>; 2] {
        let file = |path: &str, text| File {
            shown: path.to_owned(),
            path: path.to_owned(),
            text,
            mode: None,
        };
        [
            file(own, "vm.swappiness = 1\n"),
            file(other, "vm.swappiness = 10\n"),
        ]
    }

    #[test]
    fn the_image_cannot_rename_its_own_file() {
        let files = files("/etc/sysctl.d/95-etcd.conf", "/etc/sysctl.d/99-own.conf");
        let found = cross_check(&files, false);
        let help = found[0].1.diagnostic.help.clone().unwrap();
        assert_eq!(
            help,
            "remove the key from /etc/sysctl.d/99-own.conf, or give that file a name that sorts \
             before 95-etcd.conf"
        );
    }

    #[test]
    fn a_file_renamed_as_advised_is_not_overridden() {
        for (own, other) in [
            ("00-a.conf", "50-b.conf"),
            ("95-own.conf", "96-b.conf"),
            ("a.conf", "b.conf"),
            ("99-a.conf", "99-b.conf"),
        ] {
            let (own, other) = (
                format!("/etc/sysctl.d/{own}"),
                format!("/usr/lib/sysctl.d/{other}"),
            );
            let found = cross_check(&files(&own, &other), false);
            assert_eq!(found.len(), 1, "{own} {other}");
            let hint = found[0].1.diagnostic.help.clone().unwrap();
            let later = hint
                .split(" to ")
                .nth(1)
                .and_then(|rest| rest.split(',').next())
                .unwrap();
            let moved = files(&format!("/etc/sysctl.d/{later}"), &other);
            let again = cross_check(&moved, false)
                .into_iter()
                .filter(|(index, _)| *index == 0);
            assert_eq!(again.count(), 0, "{hint}");
        }
    }
}
