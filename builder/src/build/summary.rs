//! The report of a build.

use std::fmt;
use std::path::PathBuf;

use recipes::Sha256;
use serde::Serialize;

/// A description of the build's results, for output as text or JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Summary {
    pub(super) serial: u64,
    #[serde(serialize_with = "crate::path_text::serialize")]
    pub(super) out: PathBuf,
    #[serde(serialize_with = "crate::path_text::serialize")]
    pub(super) pki: PathBuf,
    pub(super) etcd: String,
    pub(super) overlay_sha256: Sha256,
    pub(super) overlay_size: u64,
    pub(super) trust: String,
    pub(super) nodes: Vec<String>,
    /// Whether the node documents contain the nodes' private keys.
    #[serde(skip)]
    pub(super) has_node_keys: bool,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, nodes) = (self.out.display(), self.nodes.join(", "));
        writeln!(
            f,
            "{out}/image/   etcd {}, public, the same for every node: serve it over HTTP",
            self.etcd
        )?;
        let documents = if self.has_node_keys {
            "secret, one folder for each node: give each folder only to its machine"
        } else {
            "one folder for each node. The documents contain no keys, so they are not secret"
        };
        writeln!(f, "{out}/nodes/   {nodes}: {documents}")?;
        writeln!(
            f,
            "{}   certificates and keys of the cluster: keep this folder and back it up",
            self.pki.display()
        )?;
        writeln!(
            f,
            "{out}/release.json   serial {}, public: running nodes find the image through it",
            self.serial
        )?;
        writeln!(
            f,
            "overlay.tar.gz {} bytes, sha256 {}",
            self.overlay_size, self.overlay_sha256
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    fn summary(has_node_keys: bool) -> Summary {
        Summary {
            serial: 1,
            out: "out".into(),
            pki: "out.pki".into(),
            etcd: "3.6.14".to_owned(),
            overlay_sha256: Sha256::of(b""),
            overlay_size: 0,
            trust: String::new(),
            nodes: vec!["etcd-1".to_owned()],
            has_node_keys,
        }
    }

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_build() {
        assert_eq!(documented("json.md", "builder build"), keys(&summary(true)));
    }

    #[test]
    fn only_documents_with_keys_are_secret() {
        let text = |has_node_keys| summary(has_node_keys).to_string();
        assert!(text(true).contains("out/nodes/   etcd-1: secret, "));
        assert!(text(false).contains("so they are not secret"));
    }
}
