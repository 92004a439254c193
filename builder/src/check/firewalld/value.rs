//! Parses ports, protocols and addresses as firewalld 0.6.3 does (src/firewall/functions.py).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::check::python::{any_radix, decimal};
use crate::check::tables;

/// Returns the lowest and the highest port of a range. For a single port, both numbers are the
/// same.
pub(super) fn ports(text: &str) -> Option<(i64, i64)> {
    let id = |text: &str| {
        let text = text.trim();
        decimal(text).or_else(|| {
            tables::PORT_NAMES
                .get(text)
                .and_then(|port| port.parse().ok())
        })
    };
    let valid = |text: &str| id(text).filter(|id| (0..=65535).contains(id));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits(text) {
        return valid(text).map(|port| (port, port));
    }
    // A name may contain a dash, so firewalld tries every way to split the string in two. Exactly
    // one way must be valid.
    let parts: Vec<&str> = text.split('-').collect();
    let mut found = Vec::new();
    for at in (1..=parts.len()).rev() {
        let (first, second) = (valid(&parts[..at].join("-")), parts[at..].join("-"));
        match (first, second.as_str()) {
            (Some(port), "") => {
                found.push((port, port));
                if at == parts.len() {
                    break;
                }
            }
            (Some(one), other) => {
                found.extend(valid(other).map(|other| (one.min(other), one.max(other))));
            }
            (None, _) => {}
        }
    }
    if found.len() == 1 { found.pop() } else { None }
}

/// Converts a port or range to the form LOW-HIGH, so that equal ranges compare as equal.
pub(super) fn port_key(text: &str) -> String {
    ports(text).map_or_else(String::new, |(low, high)| format!("{low}-{high}"))
}

/// The protocols that firewalld accepts together with a port.
pub(super) const TRANSPORTS: [&str; 4] = ["tcp", "udp", "sctp", "dccp"];

pub(super) fn is_protocol(text: &str) -> bool {
    match decimal(text) {
        Some(number) => (0..=255).contains(&number),
        None => tables::PROTOCOLS.contains(text),
    }
}

pub(super) fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

pub(super) fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

/// Returns whether a string is an IPv4 address, with or without a mask.
pub(super) fn is_network4(text: &str) -> bool {
    let Some((address, mask)) = text.split_once('/') else {
        return is_ipv4(text);
    };
    is_ipv4(address)
        && if mask.contains('.') {
            is_ipv4(mask)
        } else {
            bits(mask, 32)
        }
}

/// Returns whether a string is an IPv6 address, with or without a mask.
pub(super) fn is_network6(text: &str) -> bool {
    let Some((address, mask)) = text.split_once('/') else {
        return is_ipv6(text);
    };
    is_ipv6(address) && bits(mask, 128)
}

/// Returns the first and the last address of an IPv4 address, network or range.
pub(super) fn range4(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().ok()?, last.parse().ok()?);
        return Some((first.min(last), first.max(last)));
    }
    if !is_network4(text) {
        return None;
    }
    let (address, mask) = text.split_once('/').unwrap_or((text, "32"));
    let address = address.parse::<Ipv4Addr>().ok()?.to_bits();
    let mask = if let Ok(mask) = mask.parse::<Ipv4Addr>() {
        mask.to_bits()
    } else {
        let bits = u32::try_from(decimal(mask)?).ok()?;
        u32::MAX.checked_shl(32 - bits).unwrap_or(0)
    };
    Some(((address & mask).into(), (address | !mask).into()))
}

fn bits(mask: &str, most: i64) -> bool {
    decimal(mask).is_some_and(|bits| (0..=most).contains(&bits))
}

pub(super) fn is_network(family: &str, text: &str) -> bool {
    match family {
        "ipv4" => is_network4(text),
        "ipv6" => is_network6(text),
        _ => false,
    }
}

pub(super) fn is_mac(text: &str) -> bool {
    text.len() == 17
        && text.bytes().enumerate().all(|(at, byte)| {
            if at % 3 == 2 {
                byte == b':'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}

pub(super) fn is_interface(text: &str) -> bool {
    (1..=16).contains(&text.chars().count()) && !text.contains([' ', '/', '!', '*'])
}

/// Returns whether a string is an unsigned 32-bit number.
pub(super) fn is_uint32(text: &str) -> bool {
    any_radix(text).is_some_and(|number| (0..=i64::from(u32::MAX)).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_a_network_and_a_range_are_ranges_of_addresses() {
        for (text, range) in [
            ("10.0.0.7", Some(([10, 0, 0, 7], [10, 0, 0, 7]))),
            ("10.0.0.7/24", Some(([10, 0, 0, 0], [10, 0, 0, 255]))),
            (
                "10.0.0.7/255.255.0.0",
                Some(([10, 0, 0, 0], [10, 0, 255, 255])),
            ),
            ("10.0.0.7/0", Some(([0, 0, 0, 0], [255, 255, 255, 255]))),
            ("10.0.1.0-10.0.0.9", Some(([10, 0, 0, 9], [10, 0, 1, 0]))),
            ("10.0.0.7/33", None),
            ("2001:db8::1", None),
            ("52:54:00:00:00:11", None),
        ] {
            let expected = range.map(|(first, last)| (first.into(), last.into()));
            assert_eq!(range4(text), expected, "{text}");
        }
    }

    /// The expected ranges are the results of firewalld 0.6.3's functions.py under Python 2.7.
    #[test]
    fn ports_are_read_as_firewalld_reads_them() {
        for (text, range) in [
            ("80", Some((80, 80))),
            ("0", Some((0, 0))),
            ("65535", Some((65535, 65535))),
            ("65536", None),
            ("80-90", Some((80, 90))),
            ("90-80", Some((80, 90))),
            ("80-80", Some((80, 80))),
            ("80-", Some((80, 80))),
            ("-80", None),
            ("80-70000", None),
            ("80-90-100", None),
            (" 80 ", Some((80, 80))),
            ("+80", Some((80, 80))),
            ("80,81", None),
            ("80:81", None),
            ("x", None),
            ("", None),
            ("ssh", Some((22, 22))),
            ("ssh-http", Some((22, 80))),
            ("http-alt", Some((8080, 8080))),
        ] {
            assert_eq!(ports(text), range, "{text}");
        }
    }
}
