//! What a snapshot is, and what is wrong with it: its digest, its pages, its contents, its manifest.

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

use super::dir_store::beside;
use super::encode::finished;
use super::manifest::{self, Manifest};
use super::schema::{Contents, Reader};
use crate::exit::{failed, refused};
use crate::files;

/// The SHA-256 that etcd sends after the last page.
pub(super) const TRAILER: u64 = 32;
/// Pages are multiples of this, so a length that is 32 more has the digest at its end.
const SECTOR: u64 = 512;

/// What to make of the digest at the file's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    /// It must be there and be right.
    Required,
    /// It may be missing or wrong; the result says which.
    Optional,
    /// It was checked while the file was written, and this is the whole file's digest. Saves reading it twice.
    Known(Sha256),
}

/// What was found at the file's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Digest {
    /// The digest of all that goes before.
    Good,
    /// Another digest.
    Wrong,
    /// None.
    Absent,
}

/// A snapshot that is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct VerifiedSnapshot {
    /// Of the whole file.
    pub(crate) sha256: Sha256,
    /// Of the whole file, in bytes.
    pub(crate) size: u64,
    pub(crate) digest: Digest,
    /// Pages of the database, and those of them that hold something.
    pub(crate) pages: u64,
    pub(crate) used: u64,
    pub(crate) page_size: u32,
    #[serde(flatten)]
    pub(crate) contents: Contents,
}

impl std::ops::Deref for VerifiedSnapshot {
    type Target = Contents;

    fn deref(&self) -> &Contents {
        &self.contents
    }
}

/// What is known of a file after it was looked at: what it is as far as it can be told, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct CheckResult {
    pub(crate) verified: VerifiedSnapshot,
    pub(crate) faults: Faults,
    /// Whether all of it was read for its digest.
    hashed: bool,
}

impl CheckResult {
    /// Holds it against the manifest beside the stored file, where there is one: whether a page is one that was there
    /// when the snapshot was taken no page tells.
    pub(super) fn compare(&mut self, path: &Path) {
        if !self.hashed {
            return;
        }
        let beside = beside(path);
        let manifest = files::read_bounded(&beside, manifest::LIMIT).ok().and_then(|text| Manifest::parse(&text));
        let Some(manifest) = manifest.filter(|manifest| path.file_name().is_some_and(|name| name == &*manifest.file))
        else {
            return;
        };
        let wanted = manifest.plain.map_or(manifest.sha256, |plain| plain.sha256);
        let (sha256, revision) = (self.verified.sha256, self.verified.revision);
        let because = format!("as its manifest {} says", beside.display());
        if wanted != sha256 {
            self.faults.add(None, 0, format!("the SHA-256 {wanted}, {because}"), sha256.to_string());
        } else if manifest.snapshot.revision != revision {
            let expected = format!("revision {}, {because}", manifest.snapshot.revision);
            self.faults.add(None, 0, expected, revision.to_string());
        }
    }

    /// The snapshot, if it is good.
    pub(crate) fn good(self, path: &Path) -> Result<VerifiedSnapshot> {
        let Some(first) = self.faults.first().first() else { return Ok(self.verified) };
        let more = match self.faults.count() - 1 {
            0 => String::new(),
            more => format!("; and {more} more: firstboot snapshot verify {} shows them", path.display()),
        };
        Err(refused(format!("{} is not a good snapshot: {first}{more}", path.display())))
    }
}

/// Checks a snapshot.
///
/// # Errors
/// [`Exit::Refused`] where it is damaged, with the first fault; another where it cannot be read.
pub(crate) fn verify(path: &Path, hash: Hash) -> Result<VerifiedSnapshot> {
    at_rest(path)?;
    let file = files::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut examined = examine(&file, hash, &mut |_| ()).with_context(|| format!("cannot read {}", path.display()))?;
    examined.compare(path);
    examined.good(path)
}

/// Refuses to look at the file of a running etcd, which holds a lock on it: a page that is read now does not fit to one
/// that was read before.
pub(super) fn at_rest(path: &Path) -> Result<()> {
    let file = files::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_, Errno::EWOULDBLOCK)) => Err(failed(format!(
            "{} is open in a running etcd, which changes it: stop etcd first, or take a snapshot by `firstboot snapshot`",
            path.display()
        ))),
        // A file system without locks has none of etcd's.
        _ => Ok(()),
    }
}

/// Looks at an open file, and tells `progress` how many bytes of its pages it has behind it. The digest is made beside
/// the walk, by a thread of its own.
pub(crate) fn examine(file: &File, hash: Hash, progress: &mut dyn FnMut(u64)) -> Result<CheckResult> {
    let size = file.metadata()?.len();
    let trailer = size % SECTOR == TRAILER;
    let pages = if trailer { size - TRAILER } else { size };
    let form = if trailer { FileKind::Snapshot } else { FileKind::Live };
    let hashed = size <= WITHOUT_META || has_meta(file, size)?;
    let mut reader = Reader::new(progress);
    let (report, digests) = thread::scope(|scope| {
        let digests = || match hash {
            Hash::Known(whole) => Ok(Some(Digests { whole, right: true })),
            _ => hashed.then(|| Digests::of(file, pages, size)).transpose(),
        };
        let digests = scope.spawn(digests);
        let report = bolt::check(file, pages, form, &mut reader)?;
        let digests = digests.join().map_err(|_| anyhow!("the thread that makes the digest died"))??;
        anyhow::Ok((report, digests))
    })?;
    let mut faults = report.faults;
    let contents = if report.complete { reader.finish(&mut faults) } else { reader.finish(&mut Faults::default()) };
    let digest = match (trailer, &digests) {
        (false, _) | (true, None) => Digest::Absent,
        (true, Some(Digests { right: true, .. })) => Digest::Good,
        (true, Some(_)) => Digest::Wrong,
    };
    if hash != Hash::Optional && hashed {
        match digest {
            Digest::Good => {}
            Digest::Wrong => faults.add(None, pages, "the SHA-256 of all bytes before it", "another"),
            Digest::Absent => faults.add(
                None,
                size,
                "a SHA-256 after the last page (--skip-hash-check, if the file was copied from member/snap/db)",
                format!("no room for it in {size} bytes"),
            ),
        }
    }
    let verified = VerifiedSnapshot {
        sha256: digests.map_or_else(|| Sha256::of(&[]), |digests| digests.whole),
        size,
        digest,
        pages: report.meta.as_ref().map_or(0, |meta| meta.pages),
        used: report.used,
        page_size: report.meta.as_ref().map_or(0, |meta| meta.page_size),
        contents,
    };
    Ok(CheckResult { verified, faults, hashed })
}

/// A larger file is read to its end only if it begins as a database: of a sparse file the length is a claim.
const WITHOUT_META: u64 = 64 << 20;

/// Whether a meta page is valid.
fn has_meta(file: &File, size: u64) -> io::Result<bool> {
    let mut begin = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(bolt::META_PAGES)];
    file.read_exact_at(&mut begin, 0)?;
    Ok(bolt::stated_length(&begin).is_some())
}

/// The digests of a file, made in one go.
struct Digests {
    whole: Sha256,
    /// Whether the digest of what goes before the trailer is the trailer.
    right: bool,
}

/// So much is read at a time, and so many of them are between the disk and the digest.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;

impl Digests {
    /// Reads in one thread and digests in another: the digest takes the longest of all, and waits for nothing else.
    fn of(file: &File, pages: u64, size: u64) -> io::Result<Self> {
        let lost = || io::Error::other("the thread that makes the digest died");
        let mut context = thread::scope(|scope| {
            let (full, filled) = mpsc::sync_channel::<Vec<u8>>(PIECES);
            let (back, empty) = mpsc::channel();
            (0..PIECES).for_each(|_| drop(back.send(Vec::with_capacity(PIECE))));
            let digesting = scope.spawn(move || {
                let mut context = digest::Context::new(&digest::SHA256);
                for piece in filled {
                    context.update(&piece);
                    // Nobody takes it back when all is read.
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
        Ok(Self { whole: finished(context), right })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::manifest::Plain;
    use crate::snapshot::manifest::tests::some;

    fn found(path: &Path, sha256: Sha256, revision: i64) -> Vec<String> {
        let contents = Contents { revision, ..Contents::default() };
        let digest = Digest::Good;
        let verified = VerifiedSnapshot { sha256, size: 5, digest, pages: 3, used: 3, page_size: 4096, contents };
        let mut examined = CheckResult { verified, faults: Faults::default(), hashed: true };
        examined.compare(path);
        examined.faults.first().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_snapshot_is_what_the_manifest_beside_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db.zst");
        let (stored, plain, other) = (Sha256::of(b"stored"), Sha256::of(b"plain"), Sha256::of(b"other"));
        assert_eq!(found(&path, other, 1), Vec::<String>::new(), "there is no manifest");
        let mut manifest = some(1_795_312_800, 5);
        let write = |manifest: &Manifest| std::fs::write(beside(&path), manifest.text().unwrap()).unwrap();
        manifest.sha256 = stored;
        write(&manifest);
        assert_eq!(found(&path, other, 1), Vec::<String>::new(), "it is another file's");
        manifest.file = "a.db.zst".into();
        write(&manifest);
        assert_eq!(found(&path, stored, 7), Vec::<String>::new());
        assert!(found(&path, other, 1)[0].contains(&format!("expected the SHA-256 {stored}, as its manifest")));
        assert!(found(&path, stored, 6)[0].contains("expected revision 7, as its manifest"));
        manifest.plain = Some(Plain { sha256: plain, size: 9 });
        write(&manifest);
        assert_eq!(found(&path, plain, 7), Vec::<String>::new());
        assert_eq!(found(&path, stored, 7).len(), 1);
    }

    /// etcd's user can put anything in the place of etcd's database, which an operator then checks as root.
    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        for path in [&fifo, folder.path(), Path::new("/dev/zero")] {
            for error in [at_rest(path).unwrap_err(), verify(path, Hash::Required).unwrap_err()] {
                let said = format!("{error:#}");
                assert!(said.contains("cannot open") && said.contains("not a regular file"), "{said}");
            }
        }
    }

    /// To read its terabyte would take an hour.
    #[test]
    fn a_large_file_that_does_not_begin_as_a_database_is_not_read_to_its_end() {
        let file = tempfile::tempfile().unwrap();
        for length in [1 << 40, (1 << 40) + TRAILER] {
            file.set_len(length).unwrap();
            let examined = examine(&file, Hash::Required, &mut |_| ()).unwrap();
            let said = format!("{:#}", examined.good(Path::new("huge")).unwrap_err());
            assert!(
                said.contains("huge is not a good snapshot: page 0, byte 16: expected bbolt's magic number"),
                "{said}"
            );
        }
    }

    /// bbolt locks the file that it has open (flock(2)).
    #[test]
    fn a_file_that_etcd_has_open_is_not_looked_at() {
        let file = tempfile::NamedTempFile::new().unwrap();
        at_rest(file.path()).unwrap();
        let lock = Flock::lock(file.reopen().unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
        assert!(at_rest(file.path()).unwrap_err().to_string().contains("open in a running etcd"));
        drop(lock);
        at_rest(file.path()).unwrap();
    }
}
