//! An upstream release of etcd: fetched or found, verified against all who vouch for it, opened and
//! checked inside.
//!
//! Read in this order: `judge` (do recipe, table and mirror agree?), `answer` and `fetch` (getting
//! the bytes), `contents` and `open` (what is inside).
//!
//! What is in the cache is the operator's own, as a compiler's cache is: its digests guard against
//! damage. Against a forged release stand the recipe's digest, the table and SHA256SUMS, each
//! checked before anything is unpacked.

mod address;
mod answer;
mod cache;
mod contents;
mod error;
mod evidence;
mod fetch;
mod http;
mod judge;
mod known;
mod open;
mod part;
mod patience;
mod progress;
mod sums;
#[cfg(test)]
mod tests;
mod trouble;

use std::fs;
use std::path::Path;

use recipes::{EtcdVersion, Sha256};
use url::Url;

pub(crate) use error::ReleaseError;
pub(crate) use evidence::{Evidence, Origin, Release, Sums};
pub(crate) use known::{known, newest_known, version_of};
pub(crate) use open::{Binaries, open};
pub(crate) use progress::{Progress, for_stderr};

use crate::digest;

use cache::Slot;
use fetch::Fetch;
use judge::{Voice, agree};
use patience::Patience;
use trouble::Trouble;

/// Which release is wanted, and where it may come from.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// Its version.
    pub(crate) version: EtcdVersion,
    /// The digest of its linux-amd64 tarball, from the recipe.
    pub(crate) sha256: Sha256,
    /// Where to fetch it, in this order; `https://github.com/etcd-io/etcd/releases/download` is
    /// one.
    pub(crate) mirrors: &'a [Url],
    /// The cache's folder; made where it is not there.
    pub(crate) cache: &'a Path,
    /// Take it from the cache or not at all.
    pub(crate) offline: bool,
    /// The tarball, brought by the operator; the cache and the mirrors are then not asked.
    pub(crate) file: Option<&'a Path>,
}

/// Finds or fetches a release and verifies it. Slow where it is not in the cache: `progress` says
/// how far it is.
pub(crate) fn obtain(
    wanted: &Wanted<'_>,
    progress: &dyn Progress,
) -> Result<Release, ReleaseError> {
    obtain_within(wanted, &Patience::default(), progress)
}

fn obtain_within(
    wanted: &Wanted<'_>,
    patience: &Patience,
    progress: &dyn Progress,
) -> Result<Release, ReleaseError> {
    // First what needs no network: a recipe with a wrong digest is refused before a byte is
    // fetched.
    agree(wanted.version, wanted.sha256, known(wanted.version), None)?;
    if let Some(file) = wanted.file {
        return from_file(wanted, file, patience);
    }
    let slot = Slot::new(wanted.cache, wanted.sha256);
    let tarball = slot.tarball();
    let offline = || ReleaseError::Offline {
        version: wanted.version,
        path: tarball.clone(),
    };
    if wanted.offline && !tarball.exists() {
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

fn release(wanted: &Wanted<'_>, tarball: &Path, size: u64, origin: Origin, sums: Sums) -> Release {
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

/// The cached tarball, once its bytes are still the right ones. A damaged one is removed.
fn from_cache(
    wanted: &Wanted<'_>,
    tarball: &Path,
    progress: &dyn Progress,
) -> Result<Option<Release>, ReleaseError> {
    if !tarball.exists() {
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

/// The operator's file, verified like a download; a SHA256SUMS beside it is heard as a mirror's
/// would be.
fn from_file(
    wanted: &Wanted<'_>,
    file: &Path,
    patience: &Patience,
) -> Result<Release, ReleaseError> {
    let read = || ReleaseError::io("read", file);
    let about = fs::metadata(file).map_err(read())?;
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
    let beside = file.with_file_name("SHA256SUMS");
    let voice = fs::read_to_string(&beside).ok().and_then(|text| {
        let sha256 = sums::find(&text, &address::tarball(wanted.version))?;
        Some(Voice {
            place: beside.display().to_string(),
            sha256,
        })
    });
    agree(
        wanted.version,
        wanted.sha256,
        known(wanted.version),
        voice.as_ref(),
    )?;
    let (size, found) = digest::of_file(file).map_err(read())?;
    if found != wanted.sha256 {
        let (path, version, expected) = (file.to_owned(), wanted.version, wanted.sha256);
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

/// Asks one mirror after the other. Whoever gives other bytes than the recipe's is passed over;
/// whose SHA256SUMS vouches for other bytes stops the build, as that is no accident of the network.
fn from_mirrors(
    wanted: &Wanted<'_>,
    slot: &Slot,
    patience: &Patience,
    progress: &dyn Progress,
) -> Result<Release, ReleaseError> {
    let client = http::client(patience, progress)?;
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
            address::on(mirror, wanted.version, "SHA256SUMS"),
        );
        let (Some(url), Some(sums_url)) = urls else {
            tried.push((mirror.clone(), Trouble::Address));
            continue;
        };
        let sums = vouched(wanted, fetch, &sums_url)?;
        if let Sums::Missing(place, why) = &sums {
            progress.say(&format!("note: {place} cannot be had: {why}"));
        }
        match download(wanted, fetch, &url, slot)? {
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

/// What the mirror's SHA256SUMS says; an error where it contradicts.
fn vouched(wanted: &Wanted<'_>, fetch: Fetch<'_>, url: &Url) -> Result<Sums, ReleaseError> {
    let place = url.to_string();
    let name = address::tarball(wanted.version);
    let found = fetch
        .text(url)
        .and_then(|text| sums::find(&text, &name).ok_or(Trouble::NotListed(name)));
    match found {
        Ok(sha256) => {
            let voice = Voice { place, sha256 };
            agree(
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

/// Downloads from one mirror into the cache: its size, or why not. The name in the cache is given
/// only to the bytes that the recipe pins.
fn download(
    wanted: &Wanted<'_>,
    fetch: Fetch<'_>,
    url: &Url,
    slot: &Slot,
) -> Result<Result<u64, Trouble>, ReleaseError> {
    let part = slot.part();
    loop {
        let resumed = part.len() > 0;
        if let Err(trouble) = fetch.bring(url, &part)? {
            // What was cut off serves the next mirror or the next build; what is too large serves
            // nobody.
            if matches!(trouble, Trouble::TooLarge { .. }) {
                part.discard()?;
            }
            return Ok(Err(trouble));
        }
        let (size, found) =
            digest::of_file(part.path()).map_err(ReleaseError::io("read", part.path()))?;
        if found == wanted.sha256 {
            part.keep(&slot.tarball())?;
            return Ok(Ok(size));
        }
        part.discard()?;
        let trouble = Trouble::Digest {
            expected: wanted.sha256,
            found,
        };
        if !resumed {
            return Ok(Err(trouble));
        }
        // The first half may have been another mirror's, or damaged on our disk: once more from the
        // start.
        fetch.progress.say(&format!(
            "{url}: {trouble}; it was resumed, fetching all of it again"
        ));
    }
}
