//! Limits the number of connections whose client has not presented a verified certificate. Any
//! client can open unverified connections, but a flood of unverified connections must not keep a
//! peer out. A list of allowed addresses is not a solution, because a peer may be behind NAT or
//! have a new address. Therefore, the server always accepts the newest connection. If there are too
//! many connections, the server closes the oldest connection of the source that has the most
//! connections. A peer's handshake takes only milliseconds. In this time, a flood cannot open
//! enough connections for the server to close the peer's connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;

/// The maximum number of connections without a verified certificate. The limit is higher than the
/// number of connections that arrive during one handshake, and far lower than the 1024 file
/// descriptors that systemd allows a service.
const LIMIT: usize = 256;

/// All connections without a verified certificate, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct UnverifiedConnections(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    next: u64,
    all: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    id: u64,
    from: IpAddr,
    task: AbortHandle,
}

/// The slot of one connection. Dropping this value frees the slot.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    id: u64,
    unverified: UnverifiedConnections,
}

impl UnverifiedConnections {
    /// Accepts a connection, and closes an older connection if there are too many connections. The
    /// argument `serve` starts the task of the accepted connection.
    pub(super) fn admit(&self, from: IpAddr, serve: impl FnOnce(ConnectionSlot) -> AbortHandle) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.all.len() >= LIMIT {
            let sources: Vec<IpAddr> = list.all.iter().map(|connection| connection.from).collect();
            list.all.remove(connection_to_close(&sources)).task.abort();
        }
        let id = list.next;
        list.next += 1;
        // A task that finishes immediately on another thread waits for the lock before it removes
        // its connection. Therefore, the connection is removed only after it has been added.
        let task = serve(ConnectionSlot {
            id,
            unverified: self.clone(),
        });
        list.all.push(Connection { id, from, task });
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut list = self
            .unverified
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        list.all.retain(|connection| connection.id != self.id);
    }
}

/// Returns the index of the connection to close, which is the oldest connection of the source that
/// has the most connections. `sources` contains the source of each connection, oldest first.
fn connection_to_close(sources: &[IpAddr]) -> usize {
    let mut counts = HashMap::new();
    for source in sources {
        *counts.entry(source).or_insert(0_usize) += 1;
    }
    let most = counts.values().max().copied().unwrap_or_default();
    sources
        .iter()
        .position(|source| counts[source] == most)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_oldest_connection_of_the_busiest_source_is_closed() {
        let source = |last: u8| IpAddr::from(Ipv4Addr::new(10, 0, 0, last));
        let at = |sources: &[u8]| {
            connection_to_close(&sources.iter().map(|last| source(*last)).collect::<Vec<_>>())
        };
        assert_eq!(at(&[1, 2, 2, 3]), 1);
        assert_eq!(
            at(&[1, 2, 3]),
            0,
            "if every source has one connection, the oldest is closed"
        );
        assert_eq!(at(&[1, 2, 3, 3, 2, 3]), 2);
        assert_eq!(at(&[7]), 0);
    }

    #[tokio::test]
    async fn the_number_of_connections_is_limited_and_the_newest_is_accepted() {
        let (unverified, peer) = (
            UnverifiedConnections::default(),
            IpAddr::from([10, 0, 0, 2]),
        );
        let wait = |place: ConnectionSlot| {
            tokio::spawn(async move {
                let _place = place;
                std::future::pending::<()>().await;
            })
            .abort_handle()
        };
        unverified.admit(peer, wait);
        for _ in 0..3 * LIMIT {
            unverified.admit(IpAddr::from([10, 0, 0, 1]), wait);
            tokio::task::yield_now().await;
        }
        let list = || unverified.0.lock().unwrap();
        assert_eq!(list().all.len(), LIMIT);
        assert!(
            list().all[0].from == peer && !list().all[0].task.is_finished(),
            "the only connection of a source stays open"
        );
        // A connection leaves the list after its client has presented a certificate, or after the
        // connection has ended.
        list()
            .all
            .iter()
            .for_each(|connection| connection.task.abort());
        for _ in 0..LIMIT {
            tokio::task::yield_now().await;
        }
        assert!(list().all.is_empty(), "{:?}", list());
    }
}
