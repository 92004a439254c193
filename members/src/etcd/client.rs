//! A connection to one member, with the calls that this project needs.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::credentials::Credentials;
use super::wire::{self, AlarmMember, HashKv, Member, StatusResponse};

/// The time limit for one connection attempt, and for one call.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to one member.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) channel: Channel,
}

impl Client {
    /// Connects to a member's client URL.
    pub async fn connect(url: &str, credentials: &Credentials) -> Result<Self> {
        Self::open(url, credentials, |endpoint| endpoint.timeout(CALL_TIMEOUT)).await
    }

    pub(super) async fn open(
        url: &str,
        credentials: &Credentials,
        set: impl FnOnce(Endpoint) -> Endpoint,
    ) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .with_context(|| format!("{url} is not a URL"))?
            .tls_config(credentials.tonic())
            .context("cannot use the client certificate")?
            .connect_timeout(CALL_TIMEOUT);
        let endpoint = set(endpoint);
        // tonic's own time limit covers only the TCP handshake. If a firewall begins to drop
        // packets after the TCP handshake, the connection never receives data.
        let connected = tokio::time::timeout(CALL_TIMEOUT, endpoint.connect()).await;
        match connected {
            Ok(Ok(channel)) => Ok(Self { channel }),
            Ok(Err(error)) => bail!("{}", deepest(&error)),
            Err(_) => bail!(
                "the TLS handshake with {url} was not complete within {} s",
                CALL_TIMEOUT.as_secs()
            ),
        }
    }

    pub(super) async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.call_within(CALL_TIMEOUT, path, request).await
    }

    async fn call_within<Q, A>(
        &self,
        patience: Duration,
        path: &'static str,
        request: Q,
    ) -> Result<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        let answer = async {
            grpc.ready()
                .await
                .map_err(|error| anyhow!("{}", deepest(&error)))?;
            grpc.unary(
                tonic::Request::new(request),
                PathAndQuery::from_static(path),
                codec,
            )
            .await
            .map_err(|status| anyhow!("{}", status.message()))
        };
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => bail!("the member did not respond within {} s", patience.as_secs()),
        }
    }

    /// Requests the status of the member.
    pub async fn status(&self) -> Result<StatusResponse> {
        self.call("/etcdserverpb.Maintenance/Status", wire::StatusRequest {})
            .await
    }

    /// Requests the hash of all the member's data up to a revision. The member blocks writes while
    /// it computes the hash.
    pub async fn hash_kv(&self, revision: i64, patience: Duration) -> Result<HashKv> {
        self.call_within(
            patience,
            "/etcdserverpb.Maintenance/HashKV",
            wire::HashKvRequest { revision },
        )
        .await
    }

    /// Requests this member's own member list. With `linearizable`, requests the list on which a
    /// quorum agrees (3.5 and later).
    pub async fn members(&self, linearizable: bool) -> Result<Vec<Member>> {
        let request = wire::MemberListRequest { linearizable };
        let answer: wire::MemberListResponse = self
            .call("/etcdserverpb.Cluster/MemberList", request)
            .await?;
        Ok(answer.members)
    }

    /// Adds a learner, and returns its id. If the call fails, etcd may still have added the
    /// learner.
    pub async fn add_learner(&self, peer_url: &str) -> Result<u64> {
        let request = wire::MemberAddRequest {
            peer_urls: vec![peer_url.to_owned()],
            is_learner: true,
        };
        let answer: wire::MemberAddResponse = self
            .call("/etcdserverpb.Cluster/MemberAdd", request)
            .await?;
        Ok(answer
            .member
            .context("etcd added a member but did not return its id")?
            .id)
    }

    /// Removes a member. If the call fails, etcd may still have removed the member.
    pub async fn remove(&self, id: u64) -> Result<()> {
        let request = wire::MemberIdRequest { id };
        self.call::<_, wire::MembersResponse>("/etcdserverpb.Cluster/MemberRemove", request)
            .await
            .map(drop)
    }

    /// Promotes a learner to a voter. The leader refuses the promotion until the learner is in
    /// sync.
    pub async fn promote(&self, id: u64) -> Result<()> {
        let request = wire::MemberIdRequest { id };
        self.call::<_, wire::MembersResponse>("/etcdserverpb.Cluster/MemberPromote", request)
            .await
            .map(drop)
    }

    /// Transfers the leadership to another voter. Only the leader can transfer the leadership.
    pub async fn move_leader(&self, to: u64) -> Result<()> {
        let request = wire::MoveLeaderRequest { target: to };
        self.call::<_, wire::MoveLeaderResponse>("/etcdserverpb.Maintenance/MoveLeader", request)
            .await
            .map(drop)
    }

    /// Enables the downgrade of the cluster to `3.minor`. The leader lowers the cluster version
    /// within a few seconds, if every member answers the leader.
    pub async fn enable_downgrade(&self, minor: u64) -> Result<()> {
        self.downgrade(1, format!("3.{minor}.0")).await
    }

    /// Cancels the active downgrade. The cluster version stays unchanged while a member runs the
    /// older version. The member must run 3.6 or later, because 3.5 executes the request but does
    /// not answer it (server/etcdserver/apply.go of 3.5 returns no result).
    pub async fn cancel_downgrade(&self) -> Result<()> {
        self.downgrade(2, String::new()).await
    }

    async fn downgrade(&self, action: i32, version: String) -> Result<()> {
        let request = wire::DowngradeRequest { action, version };
        self.call::<_, wire::DowngradeResponse>("/etcdserverpb.Maintenance/Downgrade", request)
            .await
            .map(drop)
    }

    /// Lists the active alarms.
    pub async fn alarms(&self) -> Result<Vec<AlarmMember>> {
        let answer: wire::AlarmResponse = self
            .call(
                "/etcdserverpb.Maintenance/Alarm",
                wire::AlarmRequest::default(),
            )
            .await?;
        Ok(answer.alarms)
    }

    /// Reads through raft, as `etcdctl endpoint health` does. A member answers a read through raft
    /// only if it is connected to a quorum.
    pub async fn healthy(&self) -> Result<()> {
        let request = wire::RangeRequest {
            key: b"health".to_vec(),
            ..wire::RangeRequest::default()
        };
        match self
            .call::<_, wire::RangeResponse>("/etcdserverpb.KV/Range", request)
            .await
        {
            Ok(_) => Ok(()),
            // With authentication enabled, a refusal also shows that the request went through raft.
            Err(error) if error.to_string().contains("permission denied") => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Returns the text of the innermost error. tonic wraps an error twice, and only the innermost
/// error contains the reason.
pub(super) fn deepest(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), deepest)
}
