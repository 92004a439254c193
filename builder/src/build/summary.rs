//! The report of a build.

use std::fmt;
use std::path::PathBuf;

use recipes::Sha256;
use serde::Serialize;

/// A description of the build's results, for output as text or JSON.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) serial: u64,
    pub(super) out: PathBuf,
    pub(super) pki: PathBuf,
    pub(super) etcd: String,
    pub(super) overlay_sha256: Sha256,
    pub(super) overlay_size: u64,
    pub(super) trust: String,
    pub(super) nodes: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, nodes) = (self.out.display(), self.nodes.join(", "));
        writeln!(
            f,
            "{out}/image/   etcd {}, public, the same for every node: serve it over HTTP",
            self.etcd
        )?;
        writeln!(
            f,
            "{out}/nodes/   {nodes}: secret, one folder for each node: give each folder only to \
             its machine"
        )?;
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
