//! The cache of releases. For each release, the cache contains the tarball
//! `CACHE/releases/DIGEST.tar.gz`, and the files that belong to the tarball.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use recipes::Sha256;

use super::error::ReleaseError;
use super::partial_download::PartialDownload;
use super::progress::Progress;

/// One release's paths in the cache. Every name contains the release's digest, so two releases
/// never share a path.
#[derive(Debug)]
pub(crate) struct CacheEntry {
    folder: PathBuf,
    sha256: Sha256,
}

/// The lock on a release. While the lock is held, no other builder changes the release's files. The
/// lock ends when the value is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl CacheEntry {
    /// Returns the paths of the release with this digest.
    pub(crate) fn new(cache: &Path, sha256: Sha256) -> Self {
        Self {
            folder: cache.join("releases"),
            sha256,
        }
    }

    /// Returns the path of the verified tarball.
    pub(crate) fn tarball(&self) -> PathBuf {
        self.folder.join(format!("{}.tar.gz", self.sha256))
    }

    /// Returns the partial download of the tarball.
    pub(crate) fn part(&self) -> PartialDownload {
        PartialDownload::at(self.folder.join(format!("{}.part", self.sha256)))
    }

    /// Returns the folder of the unpacked programs.
    pub(crate) fn unpacked(&self) -> PathBuf {
        self.folder.join(self.sha256.to_string())
    }

    /// Returns the temporary folder for unpacking. The folder's name is fixed and not random, so
    /// that the next build finds and removes the leftovers of a killed builder.
    pub(crate) fn unpacking(&self) -> PathBuf {
        self.folder.join(format!("{}.unpacking", self.sha256))
    }

    /// Waits for exclusive use of this release, so that two builders do not write the same `.part`
    /// at the same time.
    pub(crate) fn lock(&self, progress: &dyn Progress) -> Result<Lock, ReleaseError> {
        // Only this user has access, because a file that others could write to must not become part
        // of an image.
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder);
        made.map_err(ReleaseError::io("create", &self.folder))?;
        let path = self.folder.join(format!("{}.lock", self.sha256));
        let open = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(ReleaseError::io("open", &path))
        };
        let failed = |errno: Errno| ReleaseError::io("lock", &path)(errno.into());
        match Flock::lock(open()?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Lock { _file: file }),
            Err((file, Errno::EWOULDBLOCK)) => {
                progress.say("waiting for another builder that is using this release");
                let file = Flock::lock(file, FlockArg::LockExclusive)
                    .map_err(|(_, errno)| failed(errno))?;
                Ok(Lock { _file: file })
            }
            Err((_, errno)) => Err(failed(errno)),
        }
    }
}

/// Removes a folder if it exists.
pub(crate) fn clear(path: &Path) -> Result<(), ReleaseError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ReleaseError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
