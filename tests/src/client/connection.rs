//! Requests to one cluster over connections that stay open.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::blocking;
use reqwest::{Certificate, Identity};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::Provisioning;
use crate::programs;

/// The time limit for a member's answer. An election takes one to two seconds. The limit is only a
/// little longer, so that a client soon queries another member if a member is dead.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// The PKI's folder with the certificate that [`Client::operator`] creates.
pub const OPERATOR: &str = "clients/writer";
/// The maximum number of keys in one answer.
const KEYS_PER_PAGE: usize = 5000;

/// A client. A clone is another handle to the same connections.
#[derive(Debug, Clone)]
pub struct Client(blocking::Client);

/// A member of the cluster, as it appears in a member list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The member's name, which is empty until the member has started once.
    #[serde(default)]
    pub name: String,
    /// The member's id, in decimal.
    #[serde(rename = "ID")]
    pub id: String,
    /// The addresses at which the member's peers reach it.
    #[serde(rename = "peerURLs", default)]
    pub peer_urls: Vec<String>,
    /// Whether the member is a learner.
    #[serde(default)]
    pub is_learner: bool,
}

impl Client {
    /// Makes a client in the test network's namespace `world`, with the first node's client
    /// certificate.
    pub fn new(provisioning: &Provisioning) -> Result<Self> {
        Self::with(provisioning, "nodes/etcd-1")
    }

    /// Makes a client with a certificate from `builder pki client`, for a cluster whose nodes
    /// generate their own keys.
    pub fn operator(provisioning: &Provisioning) -> Result<Self> {
        let pki = provisioning.pki();
        let arguments = ["pki", "client", "writer", "--pki", &pki.to_string_lossy()];
        programs::run_builder(&arguments)?.ok()?;
        Self::with(provisioning, OPERATOR)
    }

    /// Makes a client with the certificate in this folder of the PKI.
    pub fn with(provisioning: &Provisioning, folder: &str) -> Result<Self> {
        Self::with_timeout(provisioning, folder, CALL_TIMEOUT)
    }

    /// Makes a client with the certificate in this folder of the PKI. The client waits for each
    /// answer for at most `timeout`.
    pub fn with_timeout(
        provisioning: &Provisioning,
        folder: &str,
        timeout: Duration,
    ) -> Result<Self> {
        // The first caller installs the TLS provider. An error only means that a provider is
        // already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pki = provisioning.pki();
        let read = |name: &str| {
            fs::read(pki.join(name))
                .with_context(|| format!("cannot read {name} in the PKI folder"))
        };
        let cas = Certificate::from_pem_bundle(&read("ca.crt")?)?;
        let own = [
            read(&format!("{folder}/client.key"))?,
            read(&format!("{folder}/client.crt"))?,
        ]
        .concat();
        let builder = blocking::Client::builder()
            .tls_certs_only(cas)
            .identity(Identity::from_pem(&own)?)
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .timeout(timeout);
        // The client's thread, which does all the work, is started in the namespace and stays in
        // it.
        let client = provisioning
            .network
            .world()
            .within(move || builder.build())?;
        client
            .map(Self)
            .context("cannot make an HTTP client with the cluster's certificates")
    }

    /// Calls a method of a member's API, such as `kv/put`.
    pub fn call<T: DeserializeOwned>(
        &self,
        member: Ipv4Addr,
        method: &str,
        request: &Value,
    ) -> Result<T> {
        let url = format!("https://{member}:2379/v3/{method}");
        let answer = self
            .0
            .post(&url)
            .body(request.to_string())
            .send()
            .map_err(|error| anyhow!(deepest(&error)))?;
        let status = answer.status();
        let body = answer.text().map_err(|error| anyhow!(deepest(&error)))?;
        ensure!(status.is_success(), "{url} answered {status}: {body}");
        serde_json::from_str(&body).with_context(|| format!("{url} answered {body:?}"))
    }

    /// Writes a key. When this function returns `Ok`, the cluster has acknowledged the write.
    pub fn put(&self, member: Ipv4Addr, key: &str, value: &str) -> Result<()> {
        #[derive(Deserialize)]
        struct Done {
            header: Header,
        }
        #[derive(Deserialize)]
        struct Header {
            revision: String,
        }
        let request = json!({ "key": BASE64.encode(key), "value": BASE64.encode(value) });
        let done: Done = self.call(member, "kv/put", &request)?;
        ensure!(
            done.header
                .revision
                .parse::<u64>()
                .is_ok_and(|revision| revision > 1),
            "the answer to a write has no revision"
        );
        Ok(())
    }

    /// Writes keys with their values, all in one transaction.
    pub fn put_all(&self, member: Ipv4Addr, pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let put = |(key, value): &(Vec<u8>, Vec<u8>)| json!({ "requestPut": { "key": BASE64.encode(key), "value": BASE64.encode(value) } });
        let all: Vec<Value> = pairs.iter().map(put).collect();
        let done: Value = self.call(member, "kv/txn", &json!({ "success": all }))?;
        ensure!(done["succeeded"] == true, "{member} answers {done}");
        Ok(())
    }

    /// Reads all keys with the prefix from this member. Before the read, the member applies every
    /// write that has been acknowledged so far.
    pub fn all(&self, member: Ipv4Addr, prefix: &str) -> Result<BTreeMap<String, String>> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            kvs: Vec<Pair>,
            #[serde(default)]
            more: bool,
        }
        #[derive(Deserialize)]
        struct Pair {
            key: String,
            #[serde(default)]
            value: String,
        }
        // A linearizable read returns only when the member has caught up.
        self.call::<Value>(
            member,
            "kv/range",
            &json!({ "key": BASE64.encode("caught up") }),
        )?;
        let end = BASE64.encode(end_of(prefix));
        let text =
            |base64: &str| -> Result<String> { Ok(String::from_utf8(BASE64.decode(base64)?)?) };
        let (mut from, mut found) = (prefix.as_bytes().to_vec(), BTreeMap::new());
        loop {
            let request = json!({ "key": BASE64.encode(&from), "range_end": end, "limit": KEYS_PER_PAGE, "serializable": true });
            let page: Page = self.call(member, "kv/range", &request)?;
            for pair in &page.kvs {
                found.insert(text(&pair.key)?, text(&pair.value)?);
            }
            let Some((last, _)) = found.last_key_value().filter(|_| page.more) else {
                return Ok(found);
            };
            from = [last.as_bytes(), b"\0"].concat();
        }
    }

    /// Writes the given number of keys with values of the given size, as fast as possible.
    pub fn fill(&self, members: &[Ipv4Addr], keys: usize, size: usize) -> Result<()> {
        let next = AtomicUsize::new(0);
        let value = "v".repeat(size);
        thread::scope(|scope| {
            let write = |at: usize| {
                let (next, value, member) = (&next, &value, members[at % members.len()]);
                scope.spawn(move || -> Result<()> {
                    loop {
                        let key = next.fetch_add(1, Ordering::Relaxed);
                        if key >= keys {
                            return Ok(());
                        }
                        insist(|| self.put(member, &format!("filled/{key}"), value))?;
                    }
                })
            };
            let writers: Vec<_> = (0..12).map(write).collect();
            writers
                .into_iter()
                .try_for_each(|writer| writer.join().map_err(|_| anyhow!("a writer panicked"))?)
        })
    }

    /// Removes all keys with the prefix.
    pub fn delete_all(&self, member: Ipv4Addr, prefix: &str) -> Result<()> {
        let request =
            json!({ "key": BASE64.encode(prefix), "range_end": BASE64.encode(end_of(prefix)) });
        self.call::<Value>(member, "kv/deleterange", &request)
            .map(drop)
    }

    /// Returns whether this member is the leader.
    pub fn leads(&self, member: Ipv4Addr) -> Result<bool> {
        #[derive(Deserialize)]
        struct Status {
            header: Header,
            leader: String,
        }
        #[derive(Deserialize)]
        struct Header {
            member_id: String,
        }
        let status: Status = self.call(member, "maintenance/status", &json!({}))?;
        Ok(status.leader == status.header.member_id)
    }

    /// Returns this member's own member list, without a query to the other members.
    pub fn members(&self, member: Ipv4Addr) -> Result<Vec<Member>> {
        #[derive(Deserialize)]
        struct List {
            members: Vec<Member>,
        }
        Ok(self
            .call::<List>(member, "cluster/member/list", &json!({}))?
            .members)
    }
}

/// Retries a request for a few minutes, because an answer can be late on a busy machine.
pub fn insist<T>(ask: impl Fn() -> Result<T>) -> Result<T> {
    let end = Instant::now() + Duration::from_secs(240);
    loop {
        match ask() {
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => sleep(Duration::from_millis(100)),
            done => return done,
        }
    }
}

/// Returns the first key that sorts after all keys with the prefix.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

fn deepest(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), deepest)
}
