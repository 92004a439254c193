//! The machine on which an installer runs: its firmware and its disks, as the kernel and udev show
//! them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::firmware::BootEntries;

/// A machine's firmware and disks.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// Whether the machine was booted by UEFI.
    pub efi: bool,
    /// The firmware's boot entries, if the machine was booted by UEFI.
    pub boot: BootEntries,
    /// The disks and the other block devices that the kernel lists.
    pub disks: Vec<Disk>,
}

/// An entry of /sys/block.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The disk's name in /dev.
    pub name: String,
    /// The disk's size.
    pub bytes: u64,
    /// The size of a logical block.
    pub block: u32,
    /// The differences from a plain disk.
    pub quirks: Vec<Quirk>,
    /// The properties that udev reports for the disk, such as `ID_FS_TYPE=…`.
    pub properties: Vec<String>,
    /// The links to the disk in /dev.
    pub links: Vec<String>,
    /// The type of partition table that an earlier installation wrote.
    pub table: &'static str,
    /// The partitions of an earlier installation.
    pub partitions: Vec<DiskPartition>,
}

/// A partition that the disk has before the installation.
#[derive(Debug, Clone)]
pub struct DiskPartition {
    /// The partition's name in /dev.
    pub name: String,
    /// The partition's device number, as in `8:1`.
    pub number: String,
    /// The partition's first sector.
    pub start: u64,
    /// The partition's size in sectors.
    pub sectors: u64,
    /// The partition's file system, as blivet names it.
    pub kind: String,
    /// The label of the file system.
    pub label: Option<String>,
    /// The device on the test machine that scripts open under the partition's name.
    pub device: Option<PathBuf>,
}

impl DiskPartition {
    /// Returns a partition that scripts can see but not open.
    pub fn new(name: &str, number: &str) -> Self {
        Self {
            name: name.to_owned(),
            number: number.to_owned(),
            start: 2048,
            sectors: 2048,
            kind: "xfs".to_owned(),
            label: None,
            device: None,
        }
    }
}

/// A difference between an entry of /sys/block and a plain disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quirk {
    /// The kernel lists the disk as removable.
    Removable,
    /// The disk cannot be written to.
    ReadOnly,
    /// The disk is a loop device, a zram device or another device without hardware.
    Virtual,
    /// multipathd has combined the disk with other devices.
    Multipath,
}

impl Disk {
    /// Adds a quirk to the disk.
    #[must_use]
    pub fn but(mut self, quirk: Quirk) -> Self {
        self.quirks.push(quirk);
        self
    }

    /// Returns whether the disk has a quirk.
    pub fn is(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    /// Returns a plain disk with this name and size.
    pub fn new(name: &str, bytes: u64) -> Self {
        Self {
            name: name.to_owned(),
            bytes,
            block: 512,
            quirks: Vec::new(),
            properties: Vec::new(),
            links: Vec::new(),
            table: "msdos",
            partitions: Vec::new(),
        }
    }
}

impl Default for Hardware {
    /// Returns a machine with a BIOS and one disk of 20 GiB.
    fn default() -> Self {
        Self {
            efi: false,
            boot: BootEntries::default(),
            disks: vec![Disk::new("sda", 20 << 30)],
        }
    }
}

impl Hardware {
    /// Returns a machine with a BIOS and these disks.
    pub fn with(disks: impl IntoIterator<Item = Disk>) -> Self {
        Self {
            disks: disks.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Returns the same machine, booted by UEFI.
    #[must_use]
    pub fn uefi(mut self) -> Self {
        self.efi = true;
        self
    }

    /// Writes the kernel's and udev's view of the machine into the subfolders `block`, `firmware`,
    /// `dev`, `udev` and `devices`.
    pub fn lay_out(&self, folder: &Path) -> Result<()> {
        for part in ["block", "firmware", "dev", "udev", "devices"] {
            make(&folder.join(part))?;
        }
        if self.efi {
            self.boot.lay_out(&folder.join("firmware"))?;
        }
        for (number, disk) in self.disks.iter().enumerate() {
            let kernel = disk.name.replace('/', "!");
            let sys = folder.join("block").join(&kernel);
            make(&sys.join("queue"))?;
            make(&sys.join("holders"))?;
            let flag = |on: bool| if on { "1\n" } else { "0\n" }.to_owned();
            // The size in blocks of 512 bytes, regardless of the disk's own block size.
            write(&sys.join("size"), &format!("{}\n", disk.bytes / 512))?;
            write(
                &sys.join("queue/logical_block_size"),
                &format!("{}\n", disk.block),
            )?;
            write(&sys.join("removable"), &flag(disk.is(Quirk::Removable)))?;
            write(&sys.join("ro"), &flag(disk.is(Quirk::ReadOnly)))?;
            // Use a device number that no disk of the test machine has.
            write(&sys.join("dev"), &format!("4095:{number}\n"))?;
            if !disk.is(Quirk::Virtual) {
                make(&sys.join("device"))?;
            }
            if disk.is(Quirk::Multipath) {
                make(&sys.join("holders/dm-0/dm"))?;
                write(
                    &sys.join("holders/dm-0/dm/uuid"),
                    "mpath-3600508b400105e210000900000490000\n",
                )?;
            }
            for (number, partition) in disk.partitions.iter().enumerate() {
                let sys = sys.join(&partition.name);
                make(&sys)?;
                write(&sys.join("dev"), &format!("{}\n", partition.number))?;
                write(&sys.join("partition"), &format!("{}\n", number + 1))?;
                write(&sys.join("start"), &format!("{}\n", partition.start))?;
                write(&sys.join("size"), &format!("{}\n", partition.sectors))?;
                if let Some(device) = &partition.device {
                    let link = folder.join("devices").join(&partition.name);
                    symlink(device, &link)
                        .with_context(|| format!("cannot make {}", link.display()))?;
                }
            }
            write(
                &folder.join("udev").join(&kernel),
                &(disk.properties.join("\n") + "\n"),
            )?;
            // Scripts read this sparse file as the beginning of an empty disk.
            let device = folder.join("dev").join(&disk.name);
            make(device.parent().unwrap_or(folder))?;
            fs::File::create(&device)
                .and_then(|file| file.set_len(1 << 20))
                .with_context(|| format!("cannot make {}", device.display()))?;
            for link in &disk.links {
                let link = folder.join("dev").join(link);
                make(link.parent().unwrap_or(folder))?;
                symlink(format!("../../{}", disk.name), &link)
                    .with_context(|| format!("cannot make {}", link.display()))?;
            }
        }
        Ok(())
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
