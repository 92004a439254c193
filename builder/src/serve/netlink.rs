//! Queries the kernel about the path to an address (rtnetlink(7)): its route, the link of that
//! route, and the neighbours on that link. This module uses rtnetlink, because no table in /proc
//! lists policy routes and link routes.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use recipes::Mac;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

// The constants are from linux/rtnetlink.h, linux/netlink.h and linux/neighbour.h.
const GETLINK: u16 = 18;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;
const GETNEIGH: u16 = 30;
const NEWLINK: u16 = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const INET: u8 = 2;
/// The rtm_type of an address of this host itself.
const LOCAL: u8 = 2;
/// Values of ifi_type and ifi_flags (linux/if_arp.h, linux/if.h).
const ETHER: u16 = 1;
const NOARP_LINK: u32 = 0x80;

/// The size of the header of every message (nlmsghdr).
const HEADER: usize = 16;

/// The path that packets to an address take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The address belongs to this host itself.
    Local,
    /// The path leads through a router.
    Router,
    /// The path is direct, over the link with this index.
    Link(u32),
}

/// An entry of the neighbour table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) link: u32,
    pub(super) address: Ipv4Addr,
    pub(super) state: u16,
    pub(super) card: Option<Mac>,
}

/// A socket for queries to the kernel.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        // NETLINK_ROUTE has the protocol number 0.
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // The kernel normally answers immediately. If it does not answer, the timeout prevents the
        // request from waiting indefinitely.
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(2)))?;
        Ok(Self(socket))
    }

    /// Returns the route of a packet from one of this host's addresses to a given address.
    pub(super) fn route(&self, from: Ipv4Addr, to: Ipv4Addr) -> io::Result<Route> {
        // rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
        let mut body = vec![INET, 32, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        attribute(&mut body, RTA_DST, to.octets());
        attribute(&mut body, RTA_SRC, from.octets());
        let answer = self.ask(GETROUTE, 0, &body)?;
        answer
            .iter()
            .find(|(kind, _)| *kind == NEWROUTE)
            .and_then(|(_, body)| route(body))
            .ok_or_else(malformed)
    }

    /// Returns whether the link uses ARP to find the MAC addresses of its neighbours.
    pub(super) fn has_arp(&self, link: u32) -> io::Result<bool> {
        // ifinfomsg: family, padding, type, index, flags, change
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&link.to_ne_bytes());
        let answer = self.ask(GETLINK, 0, &body)?;
        answer
            .iter()
            .find(|(kind, _)| *kind == NEWLINK)
            .and_then(|(_, body)| has_arp(body))
            .ok_or_else(malformed)
    }

    /// Returns the whole neighbour table of IPv4, because before Linux 5.0, a program cannot
    /// request a single entry.
    pub(super) fn neighbours(&self) -> io::Result<Vec<Neighbour>> {
        // ndmsg: family, padding, ifindex, state, flags, type
        let mut body = vec![0; 12];
        body[0] = INET;
        let answer = self.ask(GETNEIGH, DUMP, &body)?;
        Ok(answer
            .iter()
            .filter(|(kind, _)| *kind == NEWNEIGH)
            .filter_map(|(_, body)| neighbour(body))
            .collect())
    }

    /// Sends one request, and returns the messages of the answer as pairs of kind and body.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<(u16, Vec<u8>)>> {
        let mut request = Vec::with_capacity(HEADER + body.len());
        let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
        request.extend(length.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend((REQUEST | flags).to_ne_bytes());
        // The sequence number and the port can be 0, because the socket sends one request at a
        // time.
        request.extend([0; 8]);
        request.extend(body);
        send(&self.0, &request, SendFlags::empty())?;
        let mut all = Vec::new();
        loop {
            let mut buffer = vec![0; 1 << 16];
            let (length, _) = recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
            let part = messages(&buffer[..length])?;
            let done = flags & DUMP == 0 || part.iter().any(|(kind, _)| *kind == DONE);
            all.extend(part);
            if done {
                return Ok(all);
            }
        }
    }
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel's answer is malformed",
    )
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: [u8; 4]) {
    out.extend(8_u16.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
}

/// Splits a packet into its messages. Returns an error if the packet is malformed or contains an
/// error message.
fn messages(mut bytes: &[u8]) -> io::Result<Vec<(u16, Vec<u8>)>> {
    let mut all = Vec::new();
    while bytes.len() >= HEADER {
        let length = u32_at(bytes, 0)
            .and_then(|length| usize::try_from(length).ok())
            .ok_or_else(malformed)?;
        let kind = u16_at(bytes, 4).ok_or_else(malformed)?;
        let body = bytes.get(HEADER..length).ok_or_else(malformed)?;
        if kind == ERROR {
            let code = u32_at(body, 0).map_or(0, u32::cast_signed);
            if code != 0 {
                return Err(io::Error::from_raw_os_error(-code));
            }
        }
        all.push((kind, body.to_vec()));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(all)
}

/// Returns the attributes after the fixed part of a message.
fn attributes(body: &[u8], fixed: usize) -> Vec<(u16, &[u8])> {
    let mut rest = body.get(fixed..).unwrap_or_default();
    let mut all = Vec::new();
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else {
            break;
        };
        all.push((kind & 0x3fff, value));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

fn route(body: &[u8]) -> Option<Route> {
    if *body.get(7)? == LOCAL {
        return Some(Route::Local);
    }
    let attributes = attributes(body, 12);
    if attributes
        .iter()
        .any(|(kind, _)| matches!(*kind, RTA_GATEWAY | RTA_VIA))
    {
        return Some(Route::Router);
    }
    attributes
        .iter()
        .find(|(kind, _)| *kind == RTA_OIF)
        .and_then(|(_, value)| u32_at(value, 0))
        .map(Route::Link)
}

fn has_arp(body: &[u8]) -> Option<bool> {
    Some(u16_at(body, 2)? == ETHER && u32_at(body, 8)? & NOARP_LINK == 0)
}

fn neighbour(body: &[u8]) -> Option<Neighbour> {
    let attributes = attributes(body, 12);
    let value = |wanted: u16| {
        attributes
            .iter()
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| *value)
    };
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(value(NDA_DST)?).ok()?);
    let card =
        value(NDA_LLADDR).and_then(|value| Mac::try_from(<[u8; 6]>::try_from(value).ok()?).ok());
    Some(Neighbour {
        link: u32_at(body, 4)?,
        address,
        state: u16_at(body, 8)?,
        card,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_host_is_local_to_itself() {
        let netlink = Netlink::open().unwrap();
        assert_eq!(
            netlink
                .route(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST)
                .unwrap(),
            Route::Local
        );
        assert!(!netlink.has_arp(1).unwrap(), "loopback does not use ARP");
        let error = netlink.has_arp(0x7fff_ffff).unwrap_err();
        assert!(
            error.raw_os_error().is_some(),
            "expected the kernel's own error, found: {error}"
        );
        netlink.neighbours().unwrap();
    }

    #[test]
    fn a_neighbour_without_a_card_is_read() {
        let mut body = vec![INET, 0, 0, 0, 7, 0, 0, 0, 0x20, 0, 0, 1];
        attribute(&mut body, NDA_DST, [10, 0, 0, 1]);
        let address = Ipv4Addr::new(10, 0, 0, 1);
        assert_eq!(
            neighbour(&body),
            Some(Neighbour {
                link: 7,
                address,
                state: 0x20,
                card: None
            })
        );
        body.extend([10, 0, 2, 0, 0x52, 0x54, 0, 0, 0, 1, 0, 0]);
        assert_eq!(
            neighbour(&body).unwrap().card,
            "52:54:00:00:00:01".parse().ok()
        );
    }

    proptest! {
        #[test]
        fn no_answer_causes_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = messages(&bytes);
            let _ = (route(&bytes), has_arp(&bytes), neighbour(&bytes));
        }
    }
}
