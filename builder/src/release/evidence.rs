//! A verified release, and the evidence that it is the right one.

use std::fmt;
use std::path::PathBuf;

use recipes::Sha256;
use url::Url;

/// A release whose bytes match the recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// The path of the tarball.
    pub(crate) tarball: PathBuf,
    /// Its digest.
    pub(crate) sha256: Sha256,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// The evidence.
    pub(crate) evidence: Evidence,
}

/// Who vouched for a release. This is for people to read: it depends on the network and the cache,
/// so it must not get into the image, which is the same whichever machine builds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The origin of the bytes.
    pub(crate) origin: Origin,
    /// Whether the project's table of upstream digests lists this version. If it does, its digest
    /// agrees; otherwise there would be no release.
    pub(crate) in_table: bool,
    /// The result from SHA256SUMS.
    pub(crate) sums: Sums,
}

/// The origin of a release's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the cache: verified when they were stored, and again now.
    Cache,
    /// From this URL.
    Mirror(Url),
    /// From the file the operator gave.
    File,
}

/// The result from SHA256SUMS for a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sums {
    /// It agrees with the recipe; this is its URL or path.
    Agrees(String),
    /// It could not be obtained. Holds its URL or path, and the reason.
    Missing(String, String),
    /// It was not consulted: the bytes were in the cache, or the operator's file has no SHA256SUMS
    /// next to it.
    NotAsked,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Cache => f.write_str("release: from the cache")?,
            Origin::Mirror(url) => write!(f, "release: from {url}")?,
            Origin::File => f.write_str("release: from the given file")?,
        }
        f.write_str("; its digest is the recipe's")?;
        f.write_str(if self.in_table {
            ", the known table's"
        } else {
            " (the known table lacks this version)"
        })?;
        match &self.sums {
            Sums::Agrees(place) => write!(f, " and that of {place}"),
            Sums::Missing(place, why) => write!(f, "; {place} could not be had: {why}"),
            Sums::NotAsked => Ok(()),
        }
    }
}
