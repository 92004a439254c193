//! Provides access to etcd with this node's certificates.

use anyhow::Result;
pub(crate) use members::etcd::{
    AlarmMember, Client, Credentials, Lease, Member, ResponseHeader, SnapshotResponse,
    StatusResponse,
};

use crate::{files, paths};

/// Reads the installed CA certificates, and the client certificate with its key.
pub(crate) fn installed_credentials() -> Result<Credentials> {
    let read = |name: &str| files::read(format!("{}/{name}", paths::TLS));
    Ok(Credentials::new(
        &read("ca.crt")?,
        &read("client.crt")?,
        &read("client.key")?,
    ))
}

/// Probes etcd on this node, and returns the header of its answer, with the ids and the revision.
///
/// # Errors
/// Fails if etcd does not answer, or has no quorum.
pub(crate) async fn probe_local(credentials: &Credentials) -> Result<ResponseHeader> {
    let client = Client::connect(paths::OWN_CLIENT_URL, credentials).await?;
    // `healthy` performs a linearizable read, which a learner must not serve, so it fails on a
    // learner.
    client.healthy().await?;
    Ok(client.status().await?.header.unwrap_or_default())
}
