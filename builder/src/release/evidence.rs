//! A verified release, and how it is known to be the right one.

use std::fmt;
use std::path::PathBuf;

use recipes::Sha256;
use url::Url;

/// A release whose bytes are the recipe's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// Where the tarball is.
    pub(crate) tarball: PathBuf,
    /// Its digest.
    pub(crate) sha256: Sha256,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// How that is known.
    pub(crate) evidence: Evidence,
}

/// Who vouched for a release. For a person to read: it depends on the network and the cache, so it
/// must not get into the image, which is the same from every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Where the bytes came from.
    pub(crate) origin: Origin,
    /// True where the project's table of upstream digests holds this version (and agrees, else
    /// there is no release).
    pub(crate) in_table: bool,
    /// What SHA256SUMS said.
    pub(crate) sums: Sums,
}

/// Where a release's bytes came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// They lay in the cache, verified when they got there and now again.
    Cache,
    /// From this URL.
    Mirror(Url),
    /// From the file the operator gave.
    File,
}

/// What SHA256SUMS said of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sums {
    /// The same as the recipe; this is its URL or path.
    Agrees(String),
    /// It could not be had; where it was looked for, and why.
    Missing(String, String),
    /// It was not asked: the bytes lay in the cache, or a file came without one beside it.
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
