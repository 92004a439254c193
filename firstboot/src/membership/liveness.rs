//! Determines whether this node's member is running on another machine. While etcd is stopped on
//! this node, the other members receive traffic from this node's member only if the member is
//! running elsewhere.
//!
//! A connection to the member does not show that the member is running, because a connection stays
//! open for a few seconds after a power cut. A missing connection does not show that the member has
//! stopped. If two machines have the same hardware address, each packet that one machine sends
//! diverts the other machine's traffic, which can break a connection to a running member. The
//! number of bytes that other members *received* from the member grows only while the member is
//! running. A follower answers each heartbeat, so its leader receives traffic from the follower. A
//! leader sends traffic to all members.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::active_streams::labelled;
use super::peer_client::PeerClient;
use super::peers::LIMIT;

/// The pause between two observations, in addition to the time of two heartbeats. An observation
/// can interrupt the connections of a duplicate, and etcd on the duplicate then sends nothing for
/// 1.7 s (server/etcdserver/api/rafthttp/stream.go, ConnReadTimeout / 3). With a shorter pause, a
/// running duplicate would seem silent.
pub(crate) const OBSERVATION_INTERVAL: Duration = Duration::from_secs(3);

/// The time limits for a member's answer, one for each attempt within an observation. An answer is
/// lost if a duplicate sends a packet before the answer arrives. A quick answer arrives between two
/// heartbeats of the duplicate.
const TRIES: [Duration; 4] = [
    Duration::from_millis(150),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1200),
];

/// The number of increases of the member's traffic after which the member counts as running. A
/// single increase may come from the buffers of a member that has been stopped.
const PROOF: u32 = 2;

/// The raft traffic that one member reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RaftTraffic {
    /// Whether the member is the leader.
    leads: bool,
    /// Whether the member has a leader.
    has_leader: bool,
    /// The number of bytes that the member has received from each other member since it started.
    received: BTreeMap<u64, u64>,
}

impl RaftTraffic {
    /// Reads the traffic from a member's metrics (server/etcdserver/metrics.go and
    /// server/etcdserver/api/rafthttp/metrics.go).
    fn read(metrics: &str) -> Self {
        let is = |gauge: &str| {
            metrics.lines().any(|line| {
                line.strip_prefix(gauge)
                    .is_some_and(|value| value.trim() == "1")
            })
        };
        let received = labelled(metrics, "etcd_network_peer_received_bytes_total{", "From");
        // Compare the bits of the numbers, because only growth matters. Read as integers, the bits
        // of positive floating-point numbers have the same order as the numbers.
        let received = received
            .map(|(member, bytes)| (member, bytes.to_bits()))
            .collect();
        Self {
            leads: is("etcd_server_is_leader "),
            has_leader: is("etcd_server_has_leader "),
            received,
        }
    }
}

/// Reads the traffic of these members, given by name and client URL. Omits members that do not
/// answer.
pub(crate) async fn read_traffic(
    whom: BTreeSet<(String, String)>,
    peer_client: &PeerClient,
) -> BTreeMap<String, RaftTraffic> {
    let mut questions = JoinSet::new();
    for (name, url) in whom {
        let peer_client = peer_client.clone();
        questions.spawn(async move {
            for patience in TRIES {
                if let Ok(Ok((metrics, _))) =
                    timeout(patience, peer_client.page(&url, "/metrics", LIMIT)).await
                {
                    return Some((name, RaftTraffic::read(&metrics)));
                }
            }
            None
        });
    }
    questions.join_all().await.into_iter().flatten().collect()
}

/// The result of one observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// This node's member is not running: the members to which it would send traffic receive none.
    Silent,
    /// Another observation is necessary.
    Unknown,
    /// This node's member is running, because the named member receives traffic from it.
    Alive(String),
}

/// A detector that compares, from one observation to the next, the traffic that the other members
/// have received from one member.
#[derive(Debug, Default)]
pub(crate) struct LivenessDetector {
    /// The bits of the number of bytes that each member had received at its last observation.
    before: BTreeMap<String, u64>,
    /// The number of observations in which some member had received more than before.
    increases: u32,
}

impl LivenessDetector {
    /// Adds one observation, and returns the result so far.
    pub(crate) fn observe(
        &mut self,
        member: u64,
        reports: &BTreeMap<String, RaftTraffic>,
    ) -> Liveness {
        let received =
            |report: &RaftTraffic| report.received.get(&member).copied().unwrap_or_default();
        let now: BTreeMap<String, u64> = reports
            .iter()
            .map(|(name, report)| (name.clone(), received(report)))
            .collect();
        let result = if let Some(witness) = self.witness(&now) {
            self.increases += 1;
            if self.increases < PROOF {
                Liveness::Unknown
            } else {
                Liveness::Alive(witness)
            }
        } else if self.is_silent(reports, &now) {
            Liveness::Silent
        } else {
            Liveness::Unknown
        };
        self.before.extend(now);
        result
    }

    /// Returns a member that has received traffic since the observation before.
    fn witness(&self, now: &BTreeMap<String, u64>) -> Option<String> {
        let has_received =
            |name: &str, bytes: u64| self.before.get(name).is_some_and(|before| bytes > *before);
        now.iter()
            .find(|(name, bytes)| has_received(name, **bytes))
            .map(|(name, _)| name.clone())
    }

    /// Returns whether the leader has received no traffic. If no member has a leader, returns
    /// whether no member has received traffic. The caller has checked that no count has risen.
    fn is_silent(
        &self,
        reports: &BTreeMap<String, RaftTraffic>,
        now: &BTreeMap<String, u64>,
    ) -> bool {
        let has_leader = reports.values().any(|report| report.has_leader);
        let mut relevant = reports
            .iter()
            .filter(|(_, report)| report.leads || !has_leader)
            .map(|(name, _)| name)
            .peekable();
        // One observation is enough for a member that has never received traffic from this node's
        // member.
        relevant.peek().is_some()
            && relevant.all(|name| now[name] == 0 || self.before.contains_key(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u64 = 0xab;

    fn report(leads: bool, has_leader: bool, bytes: u64) -> RaftTraffic {
        RaftTraffic {
            leads,
            has_leader,
            received: BTreeMap::from([(OWN, bytes), (0xcd, 7 * bytes)]),
        }
    }

    fn leader(bytes: u64) -> RaftTraffic {
        report(true, true, bytes)
    }

    fn follower(bytes: u64) -> RaftTraffic {
        report(false, true, bytes)
    }

    fn astray(bytes: u64) -> RaftTraffic {
        report(false, false, bytes)
    }

    fn verdicts<const N: usize>(looks: [&[(&str, RaftTraffic)]; N]) -> [Liveness; N] {
        let mut pulse = LivenessDetector::default();
        looks.map(|reports| {
            pulse.observe(
                OWN,
                &reports
                    .iter()
                    .map(|(name, report)| ((*name).to_owned(), report.clone()))
                    .collect(),
            )
        })
    }

    #[test]
    fn received_bytes_are_read_from_the_metrics() {
        let metrics = "etcd_server_has_leader 1\n\
                       etcd_server_is_leader 1\n\
                       etcd_network_peer_received_bytes_total{From=\"0\"} 9\n\
                       etcd_network_peer_received_bytes_total{From=\"ab\"} 1.2345678e+07\n";
        let later = metrics
            .replace("678e", "679e")
            .replace("is_leader 1", "is_leader 0");
        let (before, now) = (RaftTraffic::read(metrics), RaftTraffic::read(&later));
        assert!(
            before.received[&OWN] < now.received[&OWN] && before.received[&0] == now.received[&0]
        );
        assert_eq!(
            (before.leads, before.has_leader, now.leads, now.has_leader),
            (true, true, false, true)
        );
        assert_eq!(RaftTraffic::read(""), RaftTraffic::default());
    }

    #[test]
    fn a_member_from_which_its_leader_receives_twice_is_alive() {
        let [one, two, three] = verdicts([
            &[("a", leader(5)), ("b", follower(3))],
            &[("a", leader(6)), ("b", follower(3))],
            &[("a", leader(8)), ("b", follower(3))],
        ]);
        assert_eq!(
            [one, two, three],
            [
                Liveness::Unknown,
                Liveness::Unknown,
                Liveness::Alive("a".into())
            ]
        );
    }

    #[test]
    fn a_leader_from_which_its_followers_receive_traffic_is_alive() {
        let looks = verdicts([
            &[("b", follower(3))],
            &[("b", follower(4))],
            &[("b", follower(9))],
        ]);
        assert_eq!(looks[2], Liveness::Alive("b".into()));
    }

    #[test]
    fn buffered_traffic_does_not_prove_that_a_member_runs() {
        assert_eq!(
            verdicts([
                &[("a", leader(5))],
                &[("a", leader(6))],
                &[("a", leader(6))]
            ])[2],
            Liveness::Silent
        );
    }

    #[test]
    fn a_leader_proves_silence_in_two_observations() {
        assert_eq!(
            verdicts([&[("a", leader(5))], &[("a", leader(5))]]),
            [Liveness::Unknown, Liveness::Silent]
        );
        assert_eq!(
            verdicts([&[("a", leader(0))]]),
            [Liveness::Silent],
            "the leader never received anything from the member"
        );
        assert_eq!(
            verdicts([&[("a", leader(5))], &[("a", leader(2))]])[1],
            Liveness::Silent,
            "the leader was started again"
        );
    }

    #[test]
    fn the_silence_of_a_follower_does_not_prove_that_a_member_is_stopped() {
        let looks = verdicts([
            &[("b", follower(5))],
            &[("b", follower(5))],
            &[("b", follower(0))],
        ]);
        assert_eq!(
            looks,
            [Liveness::Unknown, Liveness::Unknown, Liveness::Unknown]
        );
        let looks = verdicts([
            &[("b", follower(5))],
            &[("a", leader(5)), ("b", follower(5))],
        ]);
        assert_eq!(looks[1], Liveness::Unknown, "the leader was observed once");
    }

    #[test]
    fn without_a_leader_the_observations_of_all_members_count() {
        assert_eq!(
            verdicts([&[("a", astray(0)), ("b", astray(0))]]),
            [Liveness::Silent]
        );
        let looks = verdicts([&[("a", astray(5))], &[("a", astray(5)), ("b", astray(0))]]);
        assert_eq!(looks, [Liveness::Unknown, Liveness::Silent]);
        let looks = verdicts([&[("a", astray(5))], &[("a", astray(5)), ("b", astray(5))]]);
        assert_eq!(looks[1], Liveness::Unknown);
    }

    #[test]
    fn without_answers_the_liveness_is_unknown() {
        assert_eq!(verdicts([&[], &[]]), [Liveness::Unknown, Liveness::Unknown]);
    }
}
