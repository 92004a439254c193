//! Is there a second machine with this node's address? Asked by ARP, as RFC 5227 has it. A machine that has the address
//! answers, whatever runs on it, and its answer has its hardware address, by which an operator finds it.
//!
//! A copy of this machine may have its hardware address, too. That one is heard because it is asked to answer everybody.
//! It is a doubt and no proof: a network that answers in its machines' stead might say the same.

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

/// How often it is asked: a packet may be lost.
const TIMES: u32 = 3;
/// For how long an answer is waited for each time. A neighbour answers in well under a millisecond, a switch that has
/// to learn first in some.
const PATIENCE: Duration = Duration::from_millis(40);

/// For how long an answer holds.
const FRESH: Duration = Duration::from_secs(5);

/// The question, which is asked on in the background.
#[derive(Debug)]
pub(crate) struct DuplicateProbe {
    address: Ipv4Addr,
    since: Instant,
    heard: mpsc::Receiver<ArpEvent>,
}

/// Why there may be a second machine, if so.
pub(crate) type SuspectedDuplicate = Option<String>;

/// What comes of it meanwhile.
#[derive(Debug)]
enum ArpEvent {
    /// Nothing, on the first packets.
    NoReplyYet,
    /// All there is to know.
    Answer(Result<SuspectedDuplicate>),
}

/// Begins to ask whether another machine has this address.
pub(crate) fn ask(address: Ipv4Addr) -> DuplicateProbe {
    let (send, heard) = mpsc::channel();
    // Nobody listens any more where this node was refused for another reason.
    thread::spawn(move || {
        let answer = check(address, || drop(send.send(ArpEvent::NoReplyYet)));
        send.send(ArpEvent::Answer(answer))
    });
    DuplicateProbe { address, since: Instant::now(), heard }
}

impl DuplicateProbe {
    /// Gives a neighbour that the first packets reach the time to answer. Gives the doubt that they leave.
    ///
    /// # Errors
    /// Refused where another machine has the address.
    pub(crate) fn first(&self) -> Result<SuspectedDuplicate> {
        match self.heard.recv() {
            Ok(ArpEvent::Answer(answer)) => answer,
            Ok(ArpEvent::NoReplyYet) | Err(_) => Ok(None),
        }
    }

    /// And those that the first did not reach.
    ///
    /// # Errors
    /// Refused where another machine has the address.
    pub(crate) fn all(&self) -> Result<SuspectedDuplicate> {
        loop {
            match self.heard.recv() {
                Ok(ArpEvent::Answer(answer)) => return answer,
                Ok(ArpEvent::NoReplyYet) => {}
                // The answer was taken before, with its doubt.
                Err(_) => return Ok(None),
            }
        }
    }

    /// The same of now: asks anew what was asked long ago.
    ///
    /// # Errors
    /// Refused where another machine has the address.
    pub(crate) fn now(&mut self) -> Result<()> {
        if self.since.elapsed() > FRESH {
            *self = ask(self.address);
        }
        self.all().map(drop)
    }
}

/// Refuses where another machine has this address: it is, or was given the place of, this node. Which of the two is
/// the right one only an operator knows, so neither trying again nor the other's end lets this one go on by itself.
fn check(address: Ipv4Addr, on_silence: impl FnMut()) -> Result<SuspectedDuplicate> {
    match second_machine(address, on_silence) {
        Ok(AddressOwner::None) => Ok(None),
        Ok(AddressOwner::OtherMac(mac)) => Err(refused(format!(
            "another machine, with the hardware address {mac}, has this node's address {address}, too. Two machines with \
             one identity would corrupt the cluster: switch the wrong one off, then `systemctl restart firstboot`"
        ))),
        Ok(AddressOwner::SameMac(mac)) => Ok(Some(format!(
            "another machine with this node's address {address} has its hardware address {mac}, too, as a copy of this \
             machine would. Switch the wrong one off"
        ))),
        // An odd network card must not keep a member down; the other members' word comes on top of this.
        Err(error) => {
            eprintln!("firstboot: whether another machine has {address} cannot be told: {error:#}");
            Ok(None)
        }
    }
}

/// Who else has this node's address.
enum AddressOwner {
    /// Nobody.
    None,
    /// A machine with this hardware address.
    OtherMac(Mac),
    /// One with the hardware address of this.
    SameMac(Mac),
}

/// Asks. After each time that nobody answered it says so.
fn second_machine(address: Ipv4Addr, mut on_silence: impl FnMut()) -> Result<AddressOwner> {
    let Some(link) = link_of(address)? else { return Ok(AddressOwner::None) };
    let Some(own) = link.addr() else { return Ok(AddressOwner::None) };
    // Two cards of one machine in one network answer for each other.
    let cards: Vec<[u8; 6]> = machine::links()?.iter().filter_map(|(_, link)| link.addr()).collect();
    let mark = draw()?;
    let questions = [question(own, address), broadcast_reply_probe(own, address, mark)];
    let mut socket = open(&link).context("cannot open a socket for ARP")?;
    let (mut copy, mut looped) = (None, false);
    for _ in 0..TIMES {
        for question in &questions {
            socket.send(question).context("cannot ask by ARP")?;
        }
        let end = Instant::now() + PATIENCE;
        for _ in 0..PACKETS {
            // What arrived while this process had to wait for its turn is read, too.
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            socket.set_read_timeout(Some(left))?;
            let mut packet = [0; 64];
            let length = match socket.read(&mut packet) {
                Ok(length) => length,
                Err(error) if silence(&error) && Instant::now() >= end => break,
                Err(error) if silence(&error) => continue,
                Err(error) => return Err(error).context("cannot listen for ARP"),
            };
            match packet::read(&packet[..length], address) {
                Some(ArpMessage::Reply(sender) | ArpMessage::BroadcastReply(sender)) if !cards.contains(&sender) => {
                    if let Ok(mac) = Mac::try_from(sender) {
                        return Ok(AddressOwner::OtherMac(mac));
                    }
                }
                Some(ArpMessage::BroadcastReply(sender)) if sender == own => copy = Mac::try_from(sender).ok(),
                // A network that gives this machine its own packets back makes it answer itself.
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
