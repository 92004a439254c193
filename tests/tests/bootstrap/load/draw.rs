//! The randomly drawn victim and faults of a round.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// A round, in which a node is lost and returns.
#[derive(Debug)]
pub(crate) struct Round {
    /// The index of the node that is lost, the victim.
    pub(crate) victim: usize,
    /// The way in which the victim goes down.
    pub(crate) outage: Outage,
    /// Whether the victim's new disk is installed with the kickstart. If false, the disk is a copy
    /// of an installed disk, which is identical and faster to make.
    pub(crate) reinstall: bool,
    /// The network fault that exists when the victim returns.
    pub(crate) fault: NetworkFault,
    /// The time after which a partition is healed.
    pub(crate) healed_after: Duration,
}

/// The way in which a node goes down.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outage {
    /// All processes of the node die, but its kernel still closes their connections.
    Plug,
    /// The node stops sending, as after a power failure.
    Silence,
    /// The node shuts down cleanly.
    Shutdown,
}

/// The network fault. The two remaining members always reach each other, because a different test
/// covers a partitioned quorum.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NetworkFault {
    /// No fault.
    None,
    /// This percentage of packets between any two hosts is lost.
    Loss(u8),
    /// The traffic to the node is limited to this rate.
    Slow(&'static str),
    /// The node and one of the other members do not receive each other's packets.
    Cut(usize),
    /// The node receives no packets from one of the other members, but that member receives the
    /// node's packets.
    Deaf(usize),
    /// The node is disconnected from the network.
    Alone,
}

impl Round {
    pub(crate) fn draw(random: &mut Rng, nodes: usize) -> Self {
        Self {
            victim: random.usize(..nodes),
            outage: [
                Outage::Plug,
                Outage::Plug,
                Outage::Silence,
                Outage::Shutdown,
            ][random.usize(..4)],
            reinstall: random.u8(..5) == 0,
            fault: match random.u8(..6) {
                0 => NetworkFault::None,
                1 => NetworkFault::Loss(random.u8(1..=8)),
                2 => NetworkFault::Slow(["10mbit", "20mbit", "50mbit"][random.usize(..3)]),
                3 => NetworkFault::Cut(random.usize(..nodes - 1)),
                4 => NetworkFault::Deaf(random.usize(..nodes - 1)),
                _ => NetworkFault::Alone,
            },
            healed_after: Duration::from_millis(random.u64(500..4000)),
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match self.outage {
            Outage::Plug => "loses its processes",
            Outage::Silence => "falls silent",
            Outage::Shutdown => "is shut down",
        };
        let disk = if self.reinstall {
            "is installed again"
        } else {
            "gets a new disk"
        };
        write!(f, "etcd-{} {end}, {disk}, ", self.victim + 1)?;
        let seconds = self.healed_after.as_secs_f64();
        match self.fault {
            NetworkFault::None => write!(f, "comes back;"),
            NetworkFault::Loss(percent) => {
                write!(f, "comes back while {percent} % of all packets are lost;")
            }
            NetworkFault::Slow(rate) => write!(f, "comes back behind {rate};"),
            NetworkFault::Cut(_) => {
                write!(f, "comes back cut off from one member for {seconds:.1} s;")
            }
            NetworkFault::Deaf(_) => write!(
                f,
                "comes back, and receives no packets from one member for {seconds:.1} s;"
            ),
            NetworkFault::Alone => write!(f, "comes back alone for {seconds:.1} s;"),
        }
    }
}
