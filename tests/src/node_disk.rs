//! The disk of a node whose installation keeps etcd's volume (`data = "keep"`).

use anyhow::Result;

use crate::disk::Disk;
use crate::host::Host;
use crate::installer::{Disk as Described, DiskPartition, Hardware};

const MIB: u64 = 1 << 20;

/// A unit that mounts the volume at boot, because systemd in a container ignores the devices in
/// fstab.
const MOUNT: &str = "[Unit]\nDefaultDependencies=no\nBefore=systemd-tmpfiles-setup.service local-fs.target\n\
                     [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/mount -t xfs DEVICE /var/lib/etcd\n";

/// The disk of one machine. The host's etcd runs on the disk's `volume`. The disk's `/` contains
/// only copies of the files that `%pre` reads, because the root file system of a host is not on a
/// device.
#[derive(Debug)]
pub struct NodeDisk {
    boot: Disk,
    root: Disk,
    /// The volume of etcd.
    pub volume: Disk,
}

impl NodeDisk {
    /// Makes a disk with an empty volume.
    pub fn new() -> Result<Self> {
        Ok(Self {
            boot: Disk::xfs(320 * MIB, "boot")?,
            root: Disk::xfs(320 * MIB, "root")?,
            volume: Disk::xfs(1024 * MIB, "etcd")?,
        })
    }

    /// Returns the nspawn argument that makes the volume visible in a host.
    pub fn argument(&self) -> String {
        format!("--bind={}", self.volume.device().display())
    }

    /// Makes the host mount the volume at each boot from now on.
    pub fn attach(&self, host: &Host) -> Result<()> {
        let device = self.volume.device().to_string_lossy();
        let units = "/etc/systemd/system";
        let unit = MOUNT.replace("DEVICE", &device);
        host.write(&format!("{units}/volume.service"), &unit, 0o644)?;
        host.write(
            &format!("{units}/local-fs.target.d/volume.conf"),
            "[Unit]\nRequires=volume.service\n",
            0o644,
        )
    }

    /// Replaces the content of the disk's `/` with the files of a host's `/` that `%pre` reads.
    pub fn copy_root(&self, host: &Host) -> Result<()> {
        let root = host.root();
        let copy = format!(
            "find . -mindepth 1 -delete; cd {:?}; cp -a --parents etc/firstboot var/lib/firstboot \"$2\"",
            root.display().to_string()
        );
        self.root.sh(&copy).map(drop)
    }

    /// Returns the machine's hardware with this disk.
    pub fn hardware(&self) -> Hardware {
        let part = |name: &str, label: &str, start, mib: u64, disk: &Disk| DiskPartition {
            start,
            sectors: mib * 2048,
            label: Some(label.to_owned()),
            device: Some(disk.device().to_owned()),
            ..DiskPartition::new(name, "4095:9")
        };
        Hardware::with([Described {
            partitions: vec![
                part("sda1", "boot", 2048, 1024, &self.boot),
                part("sda2", "root", 2_099_200, 8192, &self.root),
                part("sda3", "etcd", 18_876_416, 11_000, &self.volume),
            ],
            ..Described::new("sda", 20 << 30)
        }])
    }
}
