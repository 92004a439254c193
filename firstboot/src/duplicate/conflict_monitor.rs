//! Detects a copy of this machine that has the same hardware address and starts at the same moment.
//! Each of the two machines receives the other machine's probe.

use std::io::Read as _;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use socket2::Socket;

use super::packet::{self, Address, ArpMessage, broadcast_reply_probe};
use super::socket::{PACKETS, draw, link_of, open, silence};
use crate::exit::refused;
use crate::reason::ReasonId;

/// A monitor that repeatedly sends a probe, and listens for the same kind of probe from another
/// machine.
#[derive(Debug)]
pub(crate) struct ConflictMonitor {
    address: Ipv4Addr,
    socket: Socket,
    question: Vec<u8>,
    mark: Address,
}

impl ConflictMonitor {
    /// Opens the socket. The kernel keeps the packets until `check` reads them. Returns `None` if
    /// this machine does not have the address.
    pub(crate) fn open(address: Ipv4Addr) -> Result<Option<Self>> {
        let Some(link) = link_of(address)? else {
            return Ok(None);
        };
        let Some(own) = link.addr() else {
            return Ok(None);
        };
        let (socket, mark) = (
            open(&link).context("cannot open a socket for ARP")?,
            draw()?,
        );
        socket.set_nonblocking(true)?;
        Ok(Some(Self {
            address,
            socket,
            question: broadcast_reply_probe(own, address, mark),
            mark,
        }))
    }

    /// Sends a probe, and checks whether another machine has sent a probe. A copy that starts later
    /// receives the next probe.
    ///
    /// # Errors
    /// Returns a refusal if another machine has sent a probe, because only an operator can decide
    /// which of the two machines is the right machine.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.socket
            .send(&self.question)
            .context("cannot send an ARP probe")?;
        for _ in 0..PACKETS {
            let mut packet = [0; 64];
            let length = match self.socket.read(&mut packet) {
                Ok(length) => length,
                Err(error) if silence(&error) => break,
                Err(error) => return Err(error).context("cannot listen for ARP"),
            };
            if let Some(ArpMessage::Probe(mark)) = packet::read(&packet[..length], self.address)
                && mark != self.mark
                && mark != Address::default()
            {
                return Err(refused(ReasonId::DuplicateRunning.because(format!(
                    "a copy of this machine, with the same address {} and the same MAC, is \
                     starting at the same time. Switch off the machine that must not run, then run \
                     `systemctl restart firstboot` on the other machine",
                    self.address
                ))));
            }
        }
        Ok(())
    }
}
