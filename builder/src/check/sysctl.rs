//! sysctl.d files, as systemd 219 applies them on kernel 3.10.0-1160 (src/sysctl/sysctl.c).

mod key;
mod value;

use std::collections::BTreeMap;

use super::File;
use super::finding::Finding;
use super::known;
use super::text::Part;

/// etcd's ports: clients, peers, metrics.
const ETCD_PORTS: std::ops::RangeInclusive<u64> = 2379..=2381;

/// `KEY = VALUE`. The key as it is told in `/proc/sys`, with dots.
#[derive(Debug)]
struct Setting<'a> {
    key: String,
    place: Part<'a>,
    value: Part<'a>,
}

fn read<'a>(text: &'a str, out: &mut Vec<Finding>) -> Vec<Setting<'a>> {
    let mut settings = Vec::new();
    for line in Part::whole(text).lines().map(Part::trim) {
        if line.text.is_empty() || line.text.starts_with(['#', ';']) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            out.push(
                Finding::error("sysctl/no-assignment", line, "neither a comment nor KEY = VALUE")
                    .does("ignored, with an error in the journal")
                    .instead("write KEY = VALUE; there are no continued lines"),
            );
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        // A first separator that is a slash makes slashes the separators and dots a part of names.
        let slashes = key.text.find(['/', '.']).is_some_and(|at| key.text[at..].starts_with('/'));
        let swap = |c| match c {
            '/' => '.',
            '.' => '/',
            c => c,
        };
        let name = if slashes { key.text.chars().map(swap).collect() } else { key.text.to_owned() };
        settings.push(Setting { key: name, place: key, value });
    }
    settings
}

/// What is wrong with one file.
pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let settings = read(text, &mut out);
    let mut seen: BTreeMap<&str, &Setting<'_>> = BTreeMap::new();
    for setting in &settings {
        if let Some(finding) = key::unknown(setting) {
            out.push(finding);
            continue;
        }
        out.extend(value::check(setting));
        if let Some(first) = seen.insert(&setting.key, setting) {
            let message = format!("{} is set twice in this file", setting.key);
            let finding = if first.value.text == setting.value.text {
                Finding::warning("sysctl/twice", setting.place, message).does("to the same value")
            } else {
                Finding::error("sysctl/twice", setting.place, message)
                    .does(format!("the first value, {}, is lost", first.value.text))
            };
            out.push(finding.instead("take one of the lines away"));
        }
    }
    let number = |key: &str| seen.get(key).and_then(|setting| setting.value.text.parse::<u64>().ok());
    if let (Some(ratio), Some(background)) = (number("vm.dirty_ratio"), number("vm.dirty_background_ratio"))
        && background >= ratio
        && ratio > 0
    {
        let place = seen["vm.dirty_background_ratio"].value;
        let message = format!("vm.dirty_background_ratio = {background} is not below vm.dirty_ratio = {ratio}");
        out.push(
            Finding::warning("sysctl/dirty", place, message)
                .does("the kernel takes half of dirty_ratio for it")
                .instead("set it lower"),
        );
    }
    if let Some(setting) = seen.get("net.ipv4.ip_local_port_range") {
        out.extend(swallows_ports(setting, seen.get("net.ipv4.ip_local_reserved_ports").copied()));
    }
    out
}

fn swallows_ports(range: &Setting<'_>, reserved: Option<&Setting<'_>>) -> Option<Finding> {
    let bounds: Vec<u64> = range.value.words().filter_map(|word| word.text.parse().ok()).collect();
    let [low, high] = bounds[..] else { return None };
    let kept = reserved.and_then(|setting| value::ports(setting.value.text)).unwrap_or_default();
    let free =
        |port: &u64| (low..=high).contains(port) && !kept.iter().any(|(first, last)| (first..=last).contains(&port));
    let taken: Vec<String> = ETCD_PORTS.filter(free).map(|port| port.to_string()).collect();
    (!taken.is_empty()).then(|| {
        Finding::warning(
            "sysctl/etcd-ports",
            range.value,
            format!("the local ports include etcd's: {}", taken.join(", ")),
        )
        .does("an outgoing connection can hold the port when etcd wants it")
        .instead("write net.ipv4.ip_local_reserved_ports = 2379-2381 as well")
    })
}

/// Whether a file holds sysctl settings that are read at boot.
pub(super) fn is(path: &str) -> bool {
    path == "/etc/sysctl.conf"
        || (path.contains("/sysctl.d/") && path.rsplit_once('.').is_some_and(|(_, kind)| kind == "conf"))
}

/// What a file sets in vain, because a later one sets it again: in the order of the file names, whatever the folder, and
/// /etc/sysctl.conf last.
pub(super) fn together(files: &[File<'_>], tuned: bool) -> Vec<(usize, Finding)> {
    let rank = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        (path == "/etc/sysctl.conf", name)
    };
    let mut out = Vec::new();
    // Who sets what: the file's rank and name, the key, the value.
    let stock = known::SYSCTL_STOCK.iter().map(|(file, key, value)| (rank(file), *file, (*key).to_owned(), *value));
    let mut set: Vec<_> = stock.collect();
    let own = files.iter().enumerate().filter(|(_, file)| is(&file.path));
    let settings: Vec<_> = own.map(|(index, file)| (index, file, read(file.text, &mut Vec::new()))).collect();
    for (_, file, settings) in &settings {
        set.extend(settings.iter().map(|own| (rank(&file.path), file.path.as_str(), own.key.clone(), own.value.text)));
    }
    for (index, file, settings) in &settings {
        let own = rank(&file.path);
        for setting in settings {
            let later = set.iter().filter(|(rank, _, key, _)| *key == setting.key && *rank > own);
            let last = later.max_by(|a, b| a.0.cmp(&b.0));
            if let Some((_, other, _, value)) = last.filter(|(.., value)| *value != setting.value.text) {
                let message = format!("{} comes later and sets {} to {value}", other, setting.key);
                out.push((
                    *index,
                    Finding::warning("sysctl/overridden", setting.place, message)
                        .does("this value is lost")
                        .instead("give the file a name that sorts behind, as 95-own.conf"),
                ));
            }
            if tuned && known::SYSCTL_TUNED.contains(setting.key.as_str()) {
                let message = format!("tuned sets {} as well", setting.key);
                out.push((
                    *index,
                    Finding::warning("sysctl/tuned", setting.place, message)
                        .does(
                            "tuned writes its own value; sysctl.d wins again only with reapply_sysctl = 1, the default",
                        )
                        .instead("leave tuned out, or write the key into a profile of your own"),
                ));
            }
        }
    }
    out
}
