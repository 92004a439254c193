//! Determines from etcd's metrics which members are connected.
//!
//! `etcd_network_active_peers` alone is not reliable. A member that received a snapshot from its
//! leader, for example a rebuilt member, recreates all of its peers but never removes the old peers
//! from the gauge (server/etcdserver/server.go, applySnapshot; the same in 3.7). The gauge
//! therefore counts dead members indefinitely. For this reason, this module also checks the number
//! of bytes sent to each member. The number of bytes keeps growing for a running member, because
//! each open stream carries its own heartbeat.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::list::MemberReport;

/// A stream on which a member has sent nothing for this time counts as closed, because an open
/// stream carries a heartbeat every 1.7 s (server/etcdserver/api/rafthttp/stream.go,
/// ConnReadTimeout / 3).
const QUIET: Duration = Duration::from_secs(4);

/// The number of bytes that each member has sent to every other member, and the time of the last
/// change of each number.
#[derive(Debug, Default)]
pub(crate) struct ActiveStreams(BTreeMap<(String, u64), (u64, Instant)>);

impl ActiveStreams {
    /// Removes from each peer's report the connections that exist only in the gauge.
    pub(crate) fn retain_active(&mut self, peers: &mut [MemberReport], now: Instant) {
        for peer in peers {
            let name = &peer.name;
            peer.connected.retain(|member, sent| {
                let (before, since) = self
                    .0
                    .entry((name.clone(), *member))
                    .or_insert((*sent, now));
                if before != sent {
                    (*before, *since) = (*sent, now);
                }
                now.duration_since(*since) < QUIET
            });
        }
    }
}

/// Returns the members to which a member has an open stream, according to the member's metrics
/// (server/etcdserver/api/rafthttp/metrics.go). The value for each of these members is the bit
/// pattern of the number of bytes that were sent to that member.
pub(super) fn connected(metrics: &str) -> BTreeMap<u64, u64> {
    let active = labelled(metrics, "etcd_network_active_peers{", "Remote");
    let sent: BTreeMap<u64, f64> =
        labelled(metrics, "etcd_network_peer_sent_bytes_total{", "To").collect();
    // Return the bit pattern of the floating-point number, because only a change of the number
    // matters.
    let bytes = |member: &u64| sent.get(member).map_or(0, |bytes| bytes.to_bits());
    active
        .filter(|(_, count)| *count != 0.0)
        .map(|(member, _)| (member, bytes(&member)))
        .collect()
}

/// Returns all values of a counter or gauge, each with the member that the label `label` names.
pub(super) fn labelled(metrics: &str, name: &str, label: &str) -> impl Iterator<Item = (u64, f64)> {
    let start = format!("{label}=\"");
    metrics
        .lines()
        .filter_map(move |line| line.strip_prefix(name))
        .filter_map(move |line| {
            let (labels, value) = line.split_once("} ")?;
            let member = labels
                .split(',')
                .find_map(|label| label.strip_prefix(&start)?.strip_suffix('"'))?;
            Some((
                u64::from_str_radix(member, 16).ok()?,
                value.trim().parse().ok()?,
            ))
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const METRICS: &str = "# TYPE etcd_network_active_peers gauge\n\
                           etcd_network_active_peers{Local=\"1\",Remote=\"ab\"} 1\n\
                           etcd_network_active_peers{Local=\"1\",Remote=\"cd\"} 0\n\
                           etcd_network_active_peers{Local=\"1\",Remote=\"ef\"} 2\n\
                           etcd_network_peer_sent_bytes_total{To=\"ab\"} 5\n\
                           etcd_network_peer_sent_bytes_total{To=\"ef\"} 1.2345678e+07\n";

    #[test]
    fn open_streams_are_read_from_the_metrics() {
        let found = connected(METRICS);
        assert_eq!(
            found.keys().copied().collect::<BTreeSet<_>>(),
            BTreeSet::from([0xab, 0xef])
        );
        assert_ne!(found, connected(&METRICS.replace("2345678", "2345679")));
    }

    #[test]
    fn a_stream_without_a_heartbeat_is_closed() {
        let mut peer = MemberReport::example(1, 1, &[]);
        let (mut streams, begun) = (ActiveStreams::default(), Instant::now());
        let mut connected = |sent: u64, seconds| {
            peer.connected = BTreeMap::from([(0xab, sent)]);
            streams.retain_active(
                std::slice::from_mut(&mut peer),
                begun + Duration::from_secs(seconds),
            );
            !peer.connected.is_empty()
        };
        assert!(
            connected(5, 0) && connected(5, 3),
            "the stream may still be open"
        );
        assert!(
            connected(6, 4) && connected(6, 7) && connected(7, 9),
            "the stream is open"
        );
        assert!(
            !connected(7, 13) && !connected(7, 14),
            "the stream is closed"
        );
        assert!(connected(8, 15), "the stream is open again");
    }

    proptest! {
        #[test]
        fn no_metrics_cause_a_panic(
            text in "((etcd_network_active_peers|etcd_network_peer_sent_bytes_total)\\{?|Remote=|To=|\"|\\} |,|[0-9a-fé.+-]|NaN|\n){0,40}",
        ) {
            let _ = connected(&text);
        }
    }
}
