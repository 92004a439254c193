//! A disk for one test: a sparse file behind a loop device.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{process, run};

/// A loop device, and the file that contains its data. The device and the file are removed on drop.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    device: PathBuf,
}

impl Disk {
    /// Makes an empty disk of `bytes` bytes.
    pub fn new(bytes: u64) -> Result<Disk> {
        let folder = run::current()?.folder("disk")?;
        let image = folder.join("image");
        File::create(&image)
            .and_then(|file| file.set_len(bytes))
            .with_context(|| format!("cannot make {} of {bytes} bytes", image.display()))?;
        let device = process::check("losetup", &["--find", "--show", &image.to_string_lossy()])?;
        Ok(Disk {
            folder,
            device: PathBuf::from(device.trim()),
        })
    }

    /// Makes a disk as [`Disk::new`] does, and puts an XFS file system with this label on it.
    pub fn xfs(bytes: u64, label: &str) -> Result<Disk> {
        let disk = Disk::new(bytes)?;
        process::check(
            "mkfs.xfs",
            &["-q", "-L", label, &disk.device.to_string_lossy()],
        )?;
        Ok(disk)
    }

    /// Runs a shell script in the root folder of the disk's XFS file system, and returns its
    /// output. The mount is visible only to the script. If the mount were visible outside the
    /// script, a test host that boots at this moment would inherit a copy of the mount, and would
    /// keep this copy.
    pub fn sh(&self, script: &str) -> Result<String> {
        let mount = "mount -t xfs \"$1\" \"$2\"; cd \"$2\"; eval \"$3\"";
        let arguments = [
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-euc",
            mount,
            "sh",
        ];
        let (device, folder) = (self.device.to_string_lossy(), self.folder.join("mounted"));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.to_string_lossy();
        process::check(
            "unshare",
            &[&arguments[..], &[&device, &folder, script]].concat(),
        )
    }

    /// Returns the device, such as /dev/loop0.
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Returns the file behind the device.
    pub fn image(&self) -> PathBuf {
        self.folder.join("image")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // If the device is still mounted somewhere, the kernel detaches it at the last unmount.
        if let Err(error) = process::check("losetup", &["--detach", &self.device.to_string_lossy()])
        {
            eprintln!("bed: {error:#}");
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
