//! Examines a snapshot: its digest, its pages, its contents and its manifest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use bolt::{Faults, FileKind};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use recipes::Sha256;
use ring::digest;
use serde::Serialize;

use super::dir_store::manifest_path;
use super::encode::finished;
use super::manifest::{self, Manifest};
use super::schema::{DatabaseContents, Reader};
use crate::exit::{failed, refused};
use crate::files;
use crate::reason::ReasonId;

/// The length of the SHA-256 that etcd sends after the last page.
pub(super) const TRAILER: u64 = 32;
/// The size of a page is a multiple of this number of bytes. Therefore, a file ends with the digest
/// if its length modulo this number is 32.
const SECTOR: u64 = 512;

/// The check of the digest at the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DigestCheck {
    /// The digest must be present and correct.
    Required,
    /// The digest may be missing or wrong. The result contains the state of the digest.
    Optional,
    /// The writer checked the digest while it wrote the file. The value is the digest of the whole
    /// file, so firstboot does not compute the digest again.
    Known(Sha256),
}

/// The state of the digest at the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TrailingDigest {
    Good,
    Wrong,
    Absent,
}

/// The facts about an examined snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct VerifiedSnapshot {
    /// The digest of the whole snapshot file. `None` means that the file is large and has no valid
    /// meta page, so it is not a database, and its digest was not computed.
    pub(crate) sha256: Option<Sha256>,
    /// The size of the whole file in bytes.
    pub(crate) size: u64,
    pub(crate) digest: TrailingDigest,
    /// The number of pages of the database.
    pub(crate) pages: u64,
    /// The number of pages in use.
    pub(crate) used: u64,
    pub(crate) page_size: u32,
    #[serde(flatten)]
    pub(crate) contents: DatabaseContents,
}

impl std::ops::Deref for VerifiedSnapshot {
    type Target = DatabaseContents;

    fn deref(&self) -> &DatabaseContents {
        &self.contents
    }
}

/// The faults that the examination found, and the facts that it could read.
#[derive(Debug)]
pub(crate) struct CheckResult {
    pub(crate) verified: VerifiedSnapshot,
    pub(crate) faults: Faults,
}

impl CheckResult {
    /// Adds a fault if the file's manifest states a different digest or revision. Does nothing if
    /// the file has no manifest, or if the file's digest was not computed. This comparison also
    /// detects a file whose pages are consistent but differ from the snapshot that was taken.
    pub(super) fn compare(&mut self, path: &Path) {
        let Some(sha256) = self.verified.sha256 else {
            return;
        };
        let beside = manifest_path(path);
        let manifest = files::read_bounded(&beside, manifest::LIMIT)
            .ok()
            .and_then(|text| Manifest::parse(&text));
        let Some(manifest) = manifest
            .filter(|manifest| path.file_name().is_some_and(|name| name == &*manifest.file))
        else {
            return;
        };
        let wanted = manifest.plain.map_or(manifest.sha256, |plain| plain.sha256);
        let revision = self.verified.revision;
        let because = format!("as its manifest {} states", beside.display());
        if wanted != sha256 {
            self.faults.add(
                None,
                0,
                format!("the SHA-256 {wanted}, {because}"),
                sha256.to_string(),
            );
        } else if manifest.snapshot.revision != revision {
            let expected = format!("revision {}, {because}", manifest.snapshot.revision);
            self.faults.add(None, 0, expected, revision.to_string());
        }
    }

    /// Returns the facts about the snapshot, or a refusal if the snapshot has faults.
    pub(crate) fn into_verified(self, path: &Path) -> Result<VerifiedSnapshot> {
        let Some(first) = self.faults.first().first() else {
            return Ok(self.verified);
        };
        let more = match self.faults.count() - 1 {
            0 => String::new(),
            more => format!(
                "; `firstboot snapshot verify {}` shows {more} more {}",
                path.display(),
                if more == 1 { "fault" } else { "faults" }
            ),
        };
        Err(refused(ReasonId::SnapshotInvalid.because(format!(
            "{} is not a good snapshot: {first}{more}",
            path.display()
        ))))
    }
}

/// Checks a snapshot.
///
/// # Errors
/// Returns a refusal with the first fault if the snapshot is damaged. Fails if the snapshot cannot
/// be read or is the file of a running etcd.
pub(crate) fn verify(path: &Path, hash: DigestCheck) -> Result<VerifiedSnapshot> {
    ensure_not_in_use(path)?;
    let file = files::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut examined = examine(&file, hash, &mut |_| ())
        .with_context(|| format!("cannot read {}", path.display()))?;
    examined.compare(path);
    examined.into_verified(path)
}

/// Fails for the file of a running etcd, because pages that are read at different times may be
/// inconsistent with each other. firstboot recognises a running etcd by its lock on the file.
pub(super) fn ensure_not_in_use(path: &Path) -> Result<()> {
    let file = files::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_, Errno::EWOULDBLOCK)) => Err(failed(ReasonId::SnapshotInUse.because(format!(
            "a running etcd uses {} and changes it. Stop etcd first, or take a snapshot with `firstboot snapshot`",
            path.display()
        )))),
        // On a file system without locks, this check cannot detect a running etcd.
        _ => Ok(()),
    }
}

/// Examines an open file. Calls `progress` with the number of bytes in the pages that have been
/// checked. A second thread computes the digest at the same time.
pub(crate) fn examine(
    file: &File,
    hash: DigestCheck,
    progress: &mut dyn FnMut(u64),
) -> Result<CheckResult> {
    let size = file.metadata()?.len();
    let trailer = size % SECTOR == TRAILER;
    let pages = if trailer { size - TRAILER } else { size };
    let file_kind = if trailer {
        FileKind::Snapshot
    } else {
        FileKind::Live
    };
    let hashed = size <= WITHOUT_META || has_meta(file, size)?;
    let mut reader = Reader::new(progress);
    let (report, digests) = thread::scope(|scope| {
        let digests = || match hash {
            DigestCheck::Known(whole) => Ok(Some(Digests { whole, right: true })),
            _ => hashed.then(|| Digests::of(file, pages, size)).transpose(),
        };
        let digests = scope.spawn(digests);
        let report = bolt::check(file, pages, file_kind, &mut reader)?;
        let digests = digests
            .join()
            .map_err(|_| anyhow!("a bug: the thread that computes the digest panicked"))??;
        anyhow::Ok((report, digests))
    })?;
    let mut faults = report.faults;
    let contents = if report.complete {
        reader.finish(&mut faults)
    } else {
        reader.finish(&mut Faults::default())
    };
    let digest = match (trailer, &digests) {
        (false, _) | (true, None) => TrailingDigest::Absent,
        (true, Some(Digests { right: true, .. })) => TrailingDigest::Good,
        (true, Some(_)) => TrailingDigest::Wrong,
    };
    if hash != DigestCheck::Optional && hashed {
        match digest {
            TrailingDigest::Good => {}
            TrailingDigest::Wrong => faults.add(None, pages, "the SHA-256 of all preceding bytes", "a different digest"),
            TrailingDigest::Absent => faults.add(
                None,
                size,
                "a SHA-256 after the last page (use --skip-hash-check if the file was copied from member/snap/db)",
                format!("no digest in {size} bytes"),
            ),
        }
    }
    let verified = VerifiedSnapshot {
        sha256: digests.map(|digests| digests.whole),
        size,
        digest,
        pages: report.meta.as_ref().map_or(0, |meta| meta.pages),
        used: report.used,
        page_size: report.meta.as_ref().map_or(0, |meta| meta.page_size),
        contents,
    };
    Ok(CheckResult { verified, faults })
}

/// The digest of a file above this size is computed only if the file has a valid meta page, because
/// a sparse file without content can have any length.
const WITHOUT_META: u64 = 64 << 20;

/// Returns whether one of the file's two meta pages is valid.
fn has_meta(file: &File, size: u64) -> io::Result<bool> {
    let mut begin = vec![
        0;
        usize::try_from(size)
            .unwrap_or(usize::MAX)
            .min(bolt::META_PAGES)
    ];
    file.read_exact_at(&mut begin, 0)?;
    Ok(bolt::stated_length(&begin).is_some())
}

/// The digests of a file, computed in one pass.
struct Digests {
    whole: Sha256,
    /// Whether the trailer is the digest of all bytes before it.
    right: bool,
}

/// The number of bytes that are read at a time.
const PIECE: usize = 256 << 10;
/// The number of pieces that pass back and forth between the reader and the thread that computes
/// the digest.
const PIECES: usize = 4;

impl Digests {
    /// Reads the file in one thread and computes the digest in another thread, because the
    /// computation takes most of the time.
    fn of(file: &File, pages: u64, size: u64) -> io::Result<Self> {
        let lost = || io::Error::other("a bug: the thread that computes the digest panicked");
        let mut context = thread::scope(|scope| {
            let (full, filled) = mpsc::sync_channel::<Vec<u8>>(PIECES);
            let (back, empty) = mpsc::channel();
            (0..PIECES).for_each(|_| drop(back.send(Vec::with_capacity(PIECE))));
            let digesting = scope.spawn(move || {
                let mut context = digest::Context::new(&digest::SHA256);
                for piece in filled {
                    context.update(&piece);
                    // Ignore an error of `send`, because a reader that has finished no longer
                    // accepts returned pieces.
                    let _ = back.send(piece);
                }
                context
            });
            let mut at = 0;
            while at < pages {
                let mut piece = empty.recv().map_err(|_| lost())?;
                piece.resize(usize::try_from(pages - at).unwrap_or(PIECE).min(PIECE), 0);
                file.read_exact_at(&mut piece, at)?;
                at += piece.len() as u64;
                full.send(piece).map_err(|_| lost())?;
            }
            drop(full);
            digesting.join().map_err(|_| lost())
        })?;
        let mut trailer = vec![0; usize::try_from(size - pages).unwrap_or(0)];
        file.read_exact_at(&mut trailer, pages)?;
        let right = context.clone().finish().as_ref() == trailer;
        context.update(&trailer);
        Ok(Self {
            whole: finished(context),
            right,
        })
    }
}

#[cfg(test)]
mod tests;
