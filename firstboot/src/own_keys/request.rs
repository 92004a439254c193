//! `firstboot csr`: prints this node's request for certificates. It holds nothing secret, so it may
//! reach the CA by any way.

use std::fmt::Write as _;

use anyhow::Result;
use recipes::node::PURPOSES;
use recipes::{ClusterDocument, Sha256, pem};
use ring::rand::SystemRandom;
use ring::signature::KeyPair as _;

use super::{KeySet, OwnKeys, der};
use crate::machine::Machine;
use crate::output::show;
use crate::{identity, paths};

/// The command line of `firstboot csr`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 printed; 1 failed; 3 the file of the keys is damaged.\n\n\
    Example: firstboot csr >etcd-1.csr, then where the CA is: builder pki sign recipe.toml etcd-1 etcd-1.csr >node.json"
)]
pub(crate) struct Options {
    /// Make new keys, and request certificates for them. The node uses its present keys until it
    /// has a document for the new ones
    #[arg(long)]
    new_key: bool,
}

/// Prints the request. Makes the keys if this node has none yet.
pub(crate) fn run(options: &Options) -> Result<()> {
    let keys = if options.new_key {
        KeySet::ensure(paths::NEXT_KEYS)?
    } else {
        match OwnKeys::read()? {
            OwnKeys {
                next: Some(next), ..
            } => next,
            _ => super::ensure()?,
        }
    };
    let cluster = identity::cluster()?;
    Ok(show(&text(&keys, &about(&cluster, &Machine::observe()?))?)?)
}

fn about(cluster: &ClusterDocument, machine: &Machine) -> String {
    format!("cluster {}, {machine}", cluster.name)
}

impl OwnKeys {
    /// The request for the keys for which this node wants certificates, with their fingerprint.
    /// `None` if this node made no keys.
    pub(crate) fn to_request(
        &self,
        cluster: &ClusterDocument,
        machine: &Machine,
    ) -> Result<Option<(String, Sha256)>> {
        let Some(keys) = self.wanted() else {
            return Ok(None);
        };
        let text = text(keys, &about(cluster, machine))?;
        Ok(Some((text, keys.fingerprint()?)))
    }
}

/// The request as text: comments for the reader, and a certificate request for each purpose. The CA
/// uses only the public keys in it.
pub(super) fn text(keys: &KeySet, about: &str) -> Result<String> {
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
