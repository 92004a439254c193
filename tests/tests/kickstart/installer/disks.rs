//! Tests which disk and which partition table the installer chooses.

use anyhow::{Result, ensure};
use tests::installer::{Disk, DiskPartition, Hardware, Outcome, Quirk};

use super::bed::{Bed, chosen, in_use, install};

const USUAL: &str = "/ /boot /var/lib/etcd";
const LARGE: u64 = 3 << 40;
/// The size in bytes of the largest disk on which anaconda makes an MBR, if the disk has blocks of
/// 512 bytes.
const LAST: u64 = 0xffff_fffe * 512;

fn disk(name: &str) -> Disk {
    Disk::new(name, 20 << 30)
}

/// The hardware, a line in `[install]`, and the disk, partition table and partitions that the
/// installer chooses.
type DiskCase = (Hardware, &'static str, String);

/// Returns the cases for every kind of partition table that anaconda makes. The kind depends on the
/// firmware and on the size of the disk.
fn table_cases() -> Vec<DiskCase> {
    let large = |bytes: u64, block: u32| Disk {
        block,
        ..Disk::new("sda", bytes)
    };
    vec![
        (Hardware::default(), "", format!("sda msdos: {USUAL}")),
        (
            Hardware::default().uefi(),
            "",
            "sda gpt: / /boot /boot/efi /var/lib/etcd".into(),
        ),
        (
            Hardware::with([large(LAST, 512)]),
            "",
            format!("sda msdos: {USUAL}"),
        ),
        (
            Hardware::with([large(LAST + 512, 512)]),
            "",
            format!("sda gpt: {USUAL} biosboot"),
        ),
        (
            Hardware::with([large(LARGE, 512)]),
            "",
            format!("sda gpt: {USUAL} biosboot"),
        ),
        (
            Hardware::with([large(LARGE, 4096)]),
            "",
            format!("sda msdos: {USUAL}"),
        ),
        (
            Hardware::with([large(LARGE, 512)]).uefi(),
            "",
            "sda gpt: / /boot /boot/efi /var/lib/etcd".into(),
        ),
    ]
}

/// Returns the cases that show which disk the installer chooses.
fn choice_cases() -> Result<Vec<DiskCase>> {
    let mounted = Disk {
        partitions: vec![DiskPartition::new("sdaa1", &in_use()?)],
        ..disk("sdaa")
    };
    let link = Disk {
        links: vec!["disk/by-id/ata-X_1".into()],
        ..disk("sdc")
    };
    let with_property = |property: &str| Disk {
        properties: vec![property.into()],
        ..disk("sda")
    };
    let usual = |name: &str| format!("{name} msdos: {USUAL}");
    Ok(vec![
        (
            Hardware::with([disk("cciss/c0d0")]),
            "",
            usual("cciss/c0d0"),
        ),
        (
            Hardware::with([disk("cciss/c0d0"), disk("cciss/c0d1")]),
            "disk = \"cciss/c0d1\"",
            usual("cciss/c0d1"),
        ),
        // Compressed swap and loop devices are not disks, regardless of their size.
        (
            Hardware::with([
                disk("loop0").but(Quirk::Virtual),
                disk("vda"),
                disk("zram0").but(Quirk::Virtual),
            ]),
            "",
            usual("vda"),
        ),
        (
            Hardware::with([disk("sda").but(Quirk::Multipath), disk("sdb")]),
            "",
            usual("sdb"),
        ),
        (
            Hardware::with([with_property("ID_FS_TYPE=mpath_member"), disk("sdb")]),
            "",
            usual("sdb"),
        ),
        (
            Hardware::with([with_property("ID_FS_TYPE=isw_raid_member"), disk("sdb")]),
            "",
            usual("sdb"),
        ),
        // The partition sdaa1 is mounted. The installer must still choose sda, although the name of
        // that partition begins with "sda".
        (Hardware::with([mounted, disk("sda")]), "", usual("sda")),
        (
            Hardware::with([disk("sda"), link]),
            "disk = \"/dev/disk/by-id/ata-X_1\"",
            usual("sdc"),
        ),
        (
            Hardware::with([disk("sda"), disk("sdb").but(Quirk::Removable)]),
            "disk = \"sdb\"",
            usual("sdb"),
        ),
    ])
}

pub(super) fn disks() -> Result<()> {
    let bed = Bed::new()?;
    for (hardware, more, expected) in table_cases().into_iter().chain(choice_cases()?) {
        let installation = bed.install(&install(more), &hardware)?;
        let log = installation.log();
        ensure!(
            chosen(&installation) == expected,
            "{hardware:?} {more}\n{}\nnot {expected}\n{log}",
            chosen(&installation)
        );
        // The installation continued until `%post`, which failed because no server has the overlay.
        ensure!(
            log.contains("no server has the overlay"),
            "{hardware:?}\n{log}"
        );
        ensure!(
            installation.outcome == Outcome::PoweredOff("systemctl --force poweroff".into()),
            "{:?}",
            installation.outcome
        );
    }
    Ok(())
}
