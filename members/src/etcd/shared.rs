//! Accesses the keys through which the nodes of a cluster coordinate, with reads, conditional
//! writes, watches and leases. A lease expires if its holder does not renew it, for example because
//! the holder has died.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures_util::{StreamExt as _, stream};
use http::uri::PathAndQuery;
use tonic::Request;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use super::client::{CALL_TIMEOUT, Client};
use super::wire::{
    Compare, DeleteRangeRequest, KeyValue, LeaseGrantRequest, LeaseGrantResponse,
    LeaseKeepAliveResponse, LeaseRequest, LeaseRevokeResponse, PutRequest, RangeRequest,
    RangeResponse, RequestOp, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest,
    WatchResponse,
};

/// A lease that this program holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease(i64);

impl Client {
    /// Reads a key through raft.
    pub async fn get(&self, key: &str) -> Result<Option<KeyValue>> {
        let request = RangeRequest {
            key: key.as_bytes().to_vec(),
            ..RangeRequest::default()
        };
        let answer: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
        Ok(answer.kvs.into_iter().next())
    }

    /// Reads all keys with this prefix from the member's own data, so the member also answers
    /// without a quorum. Returns the member's revision and the keys.
    pub async fn list_local(&self, prefix: &str) -> Result<(i64, Vec<KeyValue>)> {
        let mut range_end = prefix.as_bytes().to_vec();
        let last = range_end.last_mut().context("a bug: an empty prefix")?;
        *last += 1;
        let request = RangeRequest {
            key: prefix.as_bytes().to_vec(),
            range_end,
            serializable: true,
        };
        let answer: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
        Ok((answer.header.unwrap_or_default().revision, answer.kvs))
    }

    /// Writes a key if no key in `seen` has changed. `seen` contains keys, each with the revision
    /// of its last change; revision 0 means that the key must not exist. Returns whether the
    /// key was written.
    pub async fn put_if(
        &self,
        key: &str,
        seen: &[(&str, i64)],
        value: Vec<u8>,
        lease: Option<Lease>,
    ) -> Result<bool> {
        let put = PutRequest {
            key: key.as_bytes().to_vec(),
            value,
            lease: lease.map_or(0, |lease| lease.0),
        };
        self.commit(
            seen,
            vec![RequestOp {
                put: Some(put),
                delete: None,
            }],
        )
        .await
    }

    /// Makes all of these changes if no key in `seen` has changed. Otherwise, changes nothing. A
    /// change writes a key or, if it has no value, deletes the key. `seen` contains keys, each with
    /// the revision of its last change; revision 0 means that the key must not exist. Returns
    /// whether the changes were made.
    pub async fn transact(
        &self,
        seen: &[(&str, i64)],
        changes: &[(&str, Option<Vec<u8>>)],
    ) -> Result<bool> {
        let operation = |(key, value): &(&str, Option<Vec<u8>>)| {
            let key = key.as_bytes().to_vec();
            match value.clone() {
                Some(value) => RequestOp {
                    put: Some(PutRequest {
                        key,
                        value,
                        lease: 0,
                    }),
                    delete: None,
                },
                None => RequestOp {
                    put: None,
                    delete: Some(DeleteRangeRequest { key }),
                },
            }
        };
        self.commit(seen, changes.iter().map(operation).collect())
            .await
    }

    async fn commit(&self, seen: &[(&str, i64)], success: Vec<RequestOp>) -> Result<bool> {
        let compare = |(key, seen): &(&str, i64)| Compare {
            result: 0,
            target: 2,
            key: key.as_bytes().to_vec(),
            mod_revision: Some(*seen),
        };
        let request = TxnRequest {
            compare: seen.iter().map(compare).collect(),
            success,
        };
        let answer: TxnResponse = self.call("/etcdserverpb.KV/Txn", request).await?;
        Ok(answer.succeeded)
    }

    /// Waits until a key changes after this revision, but not longer than `patience`.
    ///
    /// # Errors
    /// Fails if the request fails, or if the member ends the watch.
    pub async fn wait_for_change(
        &self,
        key: &str,
        revision: i64,
        patience: Duration,
    ) -> Result<()> {
        let mut grpc = Grpc::new(self.channel.clone());
        let codec: ProstCodec<WatchRequest, WatchResponse> = ProstCodec::default();
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let create = WatchRequest {
            create: Some(WatchCreateRequest {
                key: key.as_bytes().to_vec(),
                start_revision: revision + 1,
            }),
        };
        let change = async {
            grpc.ready().await?;
            // etcd ends the watch when the client ends its stream of requests.
            let requests = stream::iter([create]).chain(stream::pending());
            let mut answers = grpc
                .streaming(Request::new(requests), path, codec)
                .await?
                .into_inner();
            loop {
                let answer = answers.message().await?.context("the watch has ended")?;
                ensure!(!answer.canceled, "etcd ended the watch");
                if !answer.events.is_empty() {
                    return Ok(());
                }
            }
        };
        // If the key does not change, the wait ends after `patience`, without an error.
        tokio::time::timeout(patience, change)
            .await
            .unwrap_or(Ok(()))
    }

    /// Requests a lease that lasts this many seconds.
    pub async fn lease(&self, seconds: i64) -> Result<Lease> {
        let request = LeaseGrantRequest { ttl: seconds };
        let answer: LeaseGrantResponse =
            self.call("/etcdserverpb.Lease/LeaseGrant", request).await?;
        Ok(Lease(answer.id))
    }

    /// Renews a lease.
    pub async fn keep_alive(&self, lease: Lease) -> Result<()> {
        let mut grpc = Grpc::new(self.channel.clone());
        let codec: ProstCodec<LeaseRequest, LeaseKeepAliveResponse> = ProstCodec::default();
        let path = PathAndQuery::from_static("/etcdserverpb.Lease/LeaseKeepAlive");
        let answer = async {
            grpc.ready().await?;
            let once = stream::iter([LeaseRequest { id: lease.0 }]);
            let mut answers = grpc
                .streaming(Request::new(once), path, codec)
                .await?
                .into_inner();
            answers
                .message()
                .await?
                .context("the member did not respond")
        };
        let answer: Result<LeaseKeepAliveResponse> =
            match tokio::time::timeout(CALL_TIMEOUT, answer).await {
                Ok(answer) => answer,
                Err(_) => bail!(
                    "the member did not respond within {} s",
                    CALL_TIMEOUT.as_secs()
                ),
            };
        let answer = answer.map_err(|error| anyhow!("cannot renew the lease: {error:#}"))?;
        ensure!(answer.ttl > 0, "the lease has expired");
        Ok(())
    }

    /// Revokes a lease, which deletes the keys attached to it.
    pub async fn revoke(&self, lease: Lease) -> Result<()> {
        self.call::<_, LeaseRevokeResponse>(
            "/etcdserverpb.Lease/LeaseRevoke",
            LeaseRequest { id: lease.0 },
        )
        .await
        .map(drop)
    }
}
