//! Probes with ARP (RFC 5227) for a second machine with this node's address. The second machine
//! answers even if it runs neither etcd nor firstboot. The second machine's answer contains its
//! hardware address, by which an operator can find the machine.
//!
//! A copy of this machine may also have the same hardware address. firstboot receives the answer of
//! such a copy too, because the probe requests a broadcast reply. An answer from the same hardware
//! address raises only a suspicion, because a network that answers on behalf of its machines might
//! send the same reply.

use std::io::Read as _;
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use recipes::Mac;

use super::packet::{self, ArpMessage, broadcast_reply_probe, question};
use super::socket::{PACKETS, draw, link_of, open, silence};
use crate::exit::refused;
use crate::machine;
use crate::reason::{Reason, ReasonId};

/// The number of probes. A single probe is not enough, because a packet may be lost.
const TIMES: u32 = 3;
/// The time for which firstboot waits for an answer to each probe. A neighbour usually answers in
/// less than a millisecond. If a switch must first learn the neighbour's port, the answer takes a
/// few milliseconds.
const REPLY_TIMEOUT: Duration = Duration::from_millis(40);

/// The time for which a result remains valid.
const FRESH: Duration = Duration::from_secs(5);

/// A probe that runs in the background.
#[derive(Debug)]
pub(crate) struct DuplicateProbe {
    address: Ipv4Addr,
    since: Instant,
    heard: mpsc::Receiver<ArpEvent>,
}

/// The reason why there may be a second machine, or `None` if nothing indicates one.
pub(crate) type SuspectedDuplicate = Option<Reason>;

/// A report from the probe.
#[derive(Debug)]
enum ArpEvent {
    /// No machine has answered the packets sent so far.
    NoReplyYet,
    /// The probe is complete and has this result.
    Answer(Result<SuspectedDuplicate>),
}

/// Starts a probe for another machine with this address.
pub(crate) fn start_probe(address: Ipv4Addr) -> DuplicateProbe {
    let (send, heard) = mpsc::channel();
    // If firstboot has already refused this node for another reason, the receiver no longer exists,
    // and `send` fails. The result is then not needed.
    thread::spawn(move || {
        let answer = check(address, || drop(send.send(ArpEvent::NoReplyYet)));
        send.send(ArpEvent::Answer(answer))
    });
    DuplicateProbe {
        address,
        since: Instant::now(),
        heard,
    }
}

impl DuplicateProbe {
    /// Waits for the result of the first probe. Returns a suspicion if another machine seems to
    /// have this machine's hardware address.
    ///
    /// # Errors
    /// Returns a refusal if a machine with another hardware address has this IP address.
    pub(crate) fn first_result(&self) -> Result<SuspectedDuplicate> {
        match self.heard.recv() {
            Ok(ArpEvent::Answer(answer)) => answer,
            Ok(ArpEvent::NoReplyYet) | Err(_) => Ok(None),
        }
    }

    /// Waits for the result of all probes. Returns a suspicion if another machine seems to have
    /// this machine's hardware address, but not if an earlier call has already returned the
    /// suspicion.
    ///
    /// # Errors
    /// Returns a refusal if a machine with another hardware address has this IP address.
    pub(crate) fn final_result(&self) -> Result<SuspectedDuplicate> {
        loop {
            match self.heard.recv() {
                Ok(ArpEvent::Answer(answer)) => return answer,
                Ok(ArpEvent::NoReplyYet) => {}
                // An earlier call has already received the answer.
                Err(_) => return Ok(None),
            }
        }
    }

    /// Waits for the result of all probes. If the last result is no longer valid, probes again.
    /// Ignores a mere suspicion.
    ///
    /// # Errors
    /// Returns a refusal if a machine with another hardware address has this IP address.
    pub(crate) fn current_result(&mut self) -> Result<()> {
        if self.since.elapsed() > FRESH {
            *self = start_probe(self.address);
        }
        self.final_result().map(drop)
    }
}

/// Refuses the node if a machine with another hardware address has this IP address. Returns a
/// suspicion if another machine seems to have the same hardware address. Only an operator can
/// decide which of the two machines is the right machine, so firstboot does not continue by itself,
/// even if the other machine disappears.
fn check(address: Ipv4Addr, on_silence: impl FnMut()) -> Result<SuspectedDuplicate> {
    match second_machine(address, on_silence) {
        Ok(AddressOwner::None) => Ok(None),
        Ok(AddressOwner::OtherMac(mac)) => Err(refused(ReasonId::AddressInUse.because(format!(
            "another machine, with the MAC {mac}, is using this node's address {address}. Two machines with one identity \
             would corrupt the cluster: switch off the machine that must not run, then run `systemctl restart firstboot` on the other machine"
        )))),
        Ok(AddressOwner::SameMac(mac)) => Ok(Some(ReasonId::DuplicateSuspected.because(format!(
            "another machine is using this node's address {address} and this node's MAC {mac}, and may be a copy of this machine. \
             Switch off the machine that must not run, then run `systemctl restart firstboot` on the other machine"
        )))),
        // A failure of ARP must not prevent a member from starting. firstboot also asks the other
        // members whether they receive traffic from a duplicate.
        Err(error) => {
            eprintln!("firstboot: cannot check whether another machine is using {address}: {error:#}");
            Ok(None)
        }
    }
}

/// The other machine, if any, that owns this node's address.
enum AddressOwner {
    None,
    /// A machine with this hardware address.
    OtherMac(Mac),
    /// A machine with the same hardware address as this machine.
    SameMac(Mac),
}

/// Sends the probes. Calls `on_silence` after each probe that no machine answered.
fn second_machine(address: Ipv4Addr, mut on_silence: impl FnMut()) -> Result<AddressOwner> {
    let Some(link) = link_of(address)? else {
        return Ok(AddressOwner::None);
    };
    let Some(own) = link.addr() else {
        return Ok(AddressOwner::None);
    };
    // If two interfaces of one machine are in the same network, each of them answers for the
    // other's address.
    let cards: Vec<[u8; 6]> = machine::links()?
        .iter()
        .filter_map(|(_, link)| link.addr())
        .collect();
    let mark = draw()?;
    let questions = [
        question(own, address),
        broadcast_reply_probe(own, address, mark),
    ];
    let mut socket = open(&link).context("cannot open a socket for ARP")?;
    let (mut copy, mut looped) = (None, false);
    for _ in 0..TIMES {
        for question in &questions {
            socket.send(question).context("cannot send an ARP probe")?;
        }
        let end = Instant::now() + REPLY_TIMEOUT;
        for _ in 0..PACKETS {
            // The timeout is at least 1 ms, so that the loop still reads a packet that arrived
            // while this process was not scheduled.
            let left = end
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            socket.set_read_timeout(Some(left))?;
            let mut packet = [0; 64];
            let length = match socket.read(&mut packet) {
                Ok(length) => length,
                Err(error) if silence(&error) && Instant::now() >= end => break,
                Err(error) if silence(&error) => continue,
                Err(error) => return Err(error).context("cannot listen for ARP"),
            };
            match packet::read(&packet[..length], address) {
                Some(ArpMessage::Reply(sender) | ArpMessage::BroadcastReply(sender))
                    if !cards.contains(&sender) =>
                {
                    if let Ok(mac) = Mac::try_from(sender) {
                        return Ok(AddressOwner::OtherMac(mac));
                    }
                }
                Some(ArpMessage::BroadcastReply(sender)) if sender == own => {
                    copy = Mac::try_from(sender).ok();
                }
                // Some networks return this machine's own packets. Without this check, the machine
                // would treat its own probe as an answer.
                Some(ArpMessage::Probe(asked)) if asked == mark => looped = true,
                _ => {}
            }
        }
        match copy {
            Some(mac) if !looped => return Ok(AddressOwner::SameMac(mac)),
            _ => on_silence(),
        }
    }
    Ok(AddressOwner::None)
}
