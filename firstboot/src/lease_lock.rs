//! Implements a lock that at most one member of the cluster holds at a time. The lock is a key with
//! a lease. If the holder dies, the lease expires.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::etcd::{Client, Lease};

/// The number of seconds after which the lock of a dead member expires.
const LEASE: i64 = 60;
/// The pause between two renewals of the lease.
const RENEW: Duration = Duration::from_secs(15);

/// A lock that this member holds.
#[derive(Debug)]
pub(crate) struct LeaseLock<'a> {
    client: &'a Client,
    lease: Lease,
}

impl<'a> LeaseLock<'a> {
    /// Acquires the lock `key` for the holder `name`. Returns `None` if the lock is held, or if the
    /// revision of a key in `seen` has changed.
    pub(crate) async fn try_acquire(
        client: &'a Client,
        key: &str,
        name: impl Into<Vec<u8>>,
        seen: &[(&str, i64)],
    ) -> Result<Option<Self>> {
        if client.get(key).await?.is_some() {
            return Ok(None);
        }
        let lock = Self {
            client,
            lease: client.lease(LEASE).await?,
        };
        if client
            .put_if(
                key,
                &[&[(key, 0)], seen].concat(),
                name.into(),
                Some(lock.lease),
            )
            .await?
        {
            return Ok(Some(lock));
        }
        lock.release().await;
        Ok(None)
    }

    /// Renews the lock while the work runs. The work continues even if a renewal fails, because an
    /// interruption of the work would do more harm than the loss of the lock.
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

    pub(crate) async fn release(self) {
        let released = self
            .client
            .revoke(self.lease)
            .await
            .context("cannot release the lock, which expires within a minute");
        if let Err(error) = released {
            eprintln!("firstboot: {error:#}");
        }
    }
}
