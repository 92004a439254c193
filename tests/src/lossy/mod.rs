//! A disk that loses what was not flushed: a file system of the tests' own, mounted by FUSE. A host's folders are bound to
//! it; when the host's plug was pulled, the power cut is made here, and what a real disk might have lost is lost.
//!
//! `tree` is the file system, `fuse` its way to the kernel.

mod fuse;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use fuser::{BackgroundSession, Config, MountOption, SessionACL};

use crate::run;
pub use tree::{Loss, Tree};

/// A mounted disk; unmounted on drop.
#[derive(Debug)]
pub struct Disk {
    tree: Arc<Mutex<Tree>>,
    folder: PathBuf,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// Mounts a disk that holds this.
    pub fn new(tree: Tree) -> Result<Self> {
        let folder = run::current()?.folder("lossy")?;
        let mut disk = Self { tree: Arc::new(Mutex::new(tree)), folder, session: None };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Makes the power cut. All who had files open must be gone: what the kernel remembers goes, too.
    pub fn cut(&mut self, loss: Loss) -> Result<()> {
        self.unmount()?;
        self.tree().cut(loss);
        self.mount()
    }

    /// Puts another disk in. All who had files open must be gone.
    pub fn replace(&mut self, tree: Tree) -> Result<()> {
        self.unmount()?;
        *self.tree() = tree;
        self.mount()
    }

    /// The file system, to look at or to change.
    pub fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mount(&mut self) -> Result<()> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("lossy".to_owned()), MountOption::DefaultPermissions];
        config.acl = SessionACL::All;
        let session = fuser::spawn_mount(fuse::Shared(self.tree.clone()), &self.folder, &config);
        self.session = Some(session.with_context(|| format!("cannot mount on {}", self.folder.display()))?);
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        session.umount_and_join().with_context(|| format!("cannot unmount {}", self.folder.display()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("bed: {error:#}");
        }
        let _ = std::fs::remove_dir(&self.folder);
    }
}
