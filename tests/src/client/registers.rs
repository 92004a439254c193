//! Clients that continuously perform reads, writes and compare-and-set operations on one key after
//! another, and record the time and the result of each operation.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::Client;
use crate::linearizability::{Action, Operation, check};

/// The pause between two operations of one client.
const OPERATION_INTERVAL: Duration = Duration::from_millis(10);
/// The number of operations on one key before the clients move on to the next key. An unanswered
/// operation can still take effect at any later time, so the search for a linearizable order takes
/// longer with each operation on the key. The limit keeps this search short.
const OPERATIONS_PER_REGISTER: u64 = 60;
/// The number of clients for each member. With two clients, one can write while the other reads.
const CLIENTS_PER_MEMBER: usize = 2;

/// Running clients.
#[derive(Debug)]
pub struct Registers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<(u64, Operation)>>>,
}

/// The operations of all clients, key by key.
#[derive(Debug)]
pub struct Histories(BTreeMap<u64, Vec<Operation>>);

/// The state that the clients share.
struct Shared {
    client: Client,
    prefix: String,
    begun: Instant,
    /// The number of operations started so far, which determines the key of the next operation.
    count: AtomicU64,
    /// The most recently assigned value. No value is assigned twice.
    values: AtomicU64,
    stop: Arc<AtomicBool>,
}

impl Registers {
    /// Starts the clients. Each member is the first target of two clients. A client moves on to the
    /// next member when the current one does not answer.
    pub fn start(client: &Client, members: &[Ipv4Addr], prefix: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            client: client.clone(),
            prefix: prefix.to_owned(),
            begun: Instant::now(),
            count: AtomicU64::new(0),
            values: AtomicU64::new(0),
            stop: stop.clone(),
        });
        let begin = |number: usize| {
            let (shared, members) = (shared.clone(), members.to_vec());
            thread::spawn(move || shared.work(number, &members))
        };
        Self {
            stop,
            threads: (0..members.len() * CLIENTS_PER_MEMBER).map(begin).collect(),
        }
    }

    /// Stops the clients and returns their histories.
    pub fn stop(self) -> Result<Histories> {
        self.stop.store(true, Ordering::Relaxed);
        let mut histories: BTreeMap<u64, Vec<Operation>> = BTreeMap::new();
        for thread in self.threads {
            for (key, operation) in thread.join().map_err(|_| anyhow!("a client panicked"))? {
                histories.entry(key).or_default().push(operation);
            }
        }
        Ok(Histories(histories))
    }
}

impl Shared {
    fn work(&self, number: usize, members: &[Ipv4Addr]) -> Vec<(u64, Operation)> {
        let (mut done, mut at) = (Vec::new(), number);
        // The current key, and the value that this client last read or wrote there. If a
        // compare-and-set expected any other value, it would almost always fail.
        let mut last = (0, None);
        let mut random = fastrand::Rng::new();
        while !self.stop.load(Ordering::Relaxed) {
            let key = self.count.fetch_add(1, Ordering::Relaxed) / OPERATIONS_PER_REGISTER;
            if last.0 != key {
                last = (key, None);
            }
            let value = self.values.fetch_add(1, Ordering::Relaxed) + 1;
            let deed = match random.u8(..4) {
                0 | 1 => Action::Read(None),
                2 => Action::Write(value),
                _ => Action::CompareAndSwap(last.1, value),
            };
            let begun = self.now();
            let answer = self.client.register(
                members[at % members.len()],
                &format!("{}{key}", self.prefix),
                deed,
            );
            let ended = self.now();
            if let Ok(deed) = answer {
                last.1 = match deed {
                    Action::Read(value) | Action::Refused(_, value) => value,
                    Action::Write(value) | Action::CompareAndSwap(_, value) => Some(value),
                };
                done.push((
                    key,
                    Operation {
                        client: number,
                        begun,
                        ended: Some(ended),
                        action: deed,
                    },
                ));
            } else {
                at += 1;
                if !matches!(deed, Action::Read(_)) {
                    done.push((
                        key,
                        Operation {
                            client: number,
                            begun,
                            ended: None,
                            action: deed,
                        },
                    ));
                }
            }
            sleep(OPERATION_INTERVAL);
        }
        done
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Client {
    /// Performs the operation on a key through this member and returns the result. After an error,
    /// the member may or may not have applied the operation.
    fn register(&self, member: Ipv4Addr, key: &str, deed: Action) -> Result<Action> {
        let name = BASE64.encode(key);
        let put = |value: u64| json!({ "key": name, "value": BASE64.encode(value.to_string()) });
        match deed {
            Action::Read(_) => Ok(Action::Read(value_in(&self.call(
                member,
                "kv/range",
                &json!({ "key": name }),
            )?)?)),
            Action::Write(value) => {
                let done: Value = self.call(member, "kv/put", &put(value))?;
                ensure!(
                    done["header"]["revision"].is_string(),
                    "the answer to a write has no revision: {done}"
                );
                Ok(deed)
            }
            Action::CompareAndSwap(expected, value) => {
                let compare = match expected {
                    None => {
                        json!({ "key": name, "target": "VERSION", "result": "EQUAL", "version": "0" })
                    }
                    Some(expected) => json!({
                        "key": name, "target": "VALUE", "result": "EQUAL", "value": BASE64.encode(expected.to_string())
                    }),
                };
                let request = json!({
                    "compare": [compare],
                    "success": [{ "requestPut": put(value) }],
                    "failure": [{ "requestRange": { "key": name } }],
                });
                let done: Value = self.call(member, "kv/txn", &request)?;
                if done["succeeded"] == true {
                    return Ok(deed);
                }
                ensure!(
                    done["header"]["revision"].is_string(),
                    "the answer to a compare-and-set has no revision: {done}"
                );
                Ok(Action::Refused(
                    expected,
                    value_in(&done["responses"][0]["response_range"])?,
                ))
            }
            Action::Refused(..) => bail!("a bug: `Refused` is a result, not a request"),
        }
    }
}

/// Returns the value in the answer to a range request.
fn value_in(answer: &Value) -> Result<Option<u64>> {
    ensure!(
        answer.is_object(),
        "the answer to a range request is invalid: {answer}"
    );
    let Some(pair) = answer["kvs"].get(0) else {
        return Ok(None);
    };
    let text = BASE64.decode(pair["value"].as_str().unwrap_or_default())?;
    Ok(Some(String::from_utf8(text)?.parse().with_context(
        || format!("{pair} is not a value that the test wrote"),
    )?))
}

impl Histories {
    /// Returns the number of answered operations.
    pub fn count(&self) -> usize {
        self.0
            .values()
            .flatten()
            .filter(|operation| operation.ended.is_some())
            .count()
    }

    /// Checks that each key's history is linearizable.
    pub fn check(&self) -> Result<()> {
        for (key, history) in &self.0 {
            check(history).map_err(|why| anyhow!("the key {key}: {why}"))?;
        }
        Ok(())
    }
}
