//! How many voters a cluster has, watched all the time.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::Client;

/// Between two looks: how exact the windows are.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Looks at the member list until it is told to stop.
#[derive(Debug)]
pub struct Voters {
    stop: Arc<AtomicBool>,
    seen: JoinHandle<Vec<(Instant, usize)>>,
}

impl Voters {
    /// Begins to ask these members. Who answers is asked again; who does not makes way for the
    /// next.
    pub fn watch(client: &Client, members: &[Ipv4Addr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, client, members) = (stop.clone(), client.clone(), members.to_vec());
        let seen = thread::spawn(move || {
            let (mut seen, mut at) = (Vec::<(Instant, usize)>::new(), 0);
            loop {
                // Told to stop it looks once more: what made somebody stop it may be newer than its
                // last look.
                let told = told.load(Ordering::Relaxed);
                match client.members(members[at % members.len()]) {
                    Ok(list) => {
                        let voters = list.iter().filter(|member| !member.is_learner).count();
                        if seen.last().is_none_or(|(_, before)| *before != voters) {
                            seen.push((Instant::now(), voters));
                        }
                    }
                    Err(_) => at += 1,
                }
                if told {
                    return seen;
                }
                sleep(POLL_INTERVAL);
            }
        });
        Self { stop, seen }
    }

    /// Stops, and gives how long there was one voter less than `whole`, each time that this came to
    /// an end.
    pub fn stop(self, whole: usize) -> Result<Vec<Duration>> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self
            .seen
            .join()
            .map_err(|_| anyhow!("the watch over the member list panicked"))?;
        let pairs = seen
            .windows(2)
            .filter(|pair| pair[0].1 + 1 == whole && pair[1].1 == whole);
        Ok(pairs.map(|pair| pair[1].0 - pair[0].0).collect())
    }
}
