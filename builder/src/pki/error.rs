//! Errors about a PKI folder. Most errors name the file, the fault and the remedy.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use recipes::{Label, Sha256};

use super::Mismatch;

/// A property of a node. The recipe states this property, but the last build did not use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnbuiltFact {
    Address(Ipv4Addr),
    /// The facts by which the node's machine is recognised.
    Machine,
}

impl fmt::Display for UnbuiltFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "the address {address}"),
            Self::Machine => f.write_str("the recipe's `mac`, `serial` and `uuid`"),
        }
    }
}

/// The reason why the PKI cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PkiError {
    /// The operating system refused an operation.
    #[error("{path}: cannot {doing}: {source}", path = path.display())]
    Io {
        /// The operation, such as "read it" in "cannot read it".
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A file or folder has a fault.
    #[error("{path}: {found}; {remedy}", path = path.display())]
    Wrong {
        path: PathBuf,
        /// A description of the fault and of the expected content.
        found: String,
        remedy: String,
    },
    /// A ready-made certificate cannot be used for its node.
    #[error("{path}: {why}; provide a correct certificate, or add ca.key so that the builder can \
        issue certificates",
        path = path.display(), why = Mismatch::list(mismatches))]
    Unfit {
        path: PathBuf,
        /// All faults of the certificate.
        mismatches: Vec<Mismatch>,
    },
    /// Another program is using the folder.
    #[error("{path}: another program is still using this folder after {waited} s; wait for it to end, then repeat the command",
        path = path.display())]
    Busy {
        path: PathBuf,
        /// The number of seconds that this program waited.
        waited: u64,
    },
    /// The last build did not include the node, or assigned another address or machine to it.
    #[error(
        "the last build did not assign {name} {fact}: build, then repeat the request [not-built]"
    )]
    NotBuilt {
        folder: PathBuf,
        /// The node for which certificates are requested.
        name: Label,
        fact: UnbuiltFact,
    },
    /// A request contains keys that an operator must first approve.
    #[error("{name} {has}, but this request is for the key {asked}. {hint} [key-not-approved]",
        hint = approval_hint(folder, name, *asked),
        has = enrolled.map_or_else(|| "has no approved key".to_owned(), |key| format!("is enrolled with the key {key}")))]
    KeyNotApproved {
        folder: PathBuf,
        /// The node that made the request.
        name: Label,
        /// The fingerprint of the node's keys, if the node has any.
        enrolled: Option<Sha256>,
        /// The fingerprint of the request's keys.
        asked: Sha256,
    },
    /// A request for a node contains a key of another node.
    #[error(
        "this request for {name} contains a key of {owner}. Either this is the wrong request, or a \
         disk was copied. If the machine's whole disk is a copy, reinstall the machine. Otherwise, \
         run `firstboot csr --new-key` on it to generate new keys [key-of-another-node]"
    )]
    KeyOfAnotherNode {
        /// The node for which certificates are requested.
        name: Label,
        owner: String,
    },
    /// A key or a certificate could not be created.
    #[error("cannot create {path}: {source}", path = path.display())]
    Make {
        /// The intended path of the key or the certificate.
        path: PathBuf,
        source: rcgen::Error,
    },
}

/// Explains how an operator compares and approves a node's key.
pub(crate) fn approval_hint(dir: &Path, name: &Label, fingerprint: Sha256) -> String {
    format!(
        "Compare this key with the key that {name} prints, then run: builder pki approve {} {name} \
         {fingerprint}",
        dir.display()
    )
}

impl PkiError {
    /// Returns the file or folder that caused the error.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. }
            | Self::Wrong { path, .. }
            | Self::Unfit { path, .. }
            | Self::Busy { path, .. }
            | Self::Make { path, .. } => path,
            Self::KeyNotApproved { folder, .. } | Self::NotBuilt { folder, .. } => folder,
            Self::KeyOfAnotherNode { .. } => Path::new("nodes"),
        }
    }

    /// Returns a closure for `map_err` that wraps the error of an operation on a path.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    /// Creates the error for a fault at a path, with the remedy for the fault.
    pub(super) fn wrong(path: &Path, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Wrong {
            path: path.to_owned(),
            found: found.into(),
            remedy: remedy.into(),
        }
    }

    /// Returns a closure for `map_err` that wraps an error from the creation of a key or a
    /// certificate.
    pub(super) fn make(path: &Path) -> impl FnOnce(rcgen::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Make { path, source }
    }
}
