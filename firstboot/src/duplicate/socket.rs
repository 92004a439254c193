//! Opens a socket that sends and receives ARP packets on the interface with this node's address.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use anyhow::{Result, anyhow};
use nix::libc::ETH_P_ARP;
use nix::sys::socket::{LinkAddr, bind};
use ring::rand::{SecureRandom as _, SystemRandom};
use socket2::{Domain, Protocol, Socket, Type};

use super::packet;
use crate::machine;

/// The maximum number of packets to read after each probe. Without this limit, a broadcast storm in
/// the network would prevent the probe from ending.
pub(super) const PACKETS: u32 = 1000;

/// Returns a random mark that distinguishes a probe from all other probes.
pub(super) fn draw() -> Result<packet::Address> {
    let mut mark = [0; 6];
    SystemRandom::new()
        .fill(&mut mark)
        .map_err(|_| anyhow!("the operating system returned no random bytes"))?;
    Ok(mark)
}

pub(super) fn silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Finds the interface that has this address.
pub(super) fn link_of(address: Ipv4Addr) -> Result<Option<LinkAddr>> {
    let interface = machine::addresses()?
        .into_iter()
        .find(|(_, own)| *own == address);
    let Some((interface, _)) = interface else {
        return Ok(None);
    };
    Ok(machine::links()?
        .into_iter()
        .find(|(name, _)| *name == interface)
        .map(|(_, link)| link))
}

/// Opens a socket that sends complete packets, including the Ethernet header, on this interface.
/// The socket receives the interface's ARP packets, except those that it sent itself.
pub(super) fn open(link: &LinkAddr) -> io::Result<Socket> {
    let protocol = u16::try_from(ETH_P_ARP).unwrap_or_default().to_be();
    let socket = Socket::new(
        Domain::PACKET,
        Type::RAW,
        Some(Protocol::from(i32::from(protocol))),
    )?;
    bind(socket.as_raw_fd(), link)?;
    Ok(socket)
}
