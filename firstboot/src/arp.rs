//! Is there a second machine with this node's address? Asked by ARP, as RFC 5227 has it: who has this address, asked on
//! behalf of nobody (sender 0.0.0.0), so that no neighbour learns anything from it. A machine that has the address
//! answers, whatever runs on it, and its answer has its hardware address, by which an operator finds it.

use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::libc::ETH_P_ARP;
use nix::sys::socket::{LinkAddr, bind};
use recipes::Mac;
use socket2::{Domain, Protocol, Socket, Type};

use crate::exit::refused;
use crate::machine;

/// How often it is asked: a packet may be lost.
const TIMES: u32 = 3;
/// For how long an answer is waited for each time. A neighbour answers in well under a millisecond, a switch that has
/// to learn first in some.
const PATIENCE: Duration = Duration::from_millis(40);

/// How many packets are looked at each time: more is a storm, in which nothing can be told.
const PACKETS: u32 = 1000;

/// An ARP packet for IPv4 over Ethernet with its Ethernet header (RFC 826).
const LENGTH: usize = 14 + 28;
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];

/// For how long an answer holds.
const FRESH: Duration = Duration::from_secs(5);

/// The question, which is asked on in the background.
#[derive(Debug)]
pub(crate) struct Asked {
    address: Ipv4Addr,
    since: Instant,
    heard: mpsc::Receiver<Heard>,
}

/// What comes of it meanwhile.
#[derive(Debug)]
enum Heard {
    /// Nothing, on the first packet.
    Silence,
    /// All there is to know.
    Answer(Result<()>),
}

/// Begins to ask whether another machine has this address.
pub(crate) fn ask(address: Ipv4Addr) -> Asked {
    let (send, heard) = mpsc::channel();
    // Nobody listens any more where this node was refused for another reason.
    thread::spawn(move || {
        let answer = check(address, || drop(send.send(Heard::Silence)));
        send.send(Heard::Answer(answer))
    });
    Asked { address, since: Instant::now(), heard }
}

impl Asked {
    /// Gives a neighbour that the first packet reaches the time to answer.
    ///
    /// # Errors
    /// Refused where another machine has the address.
    pub(crate) fn first(&self) -> Result<()> {
        match self.heard.recv() {
            Ok(Heard::Answer(answer)) => answer,
            Ok(Heard::Silence) | Err(_) => Ok(()),
        }
    }

    /// And those that the first did not reach.
    ///
    /// # Errors
    /// Refused where another machine has the address.
    pub(crate) fn all(&self) -> Result<()> {
        loop {
            match self.heard.recv() {
                Ok(Heard::Answer(answer)) => return answer,
                Ok(Heard::Silence) => {}
                // An answer that was taken before was a good one.
                Err(_) => return Ok(()),
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
        self.all()
    }
}

/// Refuses where another machine has this address: it is, or was given the place of, this node. Which of the two is
/// the right one only an operator knows, so neither trying again nor the other's end lets this one go on by itself.
fn check(address: Ipv4Addr, nobody: impl FnMut()) -> Result<()> {
    match second_machine(address, nobody) {
        Ok(None) => Ok(()),
        Ok(Some(mac)) => Err(refused(format!(
            "another machine, with the hardware address {mac}, has this node's address {address}, too. Two machines with \
             one identity would corrupt the cluster: switch the wrong one off, then `systemctl restart firstboot`"
        ))),
        // An odd network card must not keep a member down; the other members' word comes on top of this.
        Err(error) => {
            eprintln!("firstboot: whether another machine has {address} cannot be told: {error:#}");
            Ok(())
        }
    }
}

/// The hardware address of a machine that has this address and is not this one, if there is any. After each question that
/// nobody answered it says so.
fn second_machine(address: Ipv4Addr, mut nobody: impl FnMut()) -> Result<Option<Mac>> {
    let Some(link) = link_of(address)? else { return Ok(None) };
    let Some(own) = link.addr() else { return Ok(None) };
    // Two cards of one machine in one network answer for each other.
    let cards: Vec<[u8; 6]> = machine::links()?.iter().filter_map(|(_, link)| link.addr()).collect();
    let mut socket = open(&link).context("cannot open a socket for ARP")?;
    let question = question(own, address);
    for _ in 0..TIMES {
        socket.send(&question).context("cannot ask by ARP")?;
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
            if let Some(sender) = speaker(&packet[..length], address)
                && !cards.contains(&sender)
                && let Ok(mac) = Mac::try_from(sender)
            {
                return Ok(Some(mac));
            }
        }
        nobody();
    }
    Ok(None)
}

fn silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// The interface that has this address.
fn link_of(address: Ipv4Addr) -> Result<Option<LinkAddr>> {
    let interface = machine::addresses()?.into_iter().find(|(_, own)| *own == address);
    let Some((interface, _)) = interface else { return Ok(None) };
    Ok(machine::links()?.into_iter().find(|(name, _)| *name == interface).map(|(_, link)| link))
}

/// A socket that sends whole packets on this interface and hears its ARP, without what it sends itself.
fn open(link: &LinkAddr) -> io::Result<Socket> {
    let protocol = u16::try_from(ETH_P_ARP).unwrap_or_default().to_be();
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
    bind(socket.as_raw_fd(), link)?;
    Ok(socket)
}

fn question(own: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let everybody = [0xff; 6];
    let ethertype = [8, 6];
    let parts: [&[u8]; 9] = [
        &everybody,
        &own,
        &ethertype,
        &ETHERNET_IPV4,
        &REQUEST,
        &own,
        &Ipv4Addr::UNSPECIFIED.octets(),
        &[0; 6],
        &address.octets(),
    ];
    parts.concat()
}

/// The hardware address of whoever speaks in a packet as the owner of this address, be it to answer or to ask.
fn speaker(packet: &[u8], address: Ipv4Addr) -> Option<[u8; 6]> {
    let arp = packet.get(14..LENGTH)?;
    let (kind, sender, owner) = (arp.get(..6)?, arp.get(8..14)?, arp.get(14..18)?);
    (kind == ETHERNET_IPV4 && owner == address.octets()).then(|| sender.try_into().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

    #[test]
    fn an_answer_names_its_speaker_and_the_question_names_nobody() {
        let asked = question([2; 6], NODE);
        assert_eq!(asked.len(), LENGTH);
        assert_eq!(speaker(&asked, NODE), None);
        let mut answer = asked.clone();
        answer[20..22].copy_from_slice(&[0, 2]);
        answer[22..28].copy_from_slice(&[9; 6]);
        answer[28..32].copy_from_slice(&NODE.octets());
        assert_eq!(speaker(&answer, NODE), Some([9; 6]));
        // Ethernet fills short packets up.
        answer.resize(60, 0);
        assert_eq!(speaker(&answer, NODE), Some([9; 6]));
        assert_eq!(speaker(&answer, Ipv4Addr::new(10, 0, 0, 4)), None);
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(packet in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = speaker(&packet, NODE);
        }
    }
}
