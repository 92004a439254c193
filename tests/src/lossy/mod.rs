//! A disk that loses unflushed data: a file system for tests, mounted through FUSE. A host's
//! folders are bind mounts of that file system. When the test cuts the power of the host, the test
//! also calls `cut` on the disk, which then loses unflushed data.
//!
//! `tree` is the file system, and `fuse` connects it to the kernel.

mod fuse;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use nix::mount::{MntFlags, umount2};

use crate::run;
pub use tree::{Loss, Tree};

/// A mounted disk, which is unmounted on drop.
#[derive(Debug)]
pub struct Disk {
    tree: Arc<Mutex<Tree>>,
    folder: PathBuf,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// Mounts a disk with this content.
    pub fn new(tree: Tree) -> Result<Self> {
        let folder = run::current()?.folder("lossy")?;
        let mut disk = Self {
            tree: Arc::new(Mutex::new(tree)),
            folder,
            session: None,
        };
        disk.mount()?;
        Ok(disk)
    }

    /// Returns the folder on which the disk is mounted.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Simulates the power cut. Every process with open files on the disk must have ended before
    /// this call, because the kernel's cache is also dropped.
    pub fn cut(&mut self, loss: Loss) -> Result<()> {
        self.unmount()?;
        let mut tree = self.tree().clone();
        tree.cut(loss);
        // Use a copy of the tree and a new mount, because other hosts' mount namespaces keep the
        // old mount with the old tree.
        self.tree = Arc::new(Mutex::new(tree));
        self.mount()
    }

    /// Returns the file system, so that a test can inspect or change it.
    pub fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mount(&mut self) -> Result<()> {
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("lossy".to_owned()),
            MountOption::DefaultPermissions,
        ];
        config.acl = SessionACL::All;
        let session = fuser::spawn_mount(fuse::Shared(self.tree.clone()), &self.folder, &config);
        self.session =
            Some(session.with_context(|| format!("cannot mount on {}", self.folder.display()))?);
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        umount2(&self.folder, MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {}", self.folder.display()))?;
        // This function does not wait for the thread, which ends only when the last namespace with
        // the mount has disappeared.
        drop(session);
        Ok(())
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
