//! Parses socket addresses (src/shared/socket-util.c).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::number;

/// The kind of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check) enum Family {
    /// IPv4 or IPv6.
    Internet,
    /// A path, or an abstract name after an @.
    Unix,
}

/// The fault in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check) enum AddressError {
    /// The address has an invalid syntax.
    Syntax,
    /// The address names an interface, which must exist when systemd reads the unit.
    Interface,
}

fn port(text: &str) -> Result<Family, AddressError> {
    let number = number::unsigned(text).filter(|port| (1..=0xffff).contains(port));
    number.map(|_| Family::Internet).ok_or(AddressError::Syntax)
}

/// Parses a socket address (`socket_address_parse`).
pub(in crate::check) fn parse(text: &str) -> Result<Family, AddressError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or(AddressError::Syntax)?;
        address
            .parse::<Ipv6Addr>()
            .map_err(|_| AddressError::Syntax)?;
        return port(rest.strip_prefix(':').ok_or(AddressError::Syntax)?);
    }
    if text.starts_with('/') {
        return (text.len() < 108)
            .then_some(Family::Unix)
            .ok_or(AddressError::Syntax);
    }
    if let Some(name) = text.strip_prefix('@') {
        return (name.len() < 107)
            .then_some(Family::Unix)
            .ok_or(AddressError::Syntax);
    }
    let Some((host, number)) = text.split_once(':') else {
        return port(text);
    };
    let family = port(number)?;
    match host {
        "lo" => Ok(family),
        _ if host.parse::<Ipv4Addr>().is_ok() => Ok(family),
        _ if host.is_empty() || host.len() > 15 || host.contains([' ', '*', '.']) => {
            Err(AddressError::Syntax)
        }
        _ => Err(AddressError::Interface),
    }
}

const NETLINK: [&str; 18] = [
    "route",
    "firewall",
    "inet-diag",
    "nflog",
    "xfrm",
    "selinux",
    "iscsi",
    "audit",
    "fib-lookup",
    "connector",
    "netfilter",
    "ip6-fw",
    "dnrtmsg",
    "kobject-uevent",
    "generic",
    "scsitransport",
    "ecryptfs",
    "rdma",
];

/// Returns whether a string is a netlink address: a family by name or number, optionally followed
/// by a group, which systemd 219 does not check (`socket_address_parse_netlink`).
pub(in crate::check) fn is_netlink(text: &str) -> bool {
    let family = text
        .split(|c: char| c.is_ascii_whitespace() || c == '\x0b')
        .find(|word| !word.is_empty());
    let number = |name| number::unsigned(name).is_some_and(|number| i32::try_from(number).is_ok());
    family.is_some_and(|name| NETLINK.contains(&name) || number(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_systemd_219_reads_them() {
        for text in ["80", "0x50", "127.0.0.1:80", "[::1]:80", "lo:80"] {
            assert_eq!(parse(text), Ok(Family::Internet), "{text}");
        }
        assert_eq!(
            (parse("/run/x"), parse("@x")),
            (Ok(Family::Unix), Ok(Family::Unix))
        );
        for text in [
            "",
            "0",
            "65536",
            "*:80",
            "127.0.0.1",
            "[::1]",
            "127.0.0.01:80",
            "a b:80",
            "::1:80",
            "x",
        ] {
            assert_eq!(parse(text), Err(AddressError::Syntax), "{text}");
        }
        assert_eq!(parse("eth0:80"), Err(AddressError::Interface));
        assert!(
            ["route", "audit 1", "7", "route x"]
                .into_iter()
                .all(is_netlink)
        );
        assert!(!["", "x", "-1", "Route"].into_iter().any(is_netlink));
    }
}
