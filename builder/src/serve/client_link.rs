//! The origin of a request: the facts that the network reveals about the client, regardless of the
//! client's own claims.

use std::io;
use std::net::Ipv4Addr;

use recipes::Mac;

use super::netlink::{Neighbour, Netlink, Route};

// A neighbour entry has one of these states if a network card has answered for its address, or if
// an operator has set the entry (linux/neighbour.h).
const REACHABLE: u16 = 0x02;
const STALE: u16 = 0x04;
const DELAY: u16 = 0x08;
const PROBE: u16 = 0x10;
const PERMANENT: u16 = 0x80;

/// The connection of a machine to this host, as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientLink {
    /// The machine is on a network of this host. The network card with this MAC address has
    /// answered for the machine's address.
    Neighbour(Mac),
    /// The machine is on a network of this host, but no network card has answered for its address.
    NoNeighbour,
    /// The machine is behind a router, or on a link without hardware addresses, so only its address
    /// is known.
    Routed,
    /// The machine is this host.
    Local,
}

/// Queries the kernel about the machine at `client`, which is connected to the address `local` of
/// this host.
pub(super) fn find(local: Ipv4Addr, client: Ipv4Addr) -> io::Result<ClientLink> {
    let netlink = Netlink::open()?;
    match netlink.route(local, client)? {
        Route::Local => Ok(ClientLink::Local),
        Route::Router => Ok(ClientLink::Routed),
        Route::Link(link) if !netlink.has_arp(link)? => Ok(ClientLink::Routed),
        Route::Link(link) => Ok(link_of(&netlink.neighbours()?, link, client)),
    }
}

/// Looks up a machine in the neighbour table of a link that uses ARP.
fn link_of(table: &[Neighbour], link: u32, client: Ipv4Addr) -> ClientLink {
    // An INCOMPLETE entry has no MAC address. The network card of a FAILED entry no longer answers.
    // A NOARP entry does not show whether the machine has answered.
    let known = |entry: &&Neighbour| {
        entry.link == link
            && entry.address == client
            && entry.state & (REACHABLE | STALE | DELAY | PROBE | PERMANENT) != 0
    };
    table
        .iter()
        .find(known)
        .and_then(|entry| entry.card)
        .map_or(ClientLink::NoNeighbour, ClientLink::Neighbour)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const INCOMPLETE: u16 = 0x01;
    const FAILED: u16 = 0x20;
    const NOARP: u16 = 0x40;

    fn entry(link: u32, state: u16, card: &str) -> Neighbour {
        Neighbour {
            link,
            address: CLIENT,
            state,
            card: card.parse().ok(),
        }
    }

    #[test]
    fn only_a_card_that_has_answered_identifies_a_machine() {
        let card = "52:54:00:00:00:01";
        for state in [REACHABLE, STALE, DELAY, PROBE, PERMANENT] {
            assert_eq!(
                link_of(&[entry(7, state, card)], 7, CLIENT),
                ClientLink::Neighbour(card.parse().unwrap()),
                "{state:#x}"
            );
        }
        // The kernel keeps the last known MAC address in a failed entry.
        for state in [0, INCOMPLETE, FAILED, NOARP] {
            assert_eq!(
                link_of(&[entry(7, state, card)], 7, CLIENT),
                ClientLink::NoNeighbour,
                "{state:#x}"
            );
        }
        assert_eq!(
            link_of(&[entry(7, STALE, "")], 7, CLIENT),
            ClientLink::NoNeighbour
        );
    }

    #[test]
    fn an_entry_of_another_link_or_address_is_ignored() {
        let card = "52:54:00:00:00:01";
        let other = Neighbour {
            address: Ipv4Addr::new(10, 0, 0, 2),
            ..entry(7, REACHABLE, card)
        };
        assert_eq!(
            link_of(&[entry(8, REACHABLE, card), other], 7, CLIENT),
            ClientLink::NoNeighbour
        );
        assert_eq!(link_of(&[], 7, CLIENT), ClientLink::NoNeighbour);
    }
}
