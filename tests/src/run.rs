//! A run of a test program: its namespaces, its folder, and the cleanup after earlier runs that
//! died.
//!
//! A run first enters a separate mount namespace. Therefore mounts and named network namespaces
//! (whose names are on a tmpfs of the run) vanish with the last process of the run. The child
//! processes of a run die with the run (see [`crate::process::KillOnDrop`]). Only files, loop
//! devices and control groups can be left behind. The names of these leftovers contain the run's
//! pid. The next run removes the leftovers of each run whose lock no process holds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::fcntl::Flock;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::{cache, cgroup, process};

static RUN: OnceLock<Run> = OnceLock::new();
static SHARED: OnceLock<PathBuf> = OnceLock::new();

/// The environment variable that names the folder that all runs of a suite share.
const SHARE: &str = "ETCD_IMAGE_SHARED";

/// The run of this process.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    next: AtomicU32,
    _lock: Flock<File>,
}

impl Run {
    /// Makes a new empty folder in the run's folder. The name of the new folder ends with `what`.
    pub fn folder(&self, what: &str) -> Result<PathBuf> {
        let path = self.folder.join(format!("{}-{what}", self.number()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Returns a number that is unique in this run.
    pub fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the folder for the hosts' console output. The folder outlives the hosts, so that a
    /// failed test can show the output.
    pub fn consoles(&self) -> PathBuf {
        self.folder.join("consoles")
    }
}

/// Starts the run. Programs must call this function first in `main`, while there is only one
/// thread.
///
/// Without root, this function makes only the folder, and the tests that need more are ignored.
pub fn enter() -> Result<&'static Run> {
    let threads = fs::read_dir("/proc/self/task")
        .context("cannot list /proc/self/task")?
        .count();
    ensure!(
        threads == 1,
        "run::enter must be called before any thread is started, but there are {threads}"
    );
    if nix::unistd::geteuid().is_root() {
        own_namespace()?;
    }
    let (folder, lock) = make_folder()?;
    let run = Run {
        folder,
        next: AtomicU32::new(0),
        _lock: lock,
    };
    fs::create_dir_all(run.consoles())
        .with_context(|| format!("cannot make {}", run.consoles().display()))?;
    RUN.set(run)
        .map_err(|_| anyhow!("run::enter was called twice"))?;
    current()
}

/// Makes and locks the folder of this run. Removes the folders of dead runs.
fn make_folder() -> Result<(PathBuf, Flock<File>)> {
    let _all = lock_all()?;
    remove_dead()?;
    let folder = runs().join(std::process::id().to_string());
    let lock = cache::lock(&folder.join("lock"))?;
    Ok((folder, lock))
}

/// Returns the run that [`enter`] started.
pub fn current() -> Result<&'static Run> {
    RUN.get().context(
        "there is no run: the test's main must go through harness::main, which calls run::enter",
    )
}

/// Lets the tests of this run share everything that is expensive to make and identical for many
/// tests. All runs of a suite use one shared folder.
pub fn share() -> Result<()> {
    let folder = match std::env::var_os(SHARE) {
        Some(folder) => PathBuf::from(folder),
        None => current()?.folder("shared")?,
    };
    SHARED
        .set(folder)
        .map_err(|_| anyhow!("run::share was called twice"))
}

/// Returns the folder that [`share`] set. Returns `None` if nothing is shared, for instance when a
/// benchmark measures how long a build takes.
pub fn shared() -> Option<&'static Path> {
    SHARED.get().map(PathBuf::as_path)
}

/// Makes a program share the same folder as this run.
pub fn share_with(program: &mut Command) {
    program.envs(shared().map(|folder| (SHARE, folder)));
}

/// Removes the run's folder. The caller must have removed all hosts and networks.
pub fn leave() {
    if let Some(run) = RUN.get() {
        let _all = lock_all();
        remove(&run.folder);
    }
}

/// Removes the files, devices and control groups of dead runs. A run is dead if no process holds
/// its lock.
pub fn reap() -> Result<()> {
    let _all = lock_all()?;
    remove_dead()
}

/// Acquires the lock that every process must hold while it makes or removes a run's folder. Without
/// this lock, a process that starts could remove a folder that another process has made but not
/// locked yet.
fn lock_all() -> Result<Flock<File>> {
    cache::lock(&cache::folder().join("locks/runs"))
}

fn remove_dead() -> Result<()> {
    let Ok(left) = fs::read_dir(runs()) else {
        return Ok(());
    };
    for folder in left {
        let folder = folder
            .with_context(|| format!("cannot list {}", runs().display()))?
            .path();
        if let Some(_lock) = cache::try_lock(&folder.join("lock"))? {
            eprintln!(
                "bed: removing {}, left by a run that died",
                folder.display()
            );
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            if let Ok(pid) = name.parse() {
                cgroup::reap(pid);
            }
            remove(&folder);
        }
    }
    Ok(())
}

fn runs() -> PathBuf {
    cache::folder().join("run")
}

fn remove(folder: &Path) {
    detach_loops_under(folder);
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("bed: cannot remove {}: {error}", folder.display());
    }
}

fn detach_loops_under(folder: &Path) {
    let Ok(list) = process::check(
        "losetup",
        &["--list", "--noheadings", "--output", "NAME,BACK-FILE"],
    ) else {
        return;
    };
    for line in list.lines() {
        let Some((device, file)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        if Path::new(file.trim()).starts_with(folder) {
            let _ = process::check("losetup", &["--detach", device]);
        }
    }
}

fn own_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make the mounts of the run private")?;
    // nspawn keeps its locks and sockets in /run/systemd, and requires that path to be a separate
    // file system. ip keeps the names of network namespaces in /run/netns. New mounts on both paths
    // hide the machine's own folders and leave them untouched.
    for path in ["/run/systemd", "/run/netns"] {
        fs::create_dir_all(path).with_context(|| format!("cannot make {path}"))?;
        mount(
            Some("tmpfs"),
            path,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=755"),
        )
        .with_context(|| format!("cannot mount a tmpfs on {path}"))?;
    }
    Ok(())
}
