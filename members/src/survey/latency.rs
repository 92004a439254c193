//! Checks whether the recipe's heartbeat interval and election timeout suit the network. etcd
//! recommends a heartbeat interval of 0.5 to 1.5 times the longest round trip between members, and
//! an election timeout of at least ten round trips (etcd.io, docs v3.6, "Tuning", time parameters).
//! firstboot recommends values but does not change them, because all members must have the same
//! values.

use std::time::{Duration, Instant};

use recipes::cluster::EtcdSettings;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::reason::{Reason, ReasonId};

/// The number of connections to make. Each connection takes one round trip. Only the shortest round
/// trip counts, because load can only lengthen a round trip.
const CONNECTIONS: usize = 3;
/// The time limit of one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Measures the round trip to an endpoint in milliseconds. Returns `None` if a connection fails.
pub(super) async fn round_trip(endpoint: &str) -> Option<f64> {
    let address = endpoint.strip_prefix("https://")?;
    let mut quickest = None;
    for _ in 0..CONNECTIONS {
        let begun = Instant::now();
        timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .ok()?
            .ok()?;
        let took = begun.elapsed();
        quickest = Some(quickest.map_or(took, |quickest: Duration| quickest.min(took)));
    }
    quickest.map(|quickest| quickest.as_secs_f64() * 1000.0)
}

/// Returns the recommended settings if the round trip is too long for the current settings.
pub(super) fn advice(round_trip_ms: Option<f64>, settings: &EtcdSettings) -> Option<Reason> {
    let trip = round_trip_ms?;
    let (heartbeat, election) = (settings.heartbeat_interval_ms, settings.election_timeout_ms);
    if f64::from(heartbeat) >= 0.5 * trip && f64::from(election) >= 10.0 * trip {
        return None;
    }
    Some(ReasonId::RoundTripLong.because(format!(
        "its round trip takes {trip:.0} ms: set heartbeat-interval-ms = {trip:.0} and \
         election-timeout-ms = {:.0} or more in the recipe (now {heartbeat} and {election}), with \
         the same values for all members",
        10.0 * trip
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(heartbeat: u32, election: u32) -> EtcdSettings {
        let text = include_str!("../../../recipes/three-node.toml");
        let recipe = recipes::recipe::read(text).recipe.unwrap();
        let settings = recipe.etcd.settings;
        EtcdSettings {
            heartbeat_interval_ms: heartbeat,
            election_timeout_ms: election,
            ..settings
        }
    }

    #[test]
    fn only_a_long_round_trip_is_reported() {
        for (trip, heartbeat, election) in [(0.3, 100, 1000), (99.0, 100, 1000), (200.0, 100, 2000)]
        {
            assert_eq!(advice(Some(trip), &settings(heartbeat, election)), None);
        }
        assert_eq!(advice(None, &settings(100, 1000)), None);
        let text = advice(Some(240.4), &settings(100, 1000)).unwrap().text;
        assert!(
            text.contains("takes 240 ms") && text.contains("election-timeout-ms = 2404"),
            "{text}"
        );
        assert!(
            advice(Some(150.0), &settings(100, 1000)).is_some(),
            "ten round trips are longer than the election timeout"
        );
    }

    #[tokio::test]
    async fn the_round_trip_is_that_of_a_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        assert!(round_trip(&endpoint).await.is_some_and(|trip| trip > 0.0));
        drop(listener);
        assert_eq!(round_trip(&endpoint).await, None);
    }
}
