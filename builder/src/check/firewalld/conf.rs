//! firewalld.conf (firewalld 0.6.3, src/firewall/core/io/firewalld_conf.py; AllowZoneDrifting is Red Hat's back-port, its
//! article 4855631).

use recipes::diagnostic::nearest;

use super::super::finding::Finding;
use super::super::text::Part;

/// What is wrong with it.
pub(in super::super) fn conf(text: &str) -> Vec<Finding> {
    const KEYS: [(&str, &str); 10] = [
        ("DefaultZone", ""),
        ("MinimalMark", ""),
        ("CleanupOnExit", "yes no"),
        ("Lockdown", "yes no"),
        ("IPv6_rpfilter", "yes no"),
        ("IndividualCalls", "yes no"),
        ("LogDenied", "off all unicast broadcast multicast"),
        ("AutomaticHelpers", "yes no system"),
        ("FirewallBackend", "iptables nftables"),
        ("AllowZoneDrifting", "yes no"),
    ];
    let mut out = Vec::new();
    for line in Part::whole(text)
        .lines()
        .map(Part::trim)
        .filter(|line| !line.text.is_empty() && !line.text.starts_with(['#', ';']))
    {
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
            out.push(
                Finding::error("firewalld/conf", line, "not KEY=VALUE").does("ignored").instead("write KEY=VALUE"),
            );
            continue;
        };
        match KEYS.iter().find(|(known, _)| *known == key.text) {
            None => {
                let finding = Finding::error("firewalld/conf", key, format!("firewalld 0.6.3 has no key {}", key.text))
                    .does("ignored");
                out.push(match nearest(key.text, KEYS.map(|(known, _)| known)) {
                    Some(near) => finding.instead(format!("did you mean {near}?")),
                    None => finding.instead("it came later, or is misspelt: take it away"),
                });
            }
            Some((_, words))
                if !words.is_empty() && !words.split(' ').any(|word| word == value.text.to_lowercase()) =>
            {
                out.push(
                    Finding::error("firewalld/conf", value, format!("bad value for {}: `{}`", key.text, value.text))
                        .does("the default is taken")
                        .instead(format!("expected one of: {}", words.replace(' ', ", "))),
                );
            }
            Some(_) => {}
        }
    }
    out
}
