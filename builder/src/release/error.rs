//! The reason why a release cannot be obtained.

use std::io;
use std::path::{Path, PathBuf};

use recipes::{EtcdVersion, Sha256};
use url::Url;

use super::contents::Problem;
use super::digest_consensus::Disagreement;
use super::mirror_error::MirrorError;

/// The reason why a release cannot be obtained. Most reasons state the remedy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// The recipe, the table and SHA256SUMS disagree.
    #[error(transparent)]
    Disagreement(#[from] Box<Disagreement>),
    /// The release is not in the cache, and the build must not use the network.
    #[error(
        "etcd {version} is not in the cache ({}), and --offline prevents the download: build once \
         without --offline, or provide the tarball with --release FILE", .path.display()
    )]
    Offline {
        version: EtcdVersion,
        /// The path in the cache.
        path: PathBuf,
    },
    /// No mirror served the release.
    #[error("no mirror provided etcd {version}{}\ncheck the network (HTTPS_PROXY is honoured), add \
        a mirror to [etcd] mirrors, or download the tarball elsewhere and provide it with \
        --release FILE", list(.tried))]
    Mirrors {
        version: EtcdVersion,
        /// Each URL that was tried, with the reason for its failure.
        tried: Vec<(Url, MirrorError)>,
    },
    /// The file given with --release is not the requested release.
    #[error(
        "{} is not the release of etcd {version} linux-amd64 that the recipe pins\n\
         \x20 {expected}  expected\n  {found}  found\n\
         copy it again, or correct [etcd] version and sha256 in the recipe", .path.display()
    )]
    File {
        path: PathBuf,
        version: EtcdVersion,
        /// The digest in the recipe.
        expected: Sha256,
        /// The digest of the operator's file.
        found: Sha256,
    },
    /// The file given with --release cannot be read.
    #[error(
        "cannot read {}, which must be the release tarball etcd-v{version}-linux-amd64.tar.gz: \
         {source}", .path.display()
    )]
    Given {
        path: PathBuf,
        version: EtcdVersion,
        source: io::Error,
    },
    /// A file cannot be a release because of its size or kind.
    #[error("{} is {what}: provide the release tarball etcd-vX.Y.Z-linux-amd64.tar.gz", .path.display())]
    NoRelease {
        path: PathBuf,
        /// A description of the file's size or kind.
        what: String,
    },
    /// The tarball contains a forbidden entry, or lacks a program.
    #[error("{}: {entry}: {problem}; the build does not use this tarball", .tarball.display())]
    Contents {
        tarball: PathBuf,
        /// The entry, by its name in the tarball.
        entry: String,
        problem: Problem,
    },
    /// The tarball cannot be read to its end.
    #[error("{} cannot be read to its end, so it is damaged or truncated: {source}; download it \
        again", .tarball.display())]
    Archive { tarball: PathBuf, source: io::Error },
    /// The tarball changed after it was verified.
    #[error("{} changed while it was read\n  {expected}  verified\n  {found}  read; build again", .tarball.display())]
    Changed {
        tarball: PathBuf,
        /// The verified digest.
        expected: Sha256,
        /// The digest of the unpacked bytes.
        found: Sha256,
    },
    /// The HTTP client cannot be created on this machine.
    #[error("cannot create an HTTP client: {0}; provide the tarball with --release FILE instead")]
    Client(String),
    /// A file could not be read or written.
    #[error("cannot {what} {}: {source}{}", .path.display(), remedy(.source))]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl ReleaseError {
    /// Wraps the operating system's error about a file.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

fn list(tried: &[(Url, MirrorError)]) -> String {
    if tried.is_empty() {
        return ": the recipe does not name a mirror".to_owned();
    }
    let lines: Vec<_> = tried
        .iter()
        .map(|(url, trouble)| format!("\n  {url}: {trouble}"))
        .collect();
    lines.concat()
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space there, or name another folder (--help names the option)"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; give this user access, or name another folder (--help names the option)"
        }
        _ => "",
    }
}
