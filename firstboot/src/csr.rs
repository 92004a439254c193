//! `firstboot csr`: prints this node's request for certificates. The request contains no secrets,
//! so it may be sent to the CA over any channel.

use std::fmt::Write as _;

use anyhow::Result;
use recipes::node::PURPOSES;
use recipes::{ClusterDocument, Sha256, pem};
use ring::rand::SystemRandom;
use ring::signature::KeyPair as _;

use crate::machine::Machine;
use crate::output::show;
use crate::own_keys::{KeySet, OwnKeys, der};
use crate::{identity, own_keys};

/// The command line of `firstboot csr`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the request is printed; 1 failed; 3 the key file is damaged.\n\n\
    Example: firstboot csr >etcd-1.csr, then on the machine with the CA: builder pki sign recipe.toml etcd-1 etcd-1.csr >node.json"
)]
pub(crate) struct Options {
    /// Create new keys, and request certificates for them. The node uses its current keys until it
    /// receives a node document for the new keys
    #[arg(long)]
    new_key: bool,
}

/// Prints the request. Creates new keys if the operator requests them, or if this node does not
/// have keys yet.
pub(crate) fn run(options: &Options) -> Result<()> {
    let keys = if options.new_key {
        own_keys::ensure_next()?
    } else {
        match OwnKeys::read()?.into_next() {
            Some(next) => next,
            None => own_keys::ensure()?,
        }
    };
    let cluster = identity::cluster()?;
    Ok(show(&text(&keys, &about(&cluster, &Machine::observe()?))?)?)
}

fn about(cluster: &ClusterDocument, machine: &Machine) -> String {
    format!("cluster {}, {machine}", cluster.name)
}

/// Returns the request for the keys that need certificates, and the fingerprint of these keys.
/// Returns `None` if this node has not created any keys.
pub(crate) fn request(
    own: &OwnKeys,
    cluster: &ClusterDocument,
    machine: &Machine,
) -> Result<Option<(String, Sha256)>> {
    let Some(keys) = own.wanted() else {
        return Ok(None);
    };
    let text = text(keys, &about(cluster, machine))?;
    Ok(Some((text, keys.fingerprint()?)))
}

/// Returns a request for each key set that this node has. The first request is for the key set that
/// needs certificates.
pub(crate) fn requests(
    own: &OwnKeys,
    cluster: &ClusterDocument,
    machine: &Machine,
) -> Result<Vec<String>> {
    let about = about(cluster, machine);
    own.sets().map(|keys| text(keys, &about)).collect()
}

/// Formats the request as text, with comments for the reader and one certificate request for each
/// purpose. The CA uses only the requests' public keys.
pub(crate) fn text(keys: &KeySet, about: &str) -> Result<String> {
    let mut out = format!("# a request for the certificates of a node: {about}\n");
    writeln!(out, "# key {}", keys.fingerprint()?)?;
    for (pair, purpose) in keys.pairs()?.iter().zip(PURPOSES) {
        let info = der::request_info(&format!("etcd-image {purpose}"), pair.public_key().as_ref());
        let signature = pair
            .sign(&SystemRandom::new(), &info)
            .map_err(|error| anyhow::anyhow!("cannot sign a request: {error}"))?;
        out += &pem::encode(
            "CERTIFICATE REQUEST",
            &der::request(&info, signature.as_ref()),
        );
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssl_verifies_the_requests() {
        let keys = KeySet::generate().unwrap();
        let text = text(&keys, "a test").unwrap();
        assert!(text.contains(&keys.fingerprint().unwrap().to_string()));
        for key in 0..3 {
            assert!(!text.contains(keys.pem(key).lines().nth(1).unwrap()));
        }
        let requests: Vec<&str> = text
            .split_inclusive("-----END CERTIFICATE REQUEST-----\n")
            .filter(|part| part.contains("BEGIN"))
            .collect();
        assert_eq!(requests.len(), 3);
        let dir = tempfile::tempdir().unwrap();
        for (request, purpose) in requests.iter().zip(PURPOSES) {
            let path = dir.path().join(purpose);
            std::fs::write(&path, request).unwrap();
            let openssl = std::process::Command::new("openssl")
                .args(["req", "-verify", "-noout", "-subject", "-in"])
                .arg(&path)
                .output();
            // On a machine without openssl, this test ends here. tests/tests/cluster/own_keys.rs
            // tests such requests with the builder.
            let Ok(openssl) = openssl else { return };
            let said = String::from_utf8_lossy(&openssl.stdout).into_owned()
                + &String::from_utf8_lossy(&openssl.stderr);
            assert!(openssl.status.success(), "{said}");
            assert!(said.contains("verify OK"), "{said}");
            assert!(said.contains(purpose), "{said}");
        }
    }
}
