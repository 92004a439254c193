//! Counts the elements that an entry adds to an ipset (Linux, net/netfilter/ipset/ip_set_hash_*.c).

use std::net::Ipv4Addr;

use super::super::value::{ports, range4};

/// The maximum number of elements of a set without the option maxelem (IPSET_DEFAULT_MAXELEM in
/// linux/netfilter/ipset/ip_set_hash.h).
pub(super) const DEFAULT_MAXIMUM: u64 = 65536;

/// Returns how many elements a valid entry adds to a set of this type.
pub(super) fn count(entry: &str, kind: &str) -> u64 {
    let flags = kind.strip_prefix("hash:").unwrap_or_default().split(',');
    flags
        .zip(entry.split(','))
        .map(|(flag, item)| match flag {
            "ip" => addresses(item),
            "net" => networks(item),
            "port" => numbers(item),
            _ => 1,
        })
        .fold(1, u64::saturating_mul)
}

/// Counts the addresses of an item. The kernel adds each address of an IPv4 network or range.
fn addresses(item: &str) -> u64 {
    range4(item).map_or(1, |(first, last)| {
        u64::from(last.to_bits() - first.to_bits()) + 1
    })
}

/// Counts the networks of an item. The kernel splits an IPv4 range into networks.
fn networks(item: &str) -> u64 {
    let range = item.contains('-').then(|| range4(item)).flatten();
    range.map_or(1, |(first, last)| split(first, last))
}

/// Counts the networks into which a range is split: each network is the largest one that begins
/// directly after the previous network and ends within the range.
fn split(first: Ipv4Addr, last: Ipv4Addr) -> u64 {
    let (mut next, end) = (u64::from(first.to_bits()), u64::from(last.to_bits()) + 1);
    let mut count = 0;
    while next < end {
        let aligned = if next == 0 {
            u32::BITS
        } else {
            next.trailing_zeros()
        };
        let fitting = (end - next).ilog2();
        next += 1 << aligned.min(fitting);
        count += 1;
    }
    count
}

/// Counts the ports of an item. An item whose protocol has no ports counts as one.
fn numbers(item: &str) -> u64 {
    let port = match item.split_once(':') {
        Some(("tcp" | "sctp" | "udp" | "udplite", port)) => port,
        Some(_) => return 1,
        None => item,
    };
    ports(port).map_or(1, |(low, high)| low.abs_diff(high) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_each_network_and_each_port_is_an_element() {
        for (kind, entry, expected) in [
            ("hash:ip", "10.0.0.1", 1),
            ("hash:ip", "10.0.0.0/16", 65536),
            ("hash:ip", "10.0.0.4-10.0.0.1", 4),
            ("hash:ip", "2001:db8::1", 1),
            ("hash:ip,port", "10.0.0.0/30,tcp:1-249", 996),
            ("hash:ip,port", "10.0.0.0/31,icmp:8/0", 2),
            ("hash:ip,port,ip", "10.0.0.1,80,10.0.0.2", 1),
            (
                "hash:ip,port,net",
                "10.0.0.1-10.0.0.2,udp:1-3,10.0.0.0/8",
                6,
            ),
            ("hash:ip,mark", "10.0.0.0/29,0x1", 8),
            ("hash:net", "10.0.0.0/8", 1),
            // 10.0.0.1/32, 10.0.0.2/31
            ("hash:net", "10.0.0.1-10.0.0.3", 2),
            ("hash:net", "0.0.0.0-255.255.255.255", 1),
            ("hash:net,iface", "10.0.0.0/8,eth0", 1),
            ("hash:mac", "52:54:00:00:00:11", 1),
        ] {
            assert_eq!(count(entry, kind), expected, "{kind} {entry}");
        }
    }
}
