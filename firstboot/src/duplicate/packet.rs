//! Builds and parses ARP packets for IPv4 over Ethernet (RFC 826), including their Ethernet
//! headers.

use std::net::Ipv4Addr;

pub(super) type Address = [u8; 6];

/// The Ethernet broadcast address.
const BROADCAST: Address = [0xff; 6];

const LENGTH: usize = 14 + 28;
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

/// Builds an ARP probe (RFC 5227). The sender address is 0.0.0.0, so that no neighbour changes its
/// ARP cache.
pub(super) fn question(own: Address, address: Ipv4Addr) -> Vec<u8> {
    request(own, own, [0; 6], address)
}

/// Builds a probe that requests a broadcast reply. Without this request, a machine with this
/// machine's hardware address would address its unicast reply to itself, and would never send the
/// reply out. `mark` distinguishes this machine's probe from the other machine's probe. Receivers
/// ignore the field that contains the mark.
pub(super) fn broadcast_reply_probe(own: Address, address: Ipv4Addr, mark: Address) -> Vec<u8> {
    request(own, BROADCAST, mark, address)
}

fn request(from: Address, answer_to: Address, target: Address, address: Ipv4Addr) -> Vec<u8> {
    let ethertype = [8, 6];
    let unspecified = Ipv4Addr::UNSPECIFIED.octets();
    let parts: [&[u8]; 9] = [
        &BROADCAST,
        &from,
        &ethertype,
        &ETHERNET_IPV4,
        &REQUEST,
        &answer_to,
        &unspecified,
        &target,
        &address.octets(),
    ];
    parts.concat()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArpMessage {
    /// A probe with this mark.
    Probe(Address),
    /// A broadcast reply, which states that the network interface with this hardware address has
    /// the IP address.
    BroadcastReply(Address),
    /// Any other packet that states that the network interface with this hardware address has the
    /// IP address.
    Reply(Address),
}

/// Parses a packet. Returns `None` if the packet is not about this address.
pub(super) fn read(packet: &[u8], address: Ipv4Addr) -> Option<ArpMessage> {
    let arp = packet.get(14..LENGTH)?;
    let field = |at: usize| arp.get(at..at + 6)?.try_into().ok();
    let (sender, target): (Address, Address) = (field(8)?, field(18)?);
    let (operation, owner, wanted) = (arp.get(6..8)?, arp.get(14..18)?, arp.get(24..28)?);
    if arp.get(..6)? != ETHERNET_IPV4 {
        return None;
    }
    if owner == address.octets() {
        let broadcast = operation == REPLY && target == BROADCAST;
        return Some(if broadcast {
            ArpMessage::BroadcastReply(sender)
        } else {
            ArpMessage::Reply(sender)
        });
    }
    let anonymous = owner == Ipv4Addr::UNSPECIFIED.octets();
    (operation == REQUEST && anonymous && wanted == address.octets())
        .then_some(ArpMessage::Probe(target))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

    /// Builds Linux's reply (net/ipv4/arp.c, arp_process). Linux sends the reply to the probe's
    /// sender hardware address.
    fn answer(question: &[u8], own: Address) -> Vec<u8> {
        let (sender, unspecified) = (&question[22..28], &question[28..32]);
        [
            sender,
            &own,
            &question[12..20],
            &REPLY,
            &own,
            &question[38..42],
            sender,
            unspecified,
        ]
        .concat()
    }

    #[test]
    fn a_reply_names_its_sender_and_a_probe_names_none() {
        let asked = question([2; 6], NODE);
        assert_eq!(asked.len(), LENGTH);
        assert_eq!(read(&asked, NODE), Some(ArpMessage::Probe([0; 6])));
        let mut answer = answer(&asked, [9; 6]);
        assert_eq!(answer[..6], [2; 6]);
        assert_eq!(read(&answer, NODE), Some(ArpMessage::Reply([9; 6])));
        // Ethernet pads short packets.
        answer.resize(60, 0);
        assert_eq!(read(&answer, NODE), Some(ArpMessage::Reply([9; 6])));
        assert_eq!(read(&answer, Ipv4Addr::new(10, 0, 0, 4)), None);
    }

    #[test]
    fn the_reply_to_a_broadcast_reply_probe_is_a_broadcast() {
        let asked = broadcast_reply_probe([2; 6], NODE, [5; 6]);
        assert_eq!(
            asked[6..12],
            [2; 6],
            "the switch must not learn a wrong port"
        );
        assert_eq!(read(&asked, NODE), Some(ArpMessage::Probe([5; 6])));
        let answer = answer(&asked, [2; 6]);
        assert_eq!(answer[..6], BROADCAST);
        assert_eq!(
            read(&answer, NODE),
            Some(ArpMessage::BroadcastReply([2; 6]))
        );
    }

    proptest! {
        #[test]
        fn no_packet_causes_a_panic(packet in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&packet, NODE);
        }
    }
}
