//! A verified release, with the evidence for its digest.

use std::fmt;
use std::path::PathBuf;

use recipes::Sha256;
use url::Url;

/// A release whose bytes match the recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) tarball: PathBuf,
    pub(crate) sha256: Sha256,
    pub(crate) size: u64,
    pub(crate) evidence: Evidence,
}

/// The origin of a release's bytes, and the sources that confirmed its digest. The build prints
/// this evidence. The evidence depends on the network and the cache, so it must not become part of
/// the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The origin of the bytes.
    pub(crate) origin: Origin,
    /// Whether the project's table of upstream digests lists this version. If the table lists the
    /// version, the digests agree, because otherwise the build would have stopped.
    pub(crate) in_table: bool,
    /// The result of the comparison with SHA256SUMS.
    pub(crate) sums: Sums,
}

/// The origin of a release's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The cache. The bytes were verified when they were stored, and again in this build.
    Cache,
    /// A mirror, at this URL.
    Mirror(Url),
    /// The file that the operator provided.
    File,
}

/// The result of the comparison of a release with SHA256SUMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sums {
    /// SHA256SUMS agrees with the recipe. The string is the URL or path of SHA256SUMS.
    Agrees(String),
    /// SHA256SUMS could not be obtained, or does not list the release. The first string is the URL
    /// or path of SHA256SUMS, and the second string is the reason.
    Missing(String, String),
    /// SHA256SUMS was not consulted. Either the bytes were in the cache, or the folder of the
    /// operator's file contains no SHA256SUMS that lists the release.
    NotAsked,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Cache => f.write_str("release: from the cache")?,
            Origin::Mirror(url) => write!(f, "release: from {url}")?,
            Origin::File => f.write_str("release: from the given file")?,
        }
        f.write_str("; its digest matches the recipe")?;
        f.write_str(if self.in_table {
            " and the builder's table"
        } else {
            " (the builder's table does not list this version)"
        })?;
        match &self.sums {
            Sums::Agrees(place) => write!(f, " and {place}"),
            Sums::Missing(place, why) => write!(f, "; no digest from {place}: {why}"),
            Sums::NotAsked => Ok(()),
        }
    }
}
