//! Opens a verified release: checks the programs, and unpacks them into the cache for later builds.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use recipes::{EtcdVersion, Sha256};

use super::cache::{self, CacheEntry};
use super::contents::{Contents, Head, MOST_BYTES, Problem, Program};
use super::progress::Progress;
use super::{Release, ReleaseError, sums};
use crate::digest::Hash;
use crate::elf;

/// The name of the list of digests in the folder of an unpacked release. The list has the format of
/// `sha256sum -c`.
const LIST: &str = "SHA256SUMS";

/// The unpacked programs of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries(Vec<Binary>);

/// A program that has been unpacked and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    /// The program that was unpacked.
    pub(crate) program: Program,
    /// The program's path in the cache.
    pub(crate) path: PathBuf,
    /// The program's digest.
    pub(crate) sha256: Sha256,
    /// The size in bytes.
    pub(crate) size: u64,
}

impl Binaries {
    /// Returns all the programs: etcd, etcdctl and, from 3.5 on, etcdutl.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Binary> {
        self.0.iter()
    }
}

/// Opens a release: checks every entry of the tarball, and unpacks the programs into `cache`. If an
/// earlier build has unpacked the programs, this function only verifies the programs, which takes a
/// tenth of the time. `shelved` returns the size of a program whose compressed form is in the
/// cache. Such a program is not even read, because the image contains the compressed form, which
/// has its own digest.
pub(crate) fn open(
    release: &Release,
    version: EtcdVersion,
    cache: &Path,
    shelved: impl Fn(Sha256) -> Option<u64> + Sync,
    progress: &dyn Progress,
) -> Result<Binaries, ReleaseError> {
    let slot = CacheEntry::new(cache, release.sha256);
    let _lock = slot.lock(progress)?;
    let folder = slot.unpacked();
    if let Some(binaries) = unpacked(&folder, version, shelved) {
        return Ok(binaries);
    }
    if folder.exists() {
        progress.say(&format!(
            "{} is incomplete or damaged: unpacking the release again",
            folder.display()
        ));
    }
    let filling = slot.unpacking();
    cache::clear(&filling)?;
    // The mode must not depend on the umask, because a file that others could write to must not
    // become part of an image.
    DirBuilder::new()
        .mode(0o700)
        .create(&filling)
        .map_err(ReleaseError::io("create", &filling))?;
    let list = unpack(release, version, &filling).inspect_err(|_| {
        let _ = fs::remove_dir_all(&filling);
    })?;
    cache::clear(&folder)?;
    fs::rename(&filling, &folder).map_err(ReleaseError::io("write", &folder))?;
    let found = |(program, sha256, size): (Program, _, _)| Binary {
        program,
        path: folder.join(program.name()),
        sha256,
        size,
    };
    Ok(Binaries(list.into_iter().map(found).collect()))
}

/// Returns the programs that an earlier build unpacked. Returns `None` if the list of digests or a
/// program is missing. A program whose compressed form is not in the cache must also match the list
/// and run on CentOS 7. The programs are written without fsync, because the digests reveal any
/// damage after a power failure.
fn unpacked(
    folder: &Path,
    version: EtcdVersion,
    shelved: impl Fn(Sha256) -> Option<u64> + Sync,
) -> Option<Binaries> {
    let list = fs::read_to_string(folder.join(LIST)).ok()?;
    let programs = Program::of(version);
    let verify = |program: Program| {
        let path = folder.join(program.name());
        let sha256 = sums::find(&list, program.name())?;
        let size = fs::metadata(&path).ok()?.len();
        if shelved(sha256) == Some(size) {
            return Some(Binary {
                program,
                path,
                sha256,
                size,
            });
        }
        let bytes = fs::read(&path).ok()?;
        if Sha256::of(&bytes) != sha256 || elf::runs_on_centos7(&bytes).is_err() {
            return None;
        }
        Some(Binary {
            program,
            path,
            sha256,
            size,
        })
    };
    // Each program is hashed in its own thread, because a build with a warm cache mainly waits for
    // this work.
    let found: Option<Vec<_>> = std::thread::scope(|scope| {
        let threads: Vec<_> = programs
            .iter()
            .map(|program| scope.spawn(move || verify(*program)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().ok().flatten())
            .collect()
    });
    found.map(Binaries)
}

/// Reads the whole tarball, and writes its programs and the list of their digests into `folder`.
fn unpack(
    release: &Release,
    version: EtcdVersion,
    folder: &Path,
) -> Result<Vec<(Program, Sha256, u64)>, ReleaseError> {
    let tarball = &release.tarball;
    let file = File::open(tarball).map_err(ReleaseError::io("read", tarball))?;
    let archive = |source| ReleaseError::Archive {
        tarball: tarball.clone(),
        source,
    };
    let wrong = |entry: &[u8], problem| {
        let entry = String::from_utf8_lossy(entry).escape_debug().to_string();
        ReleaseError::Contents {
            tarball: tarball.clone(),
            entry,
            problem,
        }
    };
    let mut raw = Counted {
        inner: file,
        hash: Hash::default(),
    };
    // The limit is larger than `MOST_BYTES`, because the archive also contains headers and padding.
    let inflated = MultiGzDecoder::new(&mut raw).take(MOST_BYTES + (MOST_BYTES >> 3));
    let mut reader = tar::Archive::new(inflated);
    let mut contents = Contents::new(version);
    let mut found = Vec::new();
    for entry in reader.entries().map_err(archive)? {
        let mut entry = entry.map_err(archive)?;
        let path = entry.path_bytes().into_owned();
        let mode = entry.header().mode().map_err(archive)?;
        let head = Head {
            path: &path,
            kind: entry.header().entry_type(),
            size: entry.size(),
            mode,
        };
        let Some(program) = contents
            .admit(head)
            .map_err(|problem| wrong(&path, problem))?
        else {
            continue;
        };
        let mut bytes = Vec::with_capacity(usize::try_from(entry.size()).unwrap_or(0));
        entry.read_to_end(&mut bytes).map_err(archive)?;
        elf::runs_on_centos7(&bytes).map_err(|why| wrong(&path, Problem::Runs(why)))?;
        // The file name does not come from the tarball, so the tarball cannot cause any other file
        // to be written.
        write_program(folder, program, &bytes)?;
        found.push((program, Sha256::of(&bytes), bytes.len() as u64));
    }
    // Read the tarball to its end, so that the gzip trailer is checked, and bytes after the end of
    // the archive are detected.
    io::copy(&mut reader.into_inner(), &mut io::sink()).map_err(archive)?;
    io::copy(&mut raw, &mut io::sink()).map_err(archive)?;
    check_digest(release, raw.hash.finish())?;
    if let Some(path) = contents.missing() {
        return Err(wrong(path.as_bytes(), Problem::Missing));
    }
    found.sort_by_key(|(program, ..)| *program);
    write_list(folder, &found)?;
    Ok(found)
}

/// Writes a program into `folder`.
fn write_program(folder: &Path, program: Program, bytes: &[u8]) -> Result<(), ReleaseError> {
    let place = folder.join(program.name());
    fs::write(&place, bytes).map_err(ReleaseError::io("write", &place))?;
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&place, mode).map_err(ReleaseError::io("write", &place))
}

/// Writes the list of the programs' digests into `folder`.
fn write_list(folder: &Path, found: &[(Program, Sha256, u64)]) -> Result<(), ReleaseError> {
    let list = sums::write(
        found
            .iter()
            .map(|(program, sha256, _)| (*sha256, program.name())),
    );
    fs::write(folder.join(LIST), list).map_err(ReleaseError::io("write", &folder.join(LIST)))
}

/// Refuses a tarball that has changed since its digest was checked.
fn check_digest(release: &Release, read: Sha256) -> Result<(), ReleaseError> {
    if read != release.sha256 {
        return Err(ReleaseError::Changed {
            tarball: release.tarball.clone(),
            expected: release.sha256,
            found: read,
        });
    }
    Ok(())
}

/// A reader that computes the digest of all bytes that it returns. The digest proves that exactly
/// the verified bytes are unpacked, even if the file changes after its verification.
struct Counted<R> {
    inner: R,
    hash: Hash,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.add(&buffer[..count]);
        Ok(count)
    }
}
