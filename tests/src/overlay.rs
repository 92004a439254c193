//! An overlay mount: a lower folder that never changes, and an upper folder with everything that a
//! host has written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::run;

/// A mounted overlay with a fresh upper folder. The overlay is unmounted and removed on drop.
#[derive(Debug)]
pub struct Overlay {
    lower: PathBuf,
    folder: PathBuf,
    /// A shared layer, which never changes, between the lower and the upper folder.
    layer: Option<PathBuf>,
    /// Whether there is an additional layer, above the shared layer, with the changes that
    /// [`Overlay::snapshot`] saved.
    kept: bool,
}

impl Overlay {
    /// Mounts an overlay with an empty upper folder on `lower`, which must not change from now on.
    pub fn new(name: &str, lower: &Path) -> Result<Overlay> {
        let overlay = Overlay {
            lower: lower
                .canonicalize()
                .with_context(|| format!("the lower folder {} does not exist", lower.display()))?,
            folder: run::current()?.folder(name)?,
            layer: None,
            kept: false,
        };
        overlay.mount()?;
        Ok(overlay)
    }

    /// Returns the merged root.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Returns the upper folder, in which overlayfs stores the changes to the layers below. A
    /// whiteout in this folder marks a removed file.
    pub fn upper(&self) -> PathBuf {
        self.folder.join("upper")
    }

    /// Discards all changes and removes the shared layer, so that the root equals the lower folder
    /// again.
    pub fn wipe(&mut self) -> Result<()> {
        self.unmount()?;
        self.remove(&["upper", "work", "kept"])?;
        self.layer = None;
        self.kept = false;
        self.mount()
    }

    /// Returns whether the overlay is unchanged and has no shared layer.
    pub fn is_fresh(&self) -> Result<bool> {
        let mut written = fs::read_dir(self.upper())
            .with_context(|| format!("cannot list {}", self.upper().display()))?;
        Ok(!self.kept && self.layer.is_none() && written.next().is_none())
    }

    /// Adds the changes of a different overlay, as a layer below this overlay's own changes.
    pub fn use_layer(&mut self, layer: &Path) -> Result<()> {
        ensure!(self.is_fresh()?, "{} is not empty", self.root().display());
        self.unmount()?;
        self.remove(&["work"])?;
        self.layer = Some(layer.to_path_buf());
        self.mount()
    }

    /// Moves the changes to another path on the same file system, as a layer for
    /// [`Overlay::use_layer`].
    pub fn into_layer(self, to: &Path) -> Result<()> {
        self.unmount()?;
        fs::rename(self.upper(), to)
            .with_context(|| format!("cannot rename {}", self.upper().display()))?;
        // `drop` expects a mounted overlay.
        self.mount()
    }

    /// Saves everything written so far, so that [`Overlay::revert`] can return to this state.
    pub fn snapshot(&mut self) -> Result<()> {
        ensure!(
            !self.kept,
            "{} already has saved changes",
            self.root().display()
        );
        self.unmount()?;
        self.remove(&["work"])?;
        let (upper, kept) = (self.upper(), self.folder.join("kept"));
        fs::rename(&upper, &kept).with_context(|| format!("cannot rename {}", upper.display()))?;
        self.kept = true;
        self.mount()
    }

    /// Discards everything written since [`Overlay::snapshot`].
    pub fn revert(&mut self) -> Result<()> {
        ensure!(self.kept, "{} has no saved changes", self.root().display());
        self.unmount()?;
        self.remove(&["upper", "work"])?;
        self.mount()
    }

    fn remove(&self, parts: &[&str]) -> Result<()> {
        for path in parts
            .iter()
            .map(|part| self.folder.join(part))
            .filter(|path| path.exists())
        {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    fn mount(&self) -> Result<()> {
        for part in ["upper", "work", "root"] {
            let path = self.folder.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let kept = self.kept.then(|| self.folder.join("kept"));
        let lower: Vec<_> = kept
            .iter()
            .chain(&self.layer)
            .chain([&self.lower])
            .map(|layer| layer.to_string_lossy())
            .collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            self.upper().display(),
            self.folder.join("work").display()
        );
        mount(
            Some("overlay"),
            &self.root(),
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .with_context(|| {
            format!(
                "cannot mount an overlay ({options}) on {}",
                self.root().display()
            )
        })
    }

    fn unmount(&self) -> Result<()> {
        umount2(&self.root(), MntFlags::empty())
            .or_else(|_| umount2(&self.root(), MntFlags::MNT_DETACH))
            .with_context(|| format!("cannot unmount {}", self.root().display()))
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("bed: {error:#}");
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("bed: cannot remove {}: {error}", self.folder.display());
        }
    }
}
