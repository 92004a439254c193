//! The right to do what one member does at a time. It is a key under a lease: who dies loses it.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::client::Client;
use super::shared::Lease;

/// A member that died loses its claim after so many seconds.
const LEASE: i64 = 60;
/// How often a claim is renewed.
const RENEW: Duration = Duration::from_secs(15);

/// A right that this member has.
#[derive(Debug)]
pub(crate) struct LeaseLock<'a> {
    client: &'a Client,
    lease: Lease,
}

impl<'a> LeaseLock<'a> {
    /// Gets what the key stands for, in this name, unless another has it.
    pub(crate) async fn get(client: &'a Client, key: &str, name: impl Into<Vec<u8>>) -> Result<Option<Self>> {
        if client.get(key).await?.is_some() {
            return Ok(None);
        }
        let claim = Self { client, lease: client.lease(LEASE).await? };
        if client.put_if(key, 0, name.into(), Some(claim.lease)).await? {
            return Ok(Some(claim));
        }
        claim.end().await;
        Ok(None)
    }

    /// Does some work while the claim is renewed. Where it cannot be renewed the work goes on: to be cut short in the
    /// middle is worse than to be done twice.
    pub(crate) async fn hold<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(RENEW) => {
                    if let Err(error) = self.client.keep_alive(self.lease).await {
                        eprintln!("firstboot: {error:#}");
                    }
                }
            }
        }
    }

    /// Gives it back.
    pub(crate) async fn end(self) {
        let ended = self.client.revoke(self.lease).await.context("the claim ends by itself in a minute");
        if let Err(error) = ended {
            eprintln!("firstboot: {error:#}");
        }
    }
}
