//! Faults between two hosts, as nftables rules on the bridge.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The loss of a share of the packets in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The sender of the packets.
    pub from: Ipv4Addr,
    /// The receiver of the packets.
    pub to: Ipv4Addr,
    /// The percentage of lost packets. 100 or more means that all packets are lost.
    pub percent: u8,
}

/// Two hosts that cannot exchange packets, not even ARP, as if each were in a separate network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition(pub String, pub String);

/// Returns the complete table for nft, which replaces the existing table. The table is of the
/// bridge family, because without br_netfilter, an `inet` table does not process the packets
/// between hosts on the same bridge.
pub(super) fn table(faults: &[Fault], walls: &[Partition]) -> String {
    let mut text = String::from(
        "table bridge bed\ndelete table bridge bed\ntable bridge bed {\n chain forward {\n  \
         type filter hook forward priority 0\n",
    );
    for Fault { from, to, percent } in faults {
        let _ = write!(text, "  ip saddr {from} ip daddr {to} ");
        if *percent < 100 {
            let _ = write!(text, "numgen random mod 100 < {percent} ");
        }
        text.push_str("drop\n");
    }
    for Partition(one, other) in walls {
        for (from, to) in [(one, other), (other, one)] {
            let _ = writeln!(text, "  iifname {from} oifname {to} drop");
        }
    }
    text.push_str(" }\n}\n");
    text
}

/// Returns a table that drops only the first ARP probe ("who has this address") that a machine
/// sends before it uses the address. Such a probe does not have a sender address yet. The probe
/// consists of two packets: one is answered by unicast, and the other by broadcast. The table
/// counts the sent and the dropped packets.
pub(super) fn lose_first_probe(host: &str) -> String {
    format!(
        "table bridge question {{\n chain forward {{\n  type filter hook forward priority 0\n  iifname {host} arp operation \
         request arp saddr ip 0.0.0.0 counter numgen inc mod 65536 < 2 counter drop\n }}\n}}\n"
    )
}

/// Returns the packet counts that nft shows for a table's counters, in order.
pub(super) fn counted(listed: &str) -> Vec<u64> {
    let words: Vec<&str> = listed.split_whitespace().collect();
    words
        .windows(3)
        .filter(|three| three[..2] == ["counter", "packets"])
        .filter_map(|three| three[2].parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nft_counters_are_read_in_order() {
        let listed = "  iifname \"a\" counter packets 3 bytes 84 numgen inc mod 65536 0 counter packets 1 bytes 28 drop\n";
        assert_eq!(counted(listed), [3, 1]);
    }

    #[test]
    fn partial_loss_is_random_and_total_loss_is_not() {
        let [from, to] = [
            Ipv4Addr::new(10, 101, 15, 101),
            Ipv4Addr::new(10, 101, 15, 102),
        ];
        let all = table(
            &[Fault {
                from,
                to,
                percent: 100,
            }],
            &[],
        );
        assert!(
            all.contains("ip saddr 10.101.15.101 ip daddr 10.101.15.102 drop\n"),
            "{all}"
        );
        let some = table(
            &[Fault {
                from,
                to,
                percent: 10,
            }],
            &[],
        );
        assert!(some.contains("numgen random mod 100 < 10 drop\n"), "{some}");
        let wall = table(&[], &[Partition("a".into(), "b".into())]);
        assert!(
            wall.contains("iifname a oifname b drop\n  iifname b oifname a drop\n"),
            "{wall}"
        );
    }
}
