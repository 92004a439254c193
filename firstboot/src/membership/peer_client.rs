//! Implements the barrier's client, which determines which program answers on a member's peer port,
//! and downloads snapshots. The client also reads pages from etcd's client port.

use std::error::Error;
use std::time::Duration;
use std::{fmt, io};

use anyhow::{Context as _, Result, anyhow, ensure};
use recipes::cluster::Member;
use recipes::node::NodeTls;
use recipes::{ClusterDocument, EtcdVersion, Label, Sha256};
use reqwest::header::{DATE, RANGE};
use reqwest::{Response, StatusCode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::protocol::PeerState;
use super::{peer_tls, protocol};

/// The time limit for a complete answer: a TLS handshake and an HTTP response, over a local
/// network.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(1500);
/// The time limit for a TCP connection to be established.
const CONNECT: Duration = Duration::from_secs(1);

/// The time limit for a complete snapshot. The reader itself detects a stalled stream.
const STREAM: Duration = Duration::from_secs(6 * 3600);

/// The reason of [`ProbeResult::Unreachable`] if a time limit passed.
pub(crate) const NO_ANSWER: &str = "no answer in time";
/// The reason of [`ProbeResult::Unreachable`] if the kernel could not resolve the address.
pub(crate) const NO_ROUTE: &str = "no route to host";

/// The result of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    /// firstboot or etcd answered.
    State(PeerState),
    /// No program answered, for this reason.
    Unreachable(String),
    /// The answer is neither a valid answer of this member's firstboot nor an answer of etcd. The
    /// text explains why.
    UnexpectedResponder(String),
}

/// A client that sends requests to members with this node's peer certificate.
#[derive(Debug, Clone)]
pub(crate) struct PeerClient {
    client: reqwest::Client,
    cluster: Label,
    /// The version of this node's etcd.
    etcd: EtcdVersion,
}

impl fmt::Display for ProbeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(PeerState::Etcd { .. }) => f.write_str("etcd is running there"),
            Self::State(PeerState::Firstboot { mode, .. }) => write!(f, "it is waiting to {mode}"),
            Self::Unreachable(why) | Self::UnexpectedResponder(why) => f.write_str(why),
        }
    }
}

impl PeerClient {
    /// Creates a client that uses the node's own peer certificate.
    pub(crate) fn new(cluster: &ClusterDocument, tls: &NodeTls) -> Result<Self> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(peer_tls::client(tls)?)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(REQUEST_TIMEOUT)
            .pool_max_idle_per_host(1);
        let client = client
            .build()
            .context("cannot create an HTTP client with the peer certificate")?;
        Ok(Self {
            client,
            cluster: cluster.name.clone(),
            etcd: cluster.etcd.version,
        })
    }

    /// Probes one member. With `news`, the probe notifies the member that this node's state has
    /// changed. The client does not accept an answer after the time limit, so an old answer never
    /// arrives after a newer answer.
    pub(crate) async fn probe(&self, member: &Member, news: bool) -> ProbeResult {
        match self.try_ask(member, news).await {
            Ok(heard) => heard,
            Err(error) => no_answer(&error),
        }
    }

    /// Sends an HTTP request to a member's client port, on which etcd also accepts the peer
    /// certificate. Returns the body of the response and, if the response contains a date, the time
    /// of the member's clock to the second.
    pub(crate) async fn page(
        &self,
        url: &str,
        path: &str,
        limit: usize,
    ) -> Result<(String, Option<OffsetDateTime>)> {
        let answer = self
            .client
            .get(format!("{url}{path}"))
            .send()
            .await?
            .error_for_status()?;
        let date = answer
            .headers()
            .get(DATE)
            .and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
        let bytes = bounded(answer, limit)
            .await?
            .with_context(|| format!("{path} is longer than {limit} bytes"))?;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), date))
    }

    /// Requests the snapshot that a member at the barrier was ordered to restore. The response
    /// starts at the offset `from`.
    pub(crate) async fn snapshot(
        &self,
        member: &Member,
        snapshot: &Sha256,
        from: u64,
    ) -> Result<Response> {
        let url = format!("{}{}{snapshot}", member.peer_url(), protocol::SNAPSHOTS);
        let request = self
            .client
            .get(url)
            .timeout(STREAM)
            .header(RANGE, format!("bytes={from}-"));
        let answer = request
            .send()
            .await
            .map_err(|error| anyhow!("{}", no_answer(&error)))?
            .error_for_status()?;
        ensure!(
            answer.status() == StatusCode::PARTIAL_CONTENT,
            "the member answered {}",
            answer.status()
        );
        Ok(answer)
    }

    async fn try_ask(&self, member: &Member, news: bool) -> reqwest::Result<ProbeResult> {
        let url = member.peer_url();
        let query = if news {
            format!("?{}", protocol::NEWS)
        } else {
            String::new()
        };
        let answer = self
            .client
            .get(format!("{url}{}{query}", protocol::PATH))
            .send()
            .await?;
        if answer.status() == StatusCode::OK {
            let Some(bytes) = bounded(answer, protocol::LIMIT).await? else {
                return Ok(ProbeResult::UnexpectedResponder(
                    "its answer is too long".to_owned(),
                ));
            };
            let state = protocol::read(&bytes, &self.cluster, self.etcd, &member.name);
            return Ok(state.map_or_else(ProbeResult::UnexpectedResponder, ProbeResult::State));
        }
        // firstboot did not answer, so etcd may be running on the member. etcd serves its member
        // list at `/members`, with the cluster's id in a header.
        let answer = self.client.get(format!("{url}/members")).send().await?;
        let id = answer
            .headers()
            .get("x-etcd-cluster-id")
            .and_then(|id| id.to_str().ok());
        Ok(match id.and_then(|id| u64::from_str_radix(id, 16).ok()) {
            Some(cluster_id) => ProbeResult::State(PeerState::Etcd { cluster_id }),
            None => ProbeResult::UnexpectedResponder(format!(
                "it answered {} to a request for etcd's member list",
                answer.status()
            )),
        })
    }
}

async fn bounded(mut answer: Response, limit: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > limit {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

/// Distinguishes an unreachable peer from a peer that uses a different protocol.
fn no_answer(error: &reqwest::Error) -> ProbeResult {
    if error.is_timeout() {
        return ProbeResult::Unreachable(NO_ANSWER.to_owned());
    }
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        if let Some(io) = source.downcast_ref::<io::Error>()
            && io.get_ref().is_none()
        {
            return ProbeResult::Unreachable(words_of(io));
        }
        deepest = source;
    }
    // `deepest` may be an `io::Error` that wraps another error, for example a TLS error, because
    // `io::Error::source()` skips the wrapped error.
    let said = deepest.to_string();
    if error.is_connect() || error.is_decode() || error.is_body() {
        return ProbeResult::UnexpectedResponder(said);
    }
    // The peer closed the connection during the request, as firstboot does before etcd opens the
    // port.
    ProbeResult::Unreachable(said)
}

fn words_of(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => NO_ROUTE.to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_date_is_parsed() {
        let date = OffsetDateTime::parse("Sun, 22 Nov 2026 09:56:05 GMT", &Rfc2822).unwrap();
        assert_eq!(date.unix_timestamp(), 1_795_341_365);
    }
}
