//! Addresses and networks, with advice about common mistakes.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// The address of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub Ipv4Addr);

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let octet = |part: &str| {
            !part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit())
        };
        let numbers: Vec<&str> = text.split('.').collect();
        Err(if text.contains("://") {
            "expected only an address, as in 10.0.0.11, not a URL"
        } else if text.parse::<Ipv6Addr>().is_ok() {
            "expected an IPv4 address, as in 10.0.0.11: IPv6 is not supported"
        } else if text.contains('/') {
            "expected an address without a prefix, as in 10.0.0.11: the network belongs in `cidr` \
             under [network]"
        } else if text.contains(':') {
            "expected an address without a port, as in 10.0.0.11: etcd's ports are 2379 and 2380"
        } else if numbers.len() == 4 && numbers.iter().all(|part| octet(part)) {
            "expected four numbers from 0 to 255, without leading zeros, as in 10.0.0.11"
        } else if text.contains(|c: char| c.is_ascii_alphabetic()) {
            "expected an IPv4 address, as in 10.0.0.11, not a name"
        } else {
            "expected an IPv4 address, as in 10.0.0.11"
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A network, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkRange(pub Ipv4Net);

impl FromStr for NetworkRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(network) = text.parse() {
            return Ok(Self(network));
        }
        Err(if let Ok(address) = text.parse::<Ipv4Addr>() {
            format!(
                "expected a network with its prefix, as in 10.0.0.0/24, or {address}/32 for this \
                 address alone"
            )
        } else if text.parse::<IpNet>().is_ok() || text.parse::<Ipv6Addr>().is_ok() {
            "expected an IPv4 network, as in 10.0.0.0/24: IPv6 is not supported".to_owned()
        } else {
            "expected an IPv4 network, as in 10.0.0.0/24".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_address_is_explained() {
        for (text, words) in [
            ("10.20.30.11:2379", "without a port"),
            ("https://10.20.30.11", "not a URL"),
            ("fd00::11", "IPv6 is not supported"),
            ("10.20.30.11/24", "without a prefix"),
            ("10.20.30.256", "from 0 to 255"),
            ("10.20.030.1", "leading zeros"),
            ("ns1.example.com", "not a name"),
            ("10.20.30", "expected an IPv4 address"),
        ] {
            assert!(
                text.parse::<Address>().unwrap_err().contains(words),
                "{text}"
            );
        }
        for (text, words) in [
            ("10.20.30.5", "10.20.30.5/32 for this address alone"),
            ("fd00::/8", "IPv6 is not supported"),
            ("all", "as in 10.0.0.0/24"),
        ] {
            assert!(
                text.parse::<NetworkRange>().unwrap_err().contains(words),
                "{text}"
            );
        }
    }
}
