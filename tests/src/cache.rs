//! The folder in which the test bed keeps everything that takes a long time to make: base roots,
//! etcd releases, Go modules.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};

/// Returns the cache folder: `ETCD_IMAGE_CACHE` if it is set, otherwise `.cache` in the workspace.
pub fn folder() -> PathBuf {
    match std::env::var_os("ETCD_IMAGE_CACHE") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => workspace().join(".cache"),
    }
}

/// Returns the workspace that this crate was built in.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Returns the path of the entry `name` (a relative path). If the entry does not exist yet, `build`
/// makes it.
///
/// `build` gets an empty folder. When `build` succeeds, a rename turns the folder into the entry,
/// so an existing entry is always complete. A lock prevents a second process from building the same
/// entry. The second process waits and then finds the finished entry.
pub fn entry(name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    entry_of(&folder(), name, build)
}

/// Returns the path of an entry as [`entry`] does, but in a folder other than the cache.
pub fn entry_of(
    cache: &Path,
    name: &str,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let path = cache.join(name);
    if path.exists() {
        return Ok(path);
    }
    let _lock = lock(&cache.join("locks").join(name.replace('/', "-")))?;
    if path.exists() {
        return Ok(path);
    }
    let partial = cache.join("partial").join(name.replace('/', "-"));
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| {
            format!(
                "cannot remove {}, left by an interrupted run",
                partial.display()
            )
        })?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    build(&partial).with_context(|| format!("cannot make the cache entry {}", path.display()))?;
    let parent = path.parent().unwrap_or(&path);
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    fs::rename(&partial, &path)
        .with_context(|| format!("cannot rename {} to {}", partial.display(), path.display()))?;
    Ok(path)
}

/// Acquires the lock on a file, and waits as long as necessary. The lock is released when the value
/// is dropped or the process dies.
pub fn lock(path: &Path) -> Result<Flock<File>> {
    Flock::lock(open_lock(path)?, FlockArg::LockExclusive)
        .map_err(|(_, error)| anyhow!("cannot lock {}: {error}", path.display()))
}

/// Acquires the lock on a file if no other process holds it.
pub fn try_lock(path: &Path) -> Result<Option<Flock<File>>> {
    Ok(Flock::lock(open_lock(path)?, FlockArg::LockExclusiveNonblock).ok())
}

fn open_lock(path: &Path) -> Result<File> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open the lock file {}", path.display()))
}
