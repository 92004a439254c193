//! Writers that keep writing while members stop and start, and that record which of their writes
//! were acknowledged.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::Client;

/// The pause between two writes of one writer. The pause leaves CPU time for the cluster.
const WRITE_INTERVAL: Duration = Duration::from_millis(50);

/// Writers, one for each member.
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    counts: Arc<Vec<AtomicUsize>>,
    /// The error of the most recent failed write.
    trouble: Arc<Mutex<String>>,
    threads: Vec<JoinHandle<(Vec<Acknowledged>, usize)>>,
}

#[derive(Debug)]
struct Acknowledged {
    key: String,
    value: String,
    at: Instant,
}

/// The acknowledged writes.
#[derive(Debug)]
pub struct Written {
    /// The acknowledged writes of each writer, in the order of the writes.
    writers: Vec<Vec<Acknowledged>>,
    /// The number of writes that were not acknowledged. The cluster may have applied some of these
    /// writes.
    pub failed: usize,
    /// The error of the most recent failed write. Empty if no write failed.
    pub trouble: String,
}

impl Writers {
    /// Starts the writers. Each writer starts with a different member, and moves on to the next
    /// member when a write fails. No key is written twice, so a failed write can change the value
    /// of only its own key.
    pub fn start(client: &Client, members: &[Ipv4Addr], prefix: &str) -> Self {
        Self::with_interval(client, members, prefix, WRITE_INTERVAL)
    }

    /// Starts writers that pause for `interval` after each write. Longer intervals need less CPU
    /// time.
    pub fn with_interval(
        client: &Client,
        members: &[Ipv4Addr],
        prefix: &str,
        interval: Duration,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let trouble = Arc::new(Mutex::new(String::new()));
        let counts: Arc<Vec<AtomicUsize>> =
            Arc::new(members.iter().map(|_| AtomicUsize::new(0)).collect());
        let write = |own: usize| {
            let (stop, counts, trouble) = (stop.clone(), counts.clone(), trouble.clone());
            let (client, members, prefix) = (client.clone(), members.to_vec(), prefix.to_owned());
            thread::spawn(move || {
                let (mut acknowledged, mut failed, mut at) = (Vec::new(), 0, own);
                for number in 1_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let (key, value) = (
                        format!("{prefix}{own}/{number}"),
                        format!("{number} by {own}"),
                    );
                    match client.put(members[at % members.len()], &key, &value) {
                        Ok(()) => {
                            acknowledged.push(Acknowledged {
                                key,
                                value,
                                at: Instant::now(),
                            });
                            counts[own].fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            let why = format!("{}: {error:#}", members[at % members.len()]);
                            *trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
                            failed += 1;
                            at += 1;
                        }
                    }
                    sleep(interval);
                }
                (acknowledged, failed)
            })
        };
        let threads = (0..members.len()).map(write).collect();
        Self {
            stop,
            counts,
            trouble,
            threads,
        }
    }

    /// Waits until each writer has `more` additional acknowledged writes.
    pub fn wait_for_more(&self, more: usize, timeout: Duration) -> Result<()> {
        let now = || {
            self.counts
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .collect::<Vec<_>>()
        };
        let (before, end) = (now(), Instant::now() + timeout);
        while now()
            .iter()
            .zip(&before)
            .any(|(now, before)| now - before < more)
        {
            ensure!(
                Instant::now() < end,
                "after {timeout:?}, the numbers of writes have only risen from {before:?} to {:?}; {}",
                now(),
                trouble(&self.trouble)
            );
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Stops the writers and returns their writes.
    pub fn stop(self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = Written {
            writers: Vec::new(),
            failed: 0,
            trouble: String::new(),
        };
        for thread in self.threads {
            let (acknowledged, failed) = thread.join().map_err(|_| anyhow!("a writer panicked"))?;
            written.writers.push(acknowledged);
            written.failed += failed;
        }
        written.trouble = trouble(&self.trouble);
        Ok(written)
    }
}

fn trouble(last: &Mutex<String>) -> String {
    last.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Written {
    /// Returns the number of acknowledged writes.
    pub fn count(&self) -> usize {
        self.writers.iter().map(Vec::len).sum()
    }

    /// Returns two durations: the longest time that one writer waited for an acknowledgement, and
    /// the longest time in which no writer got an acknowledgement.
    pub fn longest_gaps(&self) -> (Duration, Duration) {
        let times =
            |writer: &Vec<Acknowledged>| writer.iter().map(|one| one.at).collect::<Vec<_>>();
        let one = self
            .writers
            .iter()
            .map(|writer| longest(times(writer)))
            .max();
        let all = longest(self.writers.iter().flat_map(times).collect());
        (one.unwrap_or_default(), all)
    }

    /// Checks that every acknowledged key exists with its value.
    pub fn kept_in(&self, found: &BTreeMap<String, String>) -> Result<()> {
        let all = self.writers.iter().flatten();
        let lost: Vec<String> = all
            .filter(|one| found.get(&one.key) != Some(&one.value))
            .map(|one| {
                format!(
                    "{}, acknowledged {:.1?} ago, is {:?}",
                    one.key,
                    one.at.elapsed(),
                    found.get(&one.key)
                )
            })
            .collect();
        ensure!(
            lost.is_empty(),
            "of {} acknowledged writes, {} are lost: {lost:#?}",
            self.count(),
            lost.len()
        );
        Ok(())
    }
}

fn longest(mut times: Vec<Instant>) -> Duration {
    times.sort();
    times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_lost_writes_are_found() {
        let begun = Instant::now();
        let written = |key: &str, ms| Acknowledged {
            key: key.to_owned(),
            value: "v".to_owned(),
            at: begun + Duration::from_millis(ms),
        };
        let one = vec![written("a", 0), written("b", 100), written("c", 900)];
        let other = vec![written("d", 50), written("e", 500)];
        let written = Written {
            writers: vec![one, other],
            failed: 0,
            trouble: String::new(),
        };
        assert_eq!(
            written.longest_gaps(),
            (Duration::from_millis(800), Duration::from_millis(400))
        );

        let mut found: BTreeMap<String, String> = ["a", "b", "c", "d", "e", "f"]
            .map(|key| (key.into(), "v".into()))
            .into();
        assert!(
            written.kept_in(&found).is_ok(),
            "an additional key is accepted, because its acknowledgement may have been lost"
        );
        found.insert("d".into(), "w".into());
        found.remove("e");
        let said = written.kept_in(&found).unwrap_err().to_string();
        assert!(
            said.contains("of 5 acknowledged writes, 2 are lost") && said.contains("d, ack"),
            "{said}"
        );
    }
}
