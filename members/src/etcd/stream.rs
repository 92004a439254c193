//! Receives a snapshot from the Maintenance API, as a stream of pieces.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use super::client::{Client, deepest};
use super::credentials::Credentials;
use super::wire::{SnapshotRequest, SnapshotResponse};

/// The flow-control window for unread bytes. HTTP/2's default of 64 KiB would stop the sender after
/// every second piece.
const WINDOW: u32 = 2 << 20;

/// A database that is being received.
#[derive(Debug)]
pub struct SnapshotStream(Streaming<SnapshotResponse>);

impl Client {
    /// Connects without a time limit for calls, because a snapshot can be of any size.
    pub async fn connect_bulk(url: &str, credentials: &Credentials) -> Result<Self> {
        let wide = |endpoint: tonic::transport::Endpoint| {
            endpoint
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
        };
        Self::open(url, credentials, wide).await
    }

    /// Requests the current database of the member.
    pub async fn snapshot(&self, patience: Duration) -> Result<SnapshotStream> {
        let mut grpc = Grpc::new(self.channel.clone());
        let codec: ProstCodec<SnapshotRequest, SnapshotResponse> = ProstCodec::default();
        let path = PathAndQuery::from_static("/etcdserverpb.Maintenance/Snapshot");
        let answer = async {
            grpc.ready()
                .await
                .map_err(|error| anyhow!("{}", deepest(&error)))?;
            let begun = grpc
                .server_streaming(Request::new(SnapshotRequest {}), path, codec)
                .await;
            Ok(SnapshotStream(
                begun
                    .map_err(|status| anyhow!("{}", status.message()))?
                    .into_inner(),
            ))
        };
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer,
            Err(_) => bail!(
                "the member did not start to send the snapshot within {} s",
                patience.as_secs()
            ),
        }
    }
}

impl SnapshotStream {
    /// Returns the next piece, or `None` at the end. Fails if the sender sends nothing for longer
    /// than `patience`.
    pub async fn next(&mut self, patience: Duration) -> Result<Option<SnapshotResponse>> {
        match tokio::time::timeout(patience, self.0.message()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(status)) => bail!("the stream was interrupted: {}", status.message()),
            Err(_) => bail!("the member sent nothing for {} s", patience.as_secs()),
        }
    }
}
