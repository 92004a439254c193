//! Checks the node's certificates against the rules of etcd and of its peers, and installs them
//! (the guide's step 3.2.4).

use anyhow::{Context as _, Result};
use recipes::node::{KeyPair, NodeTls};
use rustls::pki_types::UnixTime;

use crate::certificates::{Authority, PEER};
use crate::change::{Change, file, folder};
use crate::files::{self, DesiredDir, DesiredFile, ETCD, ROOT};
use crate::identity::Identity;
use crate::paths;

/// Checks that certificates work on this node. If a certificate does not work, the error contains
/// the reason, which etcd's own log would not contain.
pub(crate) fn check(identity: &Identity, tls: &NodeTls) -> Result<()> {
    let names = names(identity);
    check_at(identity, tls, &names, UnixTime::now())
}

/// Returns the names that a server or peer certificate must have. etcdctl on the node uses
/// 127.0.0.1, and etcd distinguishes peers from clients by the name in `PEER`, which client
/// certificates do not contain.
fn names(identity: &Identity) -> Vec<String> {
    let node = &identity.node;
    let address = node.address.to_string();
    vec![
        node.name.to_string(),
        identity.fqdn(),
        address,
        PEER.to_owned(),
        "127.0.0.1".to_owned(),
    ]
}

fn check_at(identity: &Identity, tls: &NodeTls, names: &[String], now: UnixTime) -> Result<()> {
    let authority = Authority::new(&tls.ca)?;
    for (what, pair, names) in [
        ("server", &tls.server, names),
        ("peer", &tls.peer, names),
        ("client", &tls.client, &[]),
    ] {
        let chain = authority.check(pair, names, now);
        chain.with_context(|| {
            format!(
                "the {what} certificate of {} cannot be used",
                identity.node.name
            )
        })?;
    }
    Ok(())
}

fn at(name: &str) -> String {
    format!("{}/{name}", paths::TLS)
}

/// Returns the installed certificates and keys, or `None` if one is missing.
pub(crate) fn installed() -> Result<Option<NodeTls>> {
    let read = |name: String| -> Result<Option<String>> {
        let bytes = files::read_if_there(at(&name))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let pair = |name: &str| -> Result<Option<KeyPair>> {
        let (cert, key) = (read(format!("{name}.crt"))?, read(format!("{name}.key"))?);
        Ok(cert.zip(key).map(|(cert, key)| KeyPair { cert, key }))
    };
    let (ca, server, peer, client) = (
        read("ca.crt".to_owned())?,
        pair("server")?,
        pair("peer")?,
        pair("client")?,
    );
    let all = ca.zip(server).zip(peer.zip(client));
    Ok(all.map(|((ca, server), (peer, client))| NodeTls {
        ca,
        server,
        peer,
        client,
    }))
}

/// Returns the changes that install certificates and keys. Only root and etcd can read the keys of
/// the server and peer certificates, and only root can read the client's key.
pub(super) fn install(tls: &NodeTls) -> Result<Vec<Change>> {
    let mut files = vec![DesiredFile::new(at("ca.crt"), tls.ca.as_str())];
    for (name, pair, owner) in [
        ("server", &tls.server, ETCD),
        ("peer", &tls.peer, ETCD),
        ("client", &tls.client, ROOT),
    ] {
        // Write the key before the certificate. If power fails between the two writes, the key and
        // the certificate do not match, and the next run writes the certificate.
        files.push(
            DesiredFile::new(at(&format!("{name}.key")), pair.key.as_str()).mode(0o600, owner),
        );
        files.push(DesiredFile::new(
            at(&format!("{name}.crt")),
            pair.cert.as_str(),
        ));
    }
    let mut changes: Vec<Change> = folder(DesiredDir::new(paths::TLS, 0o750, (0, ETCD.1)))?
        .into_iter()
        .collect();
    for wanted in files {
        let path = wanted.path.clone();
        changes.extend(file(wanted).with_context(|| format!("cannot install {}", path.display()))?);
    }
    Ok(changes)
}

#[cfg(test)]
pub(super) mod tests;
