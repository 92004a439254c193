//! Checks firewalld.conf (firewalld 0.6.3, src/firewall/core/io/firewalld_conf.py). Red Hat
//! back-ported AllowZoneDrifting (Red Hat article 4855631).

use std::collections::BTreeSet;

use recipes::diagnostic::nearest;

use crate::check::finding::Finding;
use crate::check::python::decimal;
use crate::check::text::TextSpan;

/// The keys, each with its possible values. Of the listed values, only those of LogDenied are
/// case-sensitive.
const KEYS: [(&str, &str); 10] = [
    ("DefaultZone", ""),
    ("MinimalMark", ""),
    ("CleanupOnExit", "yes no true false"),
    ("Lockdown", "yes no true false"),
    ("IPv6_rpfilter", "yes no true false"),
    ("IndividualCalls", "yes no true false"),
    ("LogDenied", "off all unicast broadcast multicast"),
    ("AutomaticHelpers", "yes no system"),
    ("FirewallBackend", "iptables nftables"),
    ("AllowZoneDrifting", "yes no"),
];

/// Checks the file.
pub(in crate::check) fn conf(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut seen = BTreeSet::new();
    for line in TextSpan::whole(text).lines().map(TextSpan::trim) {
        if line.text.is_empty() || line.text.starts_with(['#', ';']) {
            continue;
        }
        let pair = line
            .split_once('=')
            .filter(|(_, value)| !value.text.contains('='));
        let Some((key, value)) = pair.map(|(key, value)| (key.trim(), value.trim())) else {
            out.push(
                wrong(line, "the line does not have the form KEY=VALUE").fix("write KEY=VALUE"),
            );
            continue;
        };
        let Some((name, words)) = KEYS.iter().find(|(known, _)| *known == key.text) else {
            let finding = wrong(key, format!("firewalld 0.6.3 has no key {}", key.text));
            out.push(match nearest(key.text, KEYS.map(|(known, _)| known)) {
                Some(near) => finding.fix(format!("did you mean {near}?")),
                None => {
                    finding.fix("remove the key; a later release added it, or it is misspelled")
                }
            });
            continue;
        };
        if value.text.is_empty() {
            out.push(wrong(line, format!("{name} has no value")).fix("write a value after the ="));
        } else if !seen.insert(*name) {
            out.push(wrong(line, format!("{name} is already set")).fix("remove it"));
        } else {
            out.extend(value_of(name, words, value));
        }
    }
    for (missing, does) in [
        ("DefaultZone", "firewalld uses the public zone"),
        (
            "MinimalMark",
            "firewalld cannot read the file, and uses its own defaults for all settings",
        ),
    ] {
        if !seen.contains(missing) {
            let finding = Finding::error("firewalld/conf", 0..0, format!("{missing} is missing"))
                .effect(does);
            out.push(finding.fix(if missing == "DefaultZone" {
                "add DefaultZone="
            } else {
                "add MinimalMark=100"
            }));
        }
    }
    out
}

fn wrong(span: TextSpan<'_>, message: impl Into<String>) -> Finding {
    Finding::error("firewalld/conf", span, message).effect("firewalld ignores the line")
}

fn value_of(name: &str, words: &str, value: TextSpan<'_>) -> Option<Finding> {
    let known = |text: &str| words.split(' ').any(|word| word == text);
    let (good, expected) = match name {
        "DefaultZone" => (true, String::new()),
        "MinimalMark" => (decimal(value.text).is_some(), "a whole number".to_owned()),
        "LogDenied" => (
            known(value.text),
            format!("one of: {}", words.replace(' ', ", ")),
        ),
        _ => (
            known(&value.text.to_lowercase()),
            format!("one of: {}", words.replace(' ', ", ")),
        ),
    };
    let message = format!("bad value for {name}: `{}`", value.text);
    let finding = Finding::error("firewalld/conf", value, message);
    (!good).then(|| {
        finding
            .effect("firewalld uses the default")
            .fix(format!("expected {expected}"))
    })
}
