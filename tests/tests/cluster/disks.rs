//! Tests metadata disks that the usual tools make. firstboot must find the machine's document on
//! each disk.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::disk::Disk;
use tests::harness::trial;
use tests::host::Host;
use tests::process;
use tests::requirement::Requirement;

use crate::lifecycle::REQUIREMENTS;
use crate::refusal::provisioned;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "disks_made_by_each_tool_are_read",
        &[REQUIREMENTS, &[Requirement::Fat, Requirement::Iso]].concat(),
        tools,
    )]
}

/// Makes a FAT disk: runs `mkfs.vfat` with these arguments on an image of this many KiB.
fn fat(image: &Path, kib: u64, arguments: &[&str], tree: &Path) -> Result<()> {
    fs::File::create(image)?.set_len(kib << 10)?;
    let path = image.to_string_lossy();
    process::check("mkfs.vfat", &[arguments, &[&path]].concat())?;
    for entry in fs::read_dir(tree)? {
        process::check(
            "mcopy",
            &[
                "-s",
                "-o",
                "-i",
                &path,
                &entry?.path().to_string_lossy(),
                "::",
            ],
        )?;
    }
    Ok(())
}

/// Makes an ISO 9660 disk with genisoimage, or with xorriso, which accepts the same arguments.
fn iso(image: &Path, command: &[&str], tree: &Path) -> Result<()> {
    let paths = [&image.to_string_lossy(), &tree.to_string_lossy()].map(ToString::to_string);
    process::check(
        command[0],
        &[&command[1..], &["-o", &paths[0], &paths[1]]].concat(),
    )
    .map(drop)
}

/// Changes the boot sector of a FAT file system.
fn boot_sector(image: &Path, change: impl FnOnce(&mut [u8])) -> Result<()> {
    let mut bytes = fs::read(image)?;
    change(&mut bytes[..512]);
    fs::write(image, bytes).context("cannot write the image")
}

/// The name of a tool, the label of the disk, and the function that makes a disk image from a tree.
type Maker = (
    &'static str,
    &'static str,
    Box<dyn Fn(&Path, &Path) -> Result<()>>,
);

/// Returns the tools that make metadata disks, with the options that clouds use and with unusual
/// options.
fn makers() -> Vec<Maker> {
    iso_makers().into_iter().chain(fat_makers()).collect()
}

fn iso_makers() -> Vec<Maker> {
    let isos = |name, label, command: &'static str| -> Maker {
        let command: Vec<&str> = command.split(' ').collect();
        (
            name,
            label,
            Box::new(move |image, tree| iso(image, &command, tree)),
        )
    };
    let (seed, drive) = ("cidata", "config-2");
    vec![
        isos(
            "cloud-localds",
            seed,
            "genisoimage -quiet -volid cidata -joliet -rock",
        ),
        isos(
            "Proxmox, NoCloud",
            seed,
            "genisoimage -quiet -iso-level 3 -R -V cidata",
        ),
        isos(
            "Proxmox, configdrive2",
            drive,
            "genisoimage -quiet -iso-level 3 -R -V config-2",
        ),
        isos(
            "Nova and Ironic",
            drive,
            "genisoimage -quiet -ldots -allow-lowercase -allow-multidot -l -J -r -V config-2",
        ),
        isos("Joliet alone", drive, "genisoimage -quiet -J -V config-2"),
        isos("neither, level 1", seed, "genisoimage -quiet -V CIDATA"),
        isos(
            "neither, level 3",
            drive,
            "genisoimage -quiet -iso-level 3 -V CONFIG-2",
        ),
        isos(
            "xorriso",
            drive,
            "xorriso -as mkisofs -quiet -V config-2 -J -r",
        ),
        isos(
            "xorriso, neither",
            seed,
            "xorriso -as mkisofs -quiet -V CIDATA --norock",
        ),
    ]
}

fn fat_makers() -> Vec<Maker> {
    let fats = |name, label, kib, arguments: &'static [&'static str]| -> Maker {
        (
            name,
            label,
            Box::new(move |image, tree| fat(image, kib, arguments, tree)),
        )
    };
    let (seed, drive) = ("cidata", "config-2");
    let mut makers = vec![
        fats(
            "cloud-localds --filesystem vfat",
            seed,
            366,
            &["-n", "CIDATA"],
        ),
        fats(
            "Nova, config_drive_format=vfat",
            drive,
            64 << 10,
            &["-n", "config-2"],
        ),
        fats(
            "a config drive with a label in capitals",
            drive,
            1440,
            &["-n", "CONFIG-2"],
        ),
        fats(
            "FAT16",
            drive,
            20 << 10,
            &["-F", "16", "-s", "2", "-n", "CONFIG-2"],
        ),
        fats(
            "FAT with sectors of 2048 bytes",
            seed,
            4096,
            &["-S", "2048", "-n", "CIDATA"],
        ),
    ];
    makers.extend(unusual_fat_makers());
    makers
}

/// Returns functions that make FAT file systems and then change the boot sector.
fn unusual_fat_makers() -> [Maker; 3] {
    let seed = "cidata";
    [
        (
            "FAT32 with few clusters",
            seed,
            // mkfs.vfat can make FAT32 on small disks, but mcopy cannot write to small FAT32 disks,
            // so the test reduces the size in the boot sector afterwards.
            Box::new(|image, tree| {
                fat(
                    image,
                    64 << 10,
                    &["-F", "32", "-s", "1", "-n", "CIDATA"],
                    tree,
                )?;
                boot_sector(image, |sector| {
                    sector[32..36].copy_from_slice(&8192u32.to_le_bytes());
                })
            }),
        ),
        (
            "FAT with both sector counts",
            seed,
            Box::new(|image, tree| {
                fat(image, 1440, &["-n", "CIDATA"], tree)?;
                boot_sector(image, |sector| {
                    sector[32..36].copy_from_slice(&2880u32.to_le_bytes());
                })
            }),
        ),
        (
            "FAT32 with a version, and FSInfo outside of the reserved sectors",
            seed,
            Box::new(|image, tree| {
                fat(image, 64 << 10, &["-F", "32", "-n", "CIDATA"], tree)?;
                boot_sector(image, |sector| {
                    sector[42] = 1;
                    sector[48..50].copy_from_slice(&40u16.to_le_bytes());
                })
            }),
        ),
    ]
}

/// Writes the image to the disk, and returns the output of a dry run of firstboot.
fn output_with_disk(host: &Host, disk: &Disk, image: &Path) -> Result<String> {
    let mut bytes = fs::read(image)?;
    let size = usize::try_from(fs::metadata(disk.image())?.len())?;
    ensure!(
        bytes.len() <= size,
        "the image is too large: {} bytes",
        bytes.len()
    );
    bytes.resize(size, 0);
    fs::write(disk.device(), bytes)?;
    let ran = host.run(&["firstboot", "run", "--dry-run"])?;
    Ok(ran.stdout + &ran.stderr)
}

fn tools() -> Result<()> {
    let ours = provisioned()?;
    let disk = Disk::new(64 << 20)?;
    let mut host = ours.machine("etcd-1")?;
    ours.install(&mut host)?;
    host.nspawn_argument(format!("--bind={}", disk.device().display()));
    host.boot()?;
    host.wait_for(
        "journalctl -u firstboot | grep -q 'no node document for this machine'",
        Duration::from_secs(30),
    )?;
    host.check(&["systemctl", "stop", "firstboot"])?;

    let folder = tempfile::tempdir()?;
    let (seed, drive) = (folder.path().join("seed"), folder.path().join("drive"));
    let node = ours.out().join("nodes/etcd-1");
    fs::create_dir_all(&seed)?;
    fs::create_dir_all(drive.join("openstack/latest"))?;
    for file in ["user-data", "meta-data"] {
        fs::copy(node.join(file), seed.join(file))?;
    }
    fs::copy(
        node.join("user-data"),
        drive.join("openstack/latest/user_data"),
    )?;
    fs::write(
        drive.join("openstack/latest/meta_data.json"),
        r#"{"uuid": "u-1", "hostname": "etcd-1"}"#,
    )?;
    fs::create_dir_all(drive.join("openstack/content"))?;
    fs::write(
        drive.join("openstack/content/0000"),
        "a file from another source",
    )?;
    for (name, label, make) in makers() {
        let image = folder.path().join("image");
        let _ = fs::remove_file(&image);
        make(&image, if label == "cidata" { &seed } else { &drive })
            .with_context(|| format!("cannot make {name}"))?;
        let said = output_with_disk(&host, &disk, &image).context(name)?;
        ensure!(
            said.contains("etcd-1 of cluster demo at 10.101.15.101"),
            "{name}:\n{said}"
        );
    }

    // A config drive without user data is not an error. firstboot reports the drive's instance, and
    // looks for the document elsewhere.
    fs::remove_file(drive.join("openstack/latest/user_data"))?;
    let image = folder.path().join("image");
    iso(
        &image,
        &["genisoimage", "-quiet", "-J", "-r", "-V", "config-2"],
        &drive,
    )?;
    let said = output_with_disk(&host, &disk, &image)?;
    ensure!(said.contains("of instance u-1 has no user data"), "{said}");
    Ok(())
}
