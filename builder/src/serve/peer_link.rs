//! The origin of a request: the facts that the network reveals about the client, regardless of the
//! client's own claims.

use std::io;
use std::net::Ipv4Addr;

use recipes::Mac;

use super::netlink::{Neighbour, Netlink, Route};

// The states in which the entry's card has answered, or an operator has set the entry
// (linux/neighbour.h).
const REACHABLE: u16 = 0x02;
const STALE: u16 = 0x04;
const DELAY: u16 = 0x08;
const PROBE: u16 = 0x10;
const PERMANENT: u16 = 0x80;

/// The connection of a machine to this host, as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerLink {
    /// The machine is on a network of this host, and this network card has the address.
    Card(Mac),
    /// The machine is on a network of this host, but no card has answered for its address.
    NoCard,
    /// The machine is behind a router, or on a link without hardware addresses, so only its address
    /// is known.
    Routed,
    /// The machine is this host.
    Local,
}

/// Queries the kernel about the machine at `peer`, which is connected to the address `local` of
/// this host.
pub(super) fn find(local: Ipv4Addr, peer: Ipv4Addr) -> io::Result<PeerLink> {
    let netlink = Netlink::open()?;
    match netlink.route(local, peer)? {
        Route::Local => Ok(PeerLink::Local),
        Route::Router => Ok(PeerLink::Routed),
        Route::Link(link) if !netlink.has_arp(link)? => Ok(PeerLink::Routed),
        Route::Link(link) => Ok(judge(&netlink.neighbours()?, link, peer)),
    }
}

/// Determines from the neighbour table how the machine with an address on a link with ARP is
/// connected.
fn judge(table: &[Neighbour], link: u32, peer: Ipv4Addr) -> PeerLink {
    // An INCOMPLETE entry has no card. The card of a FAILED entry no longer answers. NOARP does not
    // mean that the machine has answered.
    let known = |entry: &&Neighbour| {
        entry.link == link
            && entry.address == peer
            && entry.state & (REACHABLE | STALE | DELAY | PROBE | PERMANENT) != 0
    };
    table
        .iter()
        .find(known)
        .and_then(|entry| entry.card)
        .map_or(PeerLink::NoCard, PeerLink::Card)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const INCOMPLETE: u16 = 0x01;
    const FAILED: u16 = 0x20;
    const NOARP: u16 = 0x40;

    fn entry(link: u32, state: u16, card: &str) -> Neighbour {
        Neighbour {
            link,
            address: PEER,
            state,
            card: card.parse().ok(),
        }
    }

    #[test]
    fn only_a_card_that_has_answered_identifies_a_machine() {
        let card = "52:54:00:00:00:01";
        for state in [REACHABLE, STALE, DELAY, PROBE, PERMANENT] {
            assert_eq!(
                judge(&[entry(7, state, card)], 7, PEER),
                PeerLink::Card(card.parse().unwrap()),
                "{state:#x}"
            );
        }
        // The kernel keeps the last known card in a failed entry.
        for state in [0, INCOMPLETE, FAILED, NOARP] {
            assert_eq!(
                judge(&[entry(7, state, card)], 7, PEER),
                PeerLink::NoCard,
                "{state:#x}"
            );
        }
        assert_eq!(judge(&[entry(7, STALE, "")], 7, PEER), PeerLink::NoCard);
    }

    #[test]
    fn an_entry_of_another_link_or_address_is_ignored() {
        let card = "52:54:00:00:00:01";
        let other = Neighbour {
            address: Ipv4Addr::new(10, 0, 0, 2),
            ..entry(7, REACHABLE, card)
        };
        assert_eq!(
            judge(&[entry(8, REACHABLE, card), other], 7, PEER),
            PeerLink::NoCard
        );
        assert_eq!(judge(&[], 7, PEER), PeerLink::NoCard);
    }
}
