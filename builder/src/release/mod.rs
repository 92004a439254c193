//! Finds or downloads an upstream etcd release, verifies the release against all sources, and
//! unpacks and checks its programs.
//!
//! Read the modules in this order: `digest_consensus` (compares the digests from the recipe, the
//! table and the mirror), `answer` and `fetch` (download the tarball), `contents` and `open` (check
//! its contents).
//!
//! The cache belongs to the operator, like a compiler's cache, so the digests in the cache protect
//! only against damage. The recipe's digest, the table and SHA256SUMS protect against a forged
//! release. Before the builder unpacks anything, it compares the recipe's digest with the table.
//! For a download, it also compares the recipe's digest with the mirror's SHA256SUMS. For an
//! operator's file, it also compares the recipe's digest with the SHA256SUMS next to this file. If
//! there is no such SHA256SUMS, the builder omits the comparison.

mod address;
mod answer;
mod cache;
mod contents;
mod digest_consensus;
mod digest_table;
mod error;
mod evidence;
mod fetch;
mod http;
mod mirror_error;
mod open;
mod partial_download;
mod progress;
mod retry_policy;
mod sums;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use recipes::{EtcdVersion, Sha256};
use url::Url;

pub(crate) use address::tarball;
pub(crate) use digest_table::{known, newest_known, version_of};
pub(crate) use error::ReleaseError;
pub(crate) use evidence::{Evidence, Origin, Release, Sums};
pub(crate) use fetch::Fetch;
pub(crate) use http::client;
pub(crate) use mirror_error::MirrorError;
pub(crate) use open::{Binaries, open};
pub(crate) use partial_download::PartialDownload;
pub(crate) use progress::{Progress, for_stderr};
pub(crate) use retry_policy::RetryPolicy;
pub(crate) use sums::{find as find_sum, write as write_sums};

use crate::digest;

use cache::CacheEntry;
use digest_consensus::{StatedDigest, compare};

/// The name of the file that lists upstream's digests. A mirror has this file next to the tarball.
pub(crate) const SUMS_FILE: &str = "SHA256SUMS";

/// The requested release, and the sources from which the builder may obtain it.
#[derive(Debug)]
pub(crate) struct ReleaseRequest<'a> {
    pub(crate) version: EtcdVersion,
    /// The digest of the release's linux-amd64 tarball, from the recipe.
    pub(crate) sha256: Sha256,
    /// The mirrors (such as `https://github.com/etcd-io/etcd/releases/download`), in the order in
    /// which to try them.
    pub(crate) mirrors: &'a [Url],
    /// The cache's folder, which is created if it does not exist.
    pub(crate) cache: &'a Path,
    /// Whether the builder may use only the cache.
    pub(crate) offline: bool,
    /// The operator's tarball, which is used instead of the cache and the mirrors.
    pub(crate) file: Option<&'a Path>,
}

/// Finds or downloads a release, and verifies it. A download is slow, so `progress` reports it.
pub(crate) fn obtain(
    wanted: &ReleaseRequest<'_>,
    progress: &dyn Progress,
) -> Result<Release, ReleaseError> {
    obtain_within(wanted, &RetryPolicy::default(), progress)
}

fn obtain_within(
    wanted: &ReleaseRequest<'_>,
    patience: &RetryPolicy,
    progress: &dyn Progress,
) -> Result<Release, ReleaseError> {
    // Start with the checks that do not need the network, so that the builder refuses a recipe with
    // a wrong digest before any download.
    compare(wanted.version, wanted.sha256, known(wanted.version), None)?;
    if let Some(file) = wanted.file {
        return from_file(wanted, file, patience);
    }
    let slot = CacheEntry::new(wanted.cache, wanted.sha256);
    let tarball = slot.tarball();
    let offline = || ReleaseError::Offline {
        version: wanted.version,
        path: tarball.clone(),
    };
    if wanted.offline && !exists(&tarball)? {
        return Err(offline());
    }
    let _lock = slot.lock(progress)?;
    if let Some(release) = from_cache(wanted, &tarball, progress)? {
        return Ok(release);
    }
    if wanted.offline {
        return Err(offline());
    }
    from_mirrors(wanted, &slot, patience, progress)
}

fn release(
    wanted: &ReleaseRequest<'_>,
    tarball: &Path,
    size: u64,
    origin: Origin,
    sums: Sums,
) -> Release {
    let in_table = known(wanted.version).is_some();
    let evidence = Evidence {
        origin,
        in_table,
        sums,
    };
    Release {
        tarball: tarball.to_owned(),
        sha256: wanted.sha256,
        size,
        evidence,
    }
}

/// Returns whether the cache contains a tarball.
fn exists(tarball: &Path) -> Result<bool, ReleaseError> {
    tarball
        .try_exists()
        .map_err(ReleaseError::io("read", tarball))
}

/// Returns the cached tarball if its bytes are still correct. A damaged tarball is removed.
fn from_cache(
    wanted: &ReleaseRequest<'_>,
    tarball: &Path,
    progress: &dyn Progress,
) -> Result<Option<Release>, ReleaseError> {
    if !exists(tarball)? {
        return Ok(None);
    }
    let (size, found) = digest::of_file(tarball).map_err(ReleaseError::io("read", tarball))?;
    if found == wanted.sha256 {
        return Ok(Some(release(
            wanted,
            tarball,
            size,
            Origin::Cache,
            Sums::NotAsked,
        )));
    }
    progress.say(&format!(
        "{} is damaged (its digest is {found}): removed from the cache",
        tarball.display()
    ));
    fs::remove_file(tarball).map_err(ReleaseError::io("remove", tarball))?;
    Ok(None)
}

/// Verifies the operator's file like a download. A SHA256SUMS next to the file is treated like a
/// mirror's SHA256SUMS.
fn from_file(
    wanted: &ReleaseRequest<'_>,
    file: &Path,
    patience: &RetryPolicy,
) -> Result<Release, ReleaseError> {
    let version = wanted.version;
    let given = |source| ReleaseError::Given {
        path: file.to_owned(),
        version,
        source,
    };
    let about = fs::metadata(file).map_err(given)?;
    let no_release = |what: String| ReleaseError::NoRelease {
        path: file.to_owned(),
        what,
    };
    if !about.is_file() {
        return Err(no_release("not a file".to_owned()));
    }
    if about.len() > patience.release_bytes {
        return Err(no_release(format!(
            "{} bytes, larger than any release",
            about.len()
        )));
    }
    let beside = file.with_file_name(SUMS_FILE);
    let voice = fs::read_to_string(&beside).ok().and_then(|text| {
        let sha256 = sums::find(&text, &address::tarball(wanted.version))?;
        Some(StatedDigest {
            place: beside.display().to_string(),
            sha256,
        })
    });
    compare(
        wanted.version,
        wanted.sha256,
        known(wanted.version),
        voice.as_ref(),
    )?;
    let (size, found) = digest::of_file(file).map_err(given)?;
    if found != wanted.sha256 {
        let (path, expected) = (file.to_owned(), wanted.sha256);
        return Err(ReleaseError::File {
            path,
            version,
            expected,
            found,
        });
    }
    let sums = voice.map_or(Sums::NotAsked, |voice| Sums::Agrees(voice.place));
    Ok(release(wanted, file, size, Origin::File, sums))
}

/// Tries the mirrors in order, until a mirror provides a file with the recipe's digest. The build
/// stops if a mirror's SHA256SUMS states another digest, because the contradiction is not a network
/// fault.
fn from_mirrors(
    wanted: &ReleaseRequest<'_>,
    slot: &CacheEntry,
    patience: &RetryPolicy,
    progress: &dyn Progress,
) -> Result<Release, ReleaseError> {
    let client = client(patience, progress)?;
    let fetch = Fetch {
        client: &client,
        patience,
        progress,
    };
    let mut tried = Vec::new();
    for mirror in wanted.mirrors {
        let name = address::tarball(wanted.version);
        let urls = (
            address::on(mirror, wanted.version, &name),
            address::on(mirror, wanted.version, SUMS_FILE),
        );
        let (Some(url), Some(sums_url)) = urls else {
            tried.push((mirror.clone(), MirrorError::Address));
            continue;
        };
        let sums = vouched(wanted, fetch, &sums_url)?;
        if let Sums::Missing(place, why) = &sums {
            progress.say(&format!("note: no digest from {place}: {why}"));
        }
        let file = (wanted.sha256, patience.release_bytes);
        match fetch.verified(&url, file, &slot.part(), &slot.tarball())? {
            Ok(size) => {
                return Ok(release(
                    wanted,
                    &slot.tarball(),
                    size,
                    Origin::Mirror(url),
                    sums,
                ));
            }
            Err(trouble) => {
                progress.say(&format!("{url}: {trouble}"));
                tried.push((url, trouble));
            }
        }
    }
    Err(ReleaseError::Mirrors {
        version: wanted.version,
        tried,
    })
}

/// Reads the mirror's SHA256SUMS. Returns an error if the SHA256SUMS contradicts the recipe or the
/// table.
fn vouched(wanted: &ReleaseRequest<'_>, fetch: Fetch<'_>, url: &Url) -> Result<Sums, ReleaseError> {
    let place = url.to_string();
    match stated(wanted, fetch, url) {
        Ok((sha256, _)) => {
            let voice = StatedDigest { place, sha256 };
            compare(
                wanted.version,
                wanted.sha256,
                known(wanted.version),
                Some(&voice),
            )?;
            Ok(Sums::Agrees(voice.place))
        }
        Err(trouble) => Ok(Sums::Missing(place, trouble.to_string())),
    }
}

/// Returns the digest that a mirror's SHA256SUMS states for the release, and the text of the
/// SHA256SUMS.
fn stated(
    wanted: &ReleaseRequest<'_>,
    fetch: Fetch<'_>,
    url: &Url,
) -> Result<(Sha256, String), MirrorError> {
    let name = address::tarball(wanted.version);
    let text = String::from_utf8_lossy(&fetch.small(url)?).into_owned();
    let sha256 = sums::find(&text, &name).ok_or(MirrorError::NotListed(name))?;
    Ok((sha256, text))
}

/// Tries the mirrors in order, and returns the text of the first SHA256SUMS that lists the release.
/// Returns an error if the SHA256SUMS contradicts the recipe or the table.
pub(crate) fn upstream_sums(
    wanted: &ReleaseRequest<'_>,
    fetch: Fetch<'_>,
) -> Result<Option<String>, ReleaseError> {
    for mirror in wanted.mirrors {
        let url = address::on(mirror, wanted.version, SUMS_FILE);
        let Some((url, Ok((sha256, text)))) =
            url.map(|url| (url.clone(), stated(wanted, fetch, &url)))
        else {
            continue;
        };
        let place = url.to_string();
        let voice = StatedDigest { place, sha256 };
        compare(
            wanted.version,
            wanted.sha256,
            known(wanted.version),
            Some(&voice),
        )?;
        return Ok(Some(text));
    }
    Ok(None)
}
