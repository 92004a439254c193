//! sysctl.d files, as systemd 219 applies them on kernel 3.10.0-1160 (src/sysctl/sysctl.c).

use std::collections::BTreeMap;

use recipes::diagnostic::nearest;

use super::File;
use super::finding::Finding;
use super::known;
use super::text::Part;

/// etcd's ports: clients, peers, metrics.
const ETCD_PORTS: std::ops::RangeInclusive<u64> = 2379..=2381;

/// Keys that are there once a module is loaded; their names cannot be checked.
const MODULES: [(&str, &str); 7] = [
    ("net.bridge.", "br_netfilter"),
    ("net.netfilter.", "nf_conntrack"),
    ("net.nf_conntrack_", "nf_conntrack"),
    ("fs.xfs.", "xfs"),
    ("fs.nfs.", "nfs"),
    ("sunrpc.", "sunrpc"),
    ("dev.cdrom.", "cdrom"),
];

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
        if let Some(finding) = unknown(setting) {
            out.push(finding);
            continue;
        }
        out.extend(value(setting));
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

/// `net.ipv4.conf.eth0.x` is `net.ipv4.conf.all.x` in the table.
fn in_table(key: &str) -> Option<String> {
    if known::SYSCTL_KEYS.contains(key) {
        return Some(key.to_owned());
    }
    let parts: Vec<&str> = key.split('.').collect();
    match parts[..] {
        ["net", version @ ("ipv4" | "ipv6"), "conf", _, member] => {
            Some(format!("net.{version}.conf.all.{member}")).filter(|key| known::SYSCTL_KEYS.contains(key.as_str()))
        }
        ["net", "ipv4" | "ipv6", "neigh", _, _] | ["kernel", "sched_domain", ..] => Some(key.to_owned()),
        _ => None,
    }
}

fn unknown(setting: &Setting<'_>) -> Option<Finding> {
    let (key, place) = (setting.key.as_str(), setting.place);
    if key.starts_with('-') {
        return Some(
            Finding::error("sysctl/dash", place.cut(0..1), "219 does not know a - before a key")
                .does("taken for a part of the name, so no such key: skipped in silence")
                .instead("take it away: a key that is not there does no harm"),
        );
    }
    if key.contains(['*', '?', '[']) {
        return Some(
            Finding::error("sysctl/glob", place, "219 does not know patterns in a key")
                .does("no key has that name: skipped in silence")
                .instead("write one line for each key; `all` and `default` stand for the network's interfaces"),
        );
    }
    if in_table(key).is_some() {
        return None;
    }
    if let Some((_, module)) = MODULES.iter().find(|(prefix, _)| key.starts_with(prefix)) {
        return Some(
            Finding::warning(
                "sysctl/module",
                place,
                format!("{key} is there only while the module {module} is loaded"),
            )
            .does("skipped in silence where the module is loaded later")
            .instead(format!("load it before: a line `{module}` in /etc/modules-load.d/{module}.conf")),
        );
    }
    let finding = Finding::error("sysctl/unknown-key", place, format!("kernel 3.10.0-1160 has no key {key}"));
    let finding = finding.does("skipped in silence");
    Some(match (known::SYSCTL_ABSENT.get(key), meant(key)) {
        (Some(why), _) => finding.instead(*why),
        (None, Some(near)) => finding.instead(format!("did you mean {near}?")),
        (None, None) => finding.instead("take it away"),
    })
}

/// The key that was probably meant: a sibling with a name like it, or the same name elsewhere.
fn meant(key: &str) -> Option<&'static str> {
    let (parent, name) = key.rsplit_once('.')?;
    let split = |known: &&'static str| known.rsplit_once('.').map(|(parent, name)| (parent, name, *known));
    let all: Vec<_> = known::SYSCTL_KEYS.iter().filter_map(split).collect();
    let siblings = all.iter().filter(|(other, ..)| *other == parent);
    let near = nearest(name, siblings.clone().map(|(_, name, _)| *name));
    let sibling = siblings.clone().find(|(_, name, _)| Some(*name) == near);
    let elsewhere = || all.iter().find(|(_, other, _)| *other == name);
    sibling.or_else(elsewhere).map(|(.., known)| *known)
}

fn value(setting: &Setting<'_>) -> Option<Finding> {
    let value = setting.value;
    let wrong = |message: String, does: &str, expected: &str| {
        Some(Finding::error("sysctl/value", value, message).does(does).instead(format!("expected {expected}")))
    };
    if value.text.is_empty() {
        return wrong(format!("{} has no value", setting.key), "the kernel refuses it", "a value behind the =");
    }
    let table = in_table(&setting.key)?;
    let form = known::SYSCTL_FORMS.get(table.as_str()).copied();
    if form == Some("text") {
        return text_value(setting);
    }
    if let Some(at) = value.text.find(['#', ';']) {
        let place = value.from(at);
        let finding = Finding::error("sysctl/comment-behind", place, "there are no comments behind a value");
        return Some(
            finding
                .does("it is written into the key with the value, and the kernel refuses both")
                .instead("move it to a line of its own"),
        );
    }
    if form == Some("ports") {
        return (ports(value.text).is_none()).then_some(()).and_then(|()| {
            wrong("this is no list of ports".into(), "the kernel refuses it", "ports and ranges, as in 2379-2381,10250")
        });
    }
    let numbers: Option<Vec<i64>> = value.words().map(|word| word.text.parse().ok()).collect();
    let Some(numbers) = numbers else {
        return wrong(
            format!("{} takes numbers", setting.key),
            "the kernel refuses it",
            "whole numbers, without units",
        );
    };
    if form == Some("range") && !matches!(numbers[..], [low, high] if 0 < low && low < high && high <= 65535) {
        return wrong(
            "this is no range of ports".into(),
            "the kernel refuses it",
            "two ports, the second above the first",
        );
    }
    if let Some(count) = form.and_then(|form| form.strip_prefix("rising ")?.parse::<usize>().ok()) {
        if numbers.len() != count {
            return wrong(
                format!("{} takes {count} numbers, here are {}", setting.key, numbers.len()),
                "the numbers that are missing stay as they were",
                &format!("{count} numbers"),
            );
        }
        if !numbers.is_sorted() {
            let message = format!("the numbers of {} do not rise", setting.key);
            let finding = Finding::warning("sysctl/not-rising", value, message);
            return Some(
                finding
                    .does("the kernel takes them as they are: what lies between them never happens")
                    .instead("write low, middle, high"),
            );
        }
    } else if let Some((low, high)) = form.and_then(|form| form.split_once(':')) {
        let bounds = low.parse::<i64>().ok()?..=high.parse().ok()?;
        if numbers.len() != 1 || !bounds.contains(&numbers[0]) {
            return wrong(
                format!("{} = {} is out of bounds", setting.key, value.text),
                "the kernel refuses it",
                &format!("{low} to {high}"),
            );
        }
    }
    None
}

fn text_value(setting: &Setting<'_>) -> Option<Finding> {
    let (key, value) = (setting.key.as_str(), setting.value);
    let missing = |what: &str, instead: &str| {
        Some(
            Finding::error("sysctl/value", value, format!("kernel 3.10 has no {what}"))
                .does("the kernel refuses it")
                .instead(instead),
        )
    };
    match (key, value.text) {
        ("net.ipv4.tcp_congestion_control", "bbr" | "bbr2") => missing("BBR", "leave it at cubic"),
        ("net.core.default_qdisc", "cake" | "fq_pie") => {
            missing("such queue", "leave it at pfifo_fast, or write fq or fq_codel")
        }
        _ => None,
    }
}

fn ports(text: &str) -> Option<Vec<(u64, u64)>> {
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        (low <= high && high <= 65535).then_some((low, high))
    };
    text.split(',').map(range).collect()
}

fn swallows_ports(range: &Setting<'_>, reserved: Option<&Setting<'_>>) -> Option<Finding> {
    let bounds: Vec<u64> = range.value.words().filter_map(|word| word.text.parse().ok()).collect();
    let [low, high] = bounds[..] else { return None };
    let kept = reserved.and_then(|setting| ports(setting.value.text)).unwrap_or_default();
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
