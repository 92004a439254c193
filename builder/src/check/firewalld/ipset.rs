//! Checks IP sets (firewalld 0.6.3, core/io/ipset.py; core/ipset.py, IPSET_TYPES; core/icmp.py).

mod elements;

use std::collections::BTreeMap;
use std::ops::Range;

use super::element::{Element, IGNORED, REFUSED, SeenElements};
use super::reader::Reader;
use super::value::{
    is_interface, is_ipv4, is_ipv6, is_mac, is_network, is_network4, is_protocol, ports,
};
use crate::check::finding::Finding;
use crate::check::python::{decimal, int};

const TYPES: [&str; 11] = [
    "hash:ip",
    "hash:ip,port",
    "hash:ip,port,ip",
    "hash:ip,port,net",
    "hash:ip,mark",
    "hash:net",
    "hash:net,net",
    "hash:net,port",
    "hash:net,port,net",
    "hash:net,iface",
    "hash:mac",
];

/// The names of ICMP types. `ICMP_TYPES` and `ICMPV6_TYPES` contain the types in the form
/// TYPE/CODE.
const ICMP_NAMES: &str = "echo-reply pong network-unreachable host-unreachable protocol-unreachable port-unreachable \
    fragmentation-needed source-route-failed network-unknown host-unknown network-prohibited host-prohibited \
    TOS-network-unreachable TOS-host-unreachable communication-prohibited host-precedence-violation precedence-cutoff \
    source-quench network-redirect host-redirect TOS-network-redirect TOS-host-redirect echo-request ping \
    router-advertisement router-solicitation ttl-zero-during-transit ttl-zero-during-reassembly ip-header-bad \
    required-option-missing timestamp-request timestamp-reply address-mask-request address-mask-reply";
const ICMP_TYPES: &str = "0/0 3/0 3/1 3/2 3/3 3/4 3/5 3/6 3/7 3/9 3/10 3/11 3/12 3/13 3/14 3/15 4/0 5/0 5/1 5/2 5/3 8/0 9/0 \
    10/0 11/0 11/1 12/0 12/1 13/0 14/0 17/0 18/0";
const ICMPV6_TYPES: &str =
    "1/0 1/1 1/3 1/4 2/0 3/0 3/1 4/0 4/1 4/2 128/0 129/0 133/0 134/0 135/0 136/0 137/0";

/// The part of the set that has been read.
#[derive(Debug, Default)]
pub(super) struct IpSet {
    kind: String,
    options: BTreeMap<String, String>,
    /// The entries, and the position of each.
    entries: Vec<(String, Range<usize>)>,
    seen: SeenElements,
}

impl Reader for IpSet {
    fn start(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        match at.name() {
            "ipset" => {
                at.text("type").clone_into(&mut self.kind);
                at.expect("type", |kind| TYPES.contains(&kind), &TYPES.join(", "), out);
            }
            "option" => self.option(at, out),
            _ => {}
        }
    }

    fn end(&mut self, at: &Element<'_>, text: &str, out: &mut Vec<Finding>) {
        if at.name() != "entry" {
            return;
        }
        if self.entries.iter().any(|(known, _)| known == text) {
            out.push(at.duplicate(format!("the entry {text} is already listed")));
        } else {
            self.entries.push((text.to_owned(), at.span.clone()));
        }
    }

    fn finish(&mut self, out: &mut Vec<Finding>) {
        let timed = self
            .options
            .get("timeout")
            .is_some_and(|timeout| timeout != "0");
        if let Some((_, span)) = self.entries.first().filter(|_| timed) {
            out.push(
                Finding::error(
                    "firewalld/entry",
                    span.clone(),
                    "the set has both a timeout and entries",
                )
                .effect("firewalld ignores all entries")
                .fix("remove the timeout, or the entries"),
            );
            return;
        }
        let family = if self
            .options
            .get("family")
            .is_some_and(|family| family == "inet6")
        {
            "ipv6"
        } else {
            "ipv4"
        };
        out.extend(self.overflow(family));
        for (entry, span) in &self.entries {
            if let Err(expected) = entry_fits(entry, &self.kind, family) {
                let message = match self.kind.as_str() {
                    "" => "the set of this entry has no type".to_owned(),
                    kind => format!("`{entry}` is not a valid entry of {kind} for {family}"),
                };
                let finding = Finding::error("firewalld/entry", span.clone(), message);
                out.push(finding.effect(IGNORED).fix(format!("expected {expected}")));
            }
        }
    }
}

impl IpSet {
    /// Returns an error if the entries add more elements than the set can contain.
    fn overflow(&self, family: &str) -> Option<Finding> {
        let maximum = match self.options.get("maxelem") {
            Some(maximum) => u64::try_from(decimal(maximum)?).ok()?,
            None => elements::DEFAULT_MAXIMUM,
        };
        let (mut total, mut adds_many) = (0_u64, false);
        let (_, span) = self.entries.iter().find(|(entry, _)| {
            if entry_fits(entry, &self.kind, family).is_ok() {
                let count = elements::count(entry, &self.kind);
                total = total.saturating_add(count);
                adds_many |= count > 1;
            }
            total > maximum
        })?;
        let message =
            format!("up to this entry, the set has {total} elements, but its maxelem is {maximum}");
        let finding = Finding::error("firewalld/maxelem", span.clone(), message).effect(
            "the kernel refuses the element, and firewalld then loads the rules of no zone",
        );
        Some(finding.fix(if adds_many && self.kind.contains("ip") {
            "use a type with net instead of ip, such as hash:net, or raise maxelem; a set with ip has one element for each address of a network"
        } else {
            "raise maxelem"
        }))
    }

    fn option(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        let (name, value) = (at.text("name"), at.text("value"));
        match name {
            "timeout" | "hashsize" | "maxelem" => {
                at.expect(
                    "value",
                    |text| decimal(text).is_some_and(|number| number >= 0),
                    "a number",
                    out,
                );
            }
            "family" if self.kind == "hash:mac" => {
                out.push(at.misplaced(
                    "a set of type hash:mac cannot have a family",
                    REFUSED,
                    "remove it",
                ));
            }
            "family" => at.expect(
                "value",
                |text| ["inet", "inet6"].contains(&text),
                "inet or inet6",
                out,
            ),
            _ => out.push(at.invalid_value("name", "family, timeout, hashsize or maxelem")),
        }
        self.seen.add(at, format!("the option {name}"), out);
        self.options
            .entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }
}

/// Checks that an entry is valid in a set of this type. The error describes the expected text.
fn entry_fits(entry: &str, kind: &str, family: &str) -> Result<(), String> {
    let flags: Vec<&str> = kind
        .strip_prefix("hash:")
        .unwrap_or_default()
        .split(',')
        .collect();
    let items: Vec<&str> = entry.split(',').collect();
    if flags.len() != items.len() || !TYPES.contains(&kind) {
        return Err(if kind.is_empty() {
            "type=\"hash:ip\"".to_owned()
        } else {
            flags.join(",")
        });
    }
    for (at, (flag, item)) in flags.iter().zip(&items).enumerate() {
        let good = match *flag {
            "ip" => ip(item, family, at),
            "net" => net(item, family, at, kind),
            "mac" => is_mac(item) && *item != "00:00:00:00:00:00",
            "port" => port(item, family),
            "mark" => {
                let number = if item.starts_with("0x") {
                    int(item, 16)
                } else {
                    decimal(item)
                };
                number.is_some_and(|number| (0..=i64::from(u32::MAX)).contains(&number))
            }
            "iface" => is_interface(item) && item.chars().count() <= 15,
            _ => false,
        };
        if !good {
            return Err(format!("{flag} instead of `{item}`"));
        }
    }
    Ok(())
}

fn ip(item: &str, family: &str, at: usize) -> bool {
    if item.contains('-') && family == "ipv4" {
        let ends: Vec<&str> = item.split('-').collect();
        return at <= 1 && ends.len() == 2 && ends.into_iter().all(is_ipv4);
    }
    match (family, at) {
        ("ipv6", _) => is_ipv6(item),
        (_, 0) => item != "0.0.0.0" && is_network4(item),
        _ => item != "0.0.0.0" && is_ipv4(item),
    }
}

fn net(item: &str, family: &str, at: usize, kind: &str) -> bool {
    let address = |text: &str| {
        if family == "ipv6" {
            is_ipv6(text)
        } else {
            is_ipv4(text)
        }
    };
    if item.contains('-') {
        let ends: Vec<&str> = item.split('-').collect();
        return ends.len() == 2 && address(ends[0]) && is_network(family, ends[1]);
    }
    let everything =
        item.ends_with("/0") && !(family == "ipv6" && at == 0 && kind == "hash:net,iface");
    !everything && is_network(family, item)
}

fn port(item: &str, family: &str) -> bool {
    let parts: Vec<&str> = item.split(':').collect();
    let has = |list: &str, word: &str| list.split_whitespace().any(|known| known == word);
    match parts[..] {
        [port] => ports(port).is_some(),
        ["icmp", kind] => family == "ipv4" && (has(ICMP_NAMES, kind) || has(ICMP_TYPES, kind)),
        // firewalld looks up an ICMPv6 name in its list of ICMP names.
        ["icmpv6" | "ipv6-icmp", kind] => {
            family == "ipv6" && (has(ICMP_NAMES, kind) || has(ICMPV6_TYPES, kind))
        }
        [protocol, port] => {
            (["tcp", "sctp", "udp", "udplite"].contains(&protocol) || is_protocol(protocol))
                && ports(port).is_some()
        }
        _ => false,
    }
}
