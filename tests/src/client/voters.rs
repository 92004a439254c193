//! Watches the number of voters in a cluster continuously.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::Client;

/// The interval between two polls, which limits the precision of the measured periods.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A thread that polls the member list until it is stopped.
#[derive(Debug)]
pub struct Voters {
    stop: Arc<AtomicBool>,
    seen: JoinHandle<Vec<(Instant, usize)>>,
}

impl Voters {
    /// Starts to poll these members. Polls one member as long as this member answers, and then
    /// polls the next member.
    pub fn watch(client: &Client, members: &[Ipv4Addr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, client, members) = (stop.clone(), client.clone(), members.to_vec());
        let seen = thread::spawn(move || {
            let (mut seen, mut at) = (Vec::<(Instant, usize)>::new(), 0);
            loop {
                // Poll the list once more after the stop signal, because the list may have changed
                // between the last poll and the signal.
                let stopped = stopped.load(Ordering::Relaxed);
                match client.members(members[at % members.len()]) {
                    Ok(list) => {
                        let voters = list.iter().filter(|member| !member.is_learner).count();
                        if seen.last().is_none_or(|(_, before)| *before != voters) {
                            seen.push((Instant::now(), voters));
                        }
                    }
                    Err(_) => at += 1,
                }
                if stopped {
                    return seen;
                }
                sleep(POLL_INTERVAL);
            }
        });
        Self { stop, seen }
    }

    /// Stops polling, and returns the length of each completed period in which the cluster had one
    /// voter fewer than `whole`.
    pub fn stop(self, whole: usize) -> Result<Vec<Duration>> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self
            .seen
            .join()
            .map_err(|_| anyhow!("the thread that watches the member list panicked"))?;
        let pairs = seen
            .windows(2)
            .filter(|pair| pair[0].1 + 1 == whole && pair[1].1 == whole);
        Ok(pairs.map(|pair| pair[1].0 - pair[0].0).collect())
    }
}
