//! Limits how many connections are open at the same time, in total and for each source. When all
//! slots are in use, a new connection from a source with few connections replaces the oldest
//! connection of the source with the most connections. One source therefore cannot lock out the
//! others.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::AbortHandle;

/// The maximum number of open connections.
const MAX_CONNECTIONS: usize = 1024;
/// The maximum number of connections from one source.
const MAX_PER_SOURCE: usize = MAX_CONNECTIONS / 2;
/// The number of open files that are reserved for purposes other than connections.
const RESERVED_FILES: u64 = 64;

/// All open connections.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    max_total: usize,
    max_per_source: usize,
    open: usize,
    next_id: u64,
    by_source: HashMap<IpAddr, VecDeque<Entry>>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    /// The handle that ends the connection's task. The value is `None` until the task is started.
    task: Option<AbortHandle>,
}

/// The slot of one connection. Dropping this value frees the slot.
#[derive(Debug)]
pub(super) struct Slot {
    table: Arc<Mutex<Table>>,
    source: IpAddr,
    id: u64,
}

/// The decision about a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Admit,
    /// Admit the connection in place of this source's oldest connection.
    InSlotOf(IpAddr),
    Refuse,
}

impl Connections {
    /// Creates a table with as many slots as the process's limit on open files allows, up to
    /// [`MAX_CONNECTIONS`].
    pub(super) fn new() -> Self {
        let files = raise_limit();
        // A connection needs two open files: its socket and the file that it sends.
        let total = usize::try_from(files.saturating_sub(RESERVED_FILES) / 2)
            .unwrap_or(MAX_CONNECTIONS)
            .clamp(2, MAX_CONNECTIONS);
        Self::with(total, MAX_PER_SOURCE.min(total.div_ceil(2)))
    }

    fn with(max_total: usize, max_per_source: usize) -> Self {
        let table = Table {
            max_total,
            max_per_source,
            open: 0,
            next_id: 0,
            by_source: HashMap::new(),
        };
        Self(Arc::new(Mutex::new(table)))
    }

    /// Returns a slot for a connection from an address, or `None` if the connection must be closed.
    /// This call may end the oldest connection of another source.
    pub(super) fn admit(&self, from: IpAddr) -> Option<Slot> {
        let source = source(from);
        let mut table = lock(&self.0);
        match table.admission(source) {
            Admission::Refuse => return None,
            Admission::InSlotOf(other) => table.end_oldest(other),
            Admission::Admit => {}
        }
        let id = table.next_id;
        table.next_id += 1;
        table.open += 1;
        table
            .by_source
            .entry(source)
            .or_default()
            .push_back(Entry { id, task: None });
        Some(Slot {
            table: Arc::clone(&self.0),
            source,
            id,
        })
    }
}

impl Slot {
    /// Registers the task that serves the connection, so that the task can be ended.
    pub(super) fn attach_task(table: &Connections, source_of: IpAddr, id: u64, task: AbortHandle) {
        let mut table = lock(&table.0);
        let entries = table.by_source.get_mut(&source(source_of));
        match entries.and_then(|entries| entries.iter_mut().find(|entry| entry.id == id)) {
            Some(entry) => entry.task = Some(task),
            // The connection lost its slot before its task started, or has already ended.
            None => task.abort(),
        }
    }

    /// Returns the number of the slot.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.table).remove(self.source, self.id);
    }
}

impl Table {
    fn admission(&self, source: IpAddr) -> Admission {
        let own = self.by_source.get(&source).map_or(0, VecDeque::len);
        if own >= self.max_per_source {
            return Admission::Refuse;
        }
        if self.open < self.max_total {
            return Admission::Admit;
        }
        let largest = self
            .by_source
            .iter()
            .max_by_key(|(_, entries)| entries.len());
        // A source displaces only a source that has at least two more connections. With a
        // difference of one, the two sources would only swap their numbers of connections.
        match largest {
            Some((other, entries)) if entries.len() > own + 1 => Admission::InSlotOf(*other),
            _ => Admission::Refuse,
        }
    }

    fn end_oldest(&mut self, source: IpAddr) {
        let Some(entry) = self
            .by_source
            .get_mut(&source)
            .and_then(VecDeque::pop_front)
        else {
            return;
        };
        self.open -= 1;
        if let Some(task) = entry.task {
            task.abort();
        }
    }

    fn remove(&mut self, source: IpAddr, id: u64) {
        let Some(entries) = self.by_source.get_mut(&source) else {
            return;
        };
        let before = entries.len();
        entries.retain(|entry| entry.id != id);
        self.open -= before - entries.len();
        if entries.is_empty() {
            self.by_source.remove(&source);
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the source of an address: an IPv4 address itself, or the /64 network of an IPv6 address.
/// A machine can have any number of addresses in its /64 network.
fn source(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Raises the limit on open files to the number that all connections need, as far as the system
/// allows. Returns the limit that is now in effect.
fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let needed = MAX_CONNECTIONS as u64 * 2 + RESERVED_FILES;
    let current = limit.current.unwrap_or(u64::MAX);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(needed).max(current);
    if wanted > current
        && setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: limit.maximum,
            },
        )
        .is_ok()
    {
        return wanted;
    }
    current
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn one_source_can_use_half_of_the_slots() {
        let connections = Connections::with(8, 4);
        let greedy: Vec<_> = (0..8).map(|_| connections.admit(ip(1))).collect();
        assert_eq!(greedy.iter().flatten().count(), 4);
        assert!(connections.admit(ip(2)).is_some());
        drop(greedy);
        assert!(
            connections.admit(ip(1)).is_some(),
            "a dropped slot must be free again"
        );
    }

    #[test]
    fn a_new_source_takes_a_slot_of_the_source_with_the_most_connections() {
        let connections = Connections::with(6, 4);
        let most: Vec<_> = (0..4).filter_map(|_| connections.admit(ip(1))).collect();
        let some: Vec<_> = (0..2).filter_map(|_| connections.admit(ip(2))).collect();
        let late = connections.admit(ip(3));
        assert!(late.is_some() && lock(&connections.0).by_source[&ip(1)].len() == 3);
        assert_eq!(
            lock(&connections.0).by_source[&ip(1)][0].id,
            most[1].id(),
            "the oldest connection must lose its slot"
        );
        drop(most);
        assert_eq!(
            lock(&connections.0).open,
            3,
            "a lost slot must not be freed twice"
        );
        drop((some, late));
        assert_eq!(lock(&connections.0).open, 0);
        assert!(lock(&connections.0).by_source.is_empty());
    }

    #[test]
    fn sources_with_equally_many_connections_keep_their_slots() {
        let connections = Connections::with(2, 1);
        let _held = [connections.admit(ip(1)), connections.admit(ip(2))];
        assert!(connections.admit(ip(3)).is_none());
    }

    #[test]
    fn all_addresses_of_a_machine_have_one_source() {
        assert_eq!(source("::ffff:10.0.0.1".parse().unwrap()), ip(1));
        assert_eq!(
            source("2001:db8::1:2:3:4".parse().unwrap()),
            source("2001:db8::9".parse().unwrap())
        );
        assert_ne!(
            source("2001:db8:0:1::1".parse().unwrap()),
            source("2001:db8::1".parse().unwrap())
        );
    }
}
