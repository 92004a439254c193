//! Partitions and mounts disks as the plan requires, and makes one of them bootable.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::anaconda::{Partition, Plan};
use crate::process;

/// The boot loader's two files: the code for the first sector, and grub itself.
const BOOT_IMAGE: &str = "/usr/lib/installer/boot.img";
const CORE_IMAGE: &str = "/usr/lib/installer/core.img";

/// The number of bytes for boot code at the start of the first sector. The disk signature and the
/// partition table follow.
const BOOT_CODE_BYTES: usize = 440;
/// The number of bytes between the first sector and the first partition.
const GAP_BYTES: usize = (1 << 20) - 512;

/// A file system of the new system.
#[derive(Debug)]
pub(super) struct Mounted {
    uuid: String,
    mount: String,
    options: String,
}

/// Makes the partitions and their file systems, and mounts them below `target`.
pub(super) fn make(plan: &Plan, target: &Path) -> Result<Vec<Mounted>> {
    ensure!(
        plan.volumes.is_empty(),
        "only plain partitions are supported"
    );
    let mut mounted = Vec::new();
    for (disk, label) in &plan.labels {
        let mut parts: Vec<&Partition> = plan
            .partitions
            .iter()
            .filter(|part| part.disk == *disk)
            .collect();
        // Make the growing partition last, because it takes up the rest of the disk.
        parts.sort_by_key(|part| part.grows);
        partition(disk, label, &parts)?;
        for (number, part) in (1..).zip(&parts) {
            ensure!(
                part.kind == "xfs",
                "{} is not an XFS file system",
                part.mount
            );
            let between = if disk.ends_with(|c: char| c.is_ascii_digit()) {
                "p"
            } else {
                ""
            };
            let device = format!("/dev/{disk}{between}{number}");
            let name = part.label.as_deref().unwrap_or_default();
            process::check("mkfs.xfs", &["-q", "-f", "-L", name, &device])?;
            let uuid = process::check(
                "blkid",
                &["-c", "/dev/null", "-o", "value", "-s", "UUID", &device],
            )?;
            mounted.push((
                device,
                Mounted {
                    uuid: uuid.trim().to_owned(),
                    mount: part.mount.clone(),
                    options: part.options.clone(),
                },
            ));
        }
    }
    // Mount each file system before the file systems below its mount point.
    mounted.sort_by(|(_, one), (_, other)| one.mount.cmp(&other.mount));
    for (device, part) in &mounted {
        let folder = target.join(part.mount.trim_start_matches('/'));
        fs::create_dir_all(&folder)?;
        let folder = folder.to_string_lossy();
        process::check(
            "mount",
            &["-t", "xfs", "-o", &part.options, device, &folder],
        )?;
    }
    // blivet, FSSet.mountFilesystems.
    for name in ["proc", "sys", "dev", "run"] {
        let folder = target.join(name);
        fs::create_dir_all(&folder)?;
        let (from, to) = (format!("/{name}"), folder.to_string_lossy());
        process::check("mount", &["--rbind", &from, &to])?;
    }
    Ok(mounted.into_iter().map(|(_, part)| part).collect())
}

fn partition(disk: &str, label: &str, parts: &[&Partition]) -> Result<()> {
    let device = format!("/dev/{disk}");
    process::check("wipefs", &["--quiet", "--all", &device])?;
    let mut words: Vec<String> = ["--script", "--align=optimal", &device]
        .map(str::to_owned)
        .to_vec();
    words.extend(["mklabel".to_owned(), label.to_owned()]);
    // blivet also leaves the first MiB of a disk free.
    let mut start = 1;
    for part in parts {
        let end = start + part.mib;
        let end_word = if part.grows {
            "100%".to_owned()
        } else {
            format!("{end}MiB")
        };
        words.extend(["mkpart", "primary", "xfs"].map(str::to_owned));
        words.extend([format!("{start}MiB"), end_word]);
        start = end;
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    process::check("parted", &words)?;
    process::check("udevadm", &["settle"]).map(drop)
}

/// Writes fstab as anaconda does, and the boot loader with its menu.
pub(super) fn write_tables(plan: &Plan, mounted: &[Mounted], target: &Path) -> Result<()> {
    let mut fstab = String::new();
    for part in mounted {
        let Mounted {
            uuid,
            mount,
            options,
        } = part;
        let _ = writeln!(fstab, "UUID={uuid} {mount} xfs {options} 0 0");
    }
    fs::write(target.join("etc/fstab"), fstab)?;
    let Some(("GRUB2", drive, arguments)) = &plan.boot_loader else {
        bail!("the plan has no boot loader for BIOS");
    };
    let root = mounted.iter().find(|part| part.mount == "/");
    let root = &root.context("no partition for /")?.uuid;
    let arguments = arguments.join(" ");
    let menu = format!(
        "serial --unit=0\nterminal_output serial\necho 'grub: starting the installed system'\n\
         linux /vmlinuz root=UUID={root} ro {arguments}\ninitrd /initrd.img\nboot\n"
    );
    fs::create_dir_all(target.join("boot/grub2"))?;
    fs::write(target.join("boot/grub2/grub.cfg"), menu)?;
    write_boot_loader(&format!("/dev/{drive}"))
}

/// Writes the boot code into the first sector, and grub into the gap after that sector. By default,
/// the boot code expects grub in this gap.
fn write_boot_loader(device: &str) -> Result<()> {
    let first = fs::read(BOOT_IMAGE)?;
    let grub = fs::read(CORE_IMAGE)?;
    ensure!(first.len() >= BOOT_CODE_BYTES, "{BOOT_IMAGE} is too short");
    ensure!(grub.len() <= GAP_BYTES, "{CORE_IMAGE} is too long");
    let mut disk = OpenOptions::new().write(true).open(device)?;
    disk.write_all(&first[..BOOT_CODE_BYTES])?;
    disk.seek(SeekFrom::Start(512))?;
    disk.write_all(&grub)?;
    disk.sync_all()
        .with_context(|| format!("cannot write the boot loader to {device}"))
}
