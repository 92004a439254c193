//! Tests full disks: a small file system holds the output, the cache or the PKI folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tests::harness::trial;
use tests::process::Output;
use tests::requirement::Requirement;

use crate::fixtures::{Fixture, builder, check_output, names, snapshot};

const REQUIREMENTS: &[Requirement] = &[Requirement::Root];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_full_disk_under_the_output_leaves_the_old_output",
            REQUIREMENTS,
            under_out,
        ),
        trial(
            "a_full_disk_under_the_cache_leaves_no_partial_file",
            REQUIREMENTS,
            under_cache,
        ),
        trial(
            "a_full_disk_under_the_pki_folder_leaves_the_folder_usable",
            REQUIREMENTS,
            under_pki,
        ),
    ]
}

/// A small file system that is unmounted on drop.
struct Small(PathBuf);

impl Small {
    fn new(folder: &Path, options: &str) -> Result<Self> {
        mount(
            Some("tmpfs"),
            folder,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options),
        )
        .with_context(|| format!("cannot mount a tmpfs ({options}) on {}", folder.display()))?;
        Ok(Self(folder.to_path_buf()))
    }

    fn resize(&self, options: &str) -> Result<()> {
        mount(
            Some("tmpfs"),
            &self.0,
            Some("tmpfs"),
            MsFlags::MS_REMOUNT,
            Some(options),
        )
        .with_context(|| format!("cannot resize the tmpfs on {}", self.0.display()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Checks that the failure message names a path below the folder, and the cause.
fn names_the_place(ran: &Output, folder: &Path) -> Result<()> {
    check_output(
        ran,
        1,
        &["No space left on device", &folder.to_string_lossy()],
    )
}

/// Builds on a file system with space for one output and a part of a second output. The part grows
/// in steps from nothing to almost the whole output.
fn under_out() -> Result<()> {
    let workshop = Fixture::warm()?;
    let folder = workshop.path("out");
    let small = Small::new(&folder, "size=64m,nr_inodes=1000")?;
    workshop.built()?;
    let before = snapshot(&folder)?;
    let inodes = before.len() + 2;
    let blocks = used_kib(&folder)?;
    let mut failed = 0;
    let sizes = (0..8).map(|step| format!("size={}k,nr_inodes=1000", blocks + blocks * step / 8));
    let counts = (0..inodes)
        .step_by(3)
        .map(|more| format!("size=64m,nr_inodes={}", inodes + more));
    for options in sizes.chain(counts) {
        small.resize(&options)?;
        let ran = workshop.build(&[])?;
        if !ran.success() {
            failed += 1;
            names_the_place(&ran, &folder).context(options.clone())?;
        }
        // Whether the build succeeds or fails, the output stays complete and unchanged, and no
        // other file remains.
        ensure!(
            snapshot(&folder)? == before,
            "{options}: the output changed, or files are left next to the output"
        );
    }
    ensure!(
        failed >= 12,
        "only {failed} of the builds found their disk full"
    );
    small.resize("size=64m,nr_inodes=1000")?;
    workshop.built()
}

fn used_kib(folder: &Path) -> Result<u64> {
    let about = nix::sys::statvfs::statvfs(folder)?;
    Ok((about.blocks() - about.blocks_free()) * about.fragment_size() / 1024)
}

fn under_cache() -> Result<()> {
    let workshop = Fixture::new()?;
    let folder = workshop.path("cache");
    let small = Small::new(&folder, "size=64m")?;
    workshop.built()?;
    let blocks = used_kib(&folder)?;
    let mut failed = Vec::new();
    for step in 0..12 {
        for name in ["cache/cache", "out/out"] {
            if workshop.path(name).exists() {
                fs::remove_dir_all(workshop.path(name))?;
            }
        }
        small.resize(&format!("size={}k", 64 + blocks * step / 12))?;
        let ran = workshop.build(&[])?;
        if ran.success() {
            continue;
        }
        names_the_place(&ran, &folder)?;
        ensure!(
            ran.stderr.contains("free some space there"),
            "no remedy in\n{}",
            ran.stderr
        );
        ensure!(
            names(&workshop.path("out"))?.is_empty(),
            "{:?} is left",
            names(&workshop.path("out"))?
        );
        for name in snapshot(&folder).unwrap_or_default().into_keys() {
            let half = [".part", ".unpacking", ".tmp"]
                .iter()
                .find(|half| name.contains(*half));
            ensure!(
                half.is_none(),
                "{name} is left in a full cache:\n{}",
                ran.stderr
            );
        }
        failed.push(ran.stderr);
    }
    ensure!(
        failed.len() >= 8,
        "only {} of the builds found their disk full",
        failed.len()
    );
    // In some builds, the disk was full during the download, in others during the unpacking or
    // during the compression into the cache.
    for place in [".part", ".unpacking", "/gzip/"] {
        ensure!(
            failed.iter().any(|said| said.contains(place)),
            "no build found the disk full at {place}: {failed:#?}"
        );
    }
    small.resize("size=64m")?;
    workshop.built()
}

fn under_pki() -> Result<()> {
    let workshop = Fixture::warm()?;
    workshop.built()?;
    let files = snapshot(&workshop.path("pki"))?.len();
    fs::remove_dir_all(workshop.pki())?;
    let folder = workshop.path("pki");
    let mut failed = 0;
    // tmpfs also counts the inodes of its root folder and of a temporary file.
    for room in 1..files + 3 {
        let small = Small::new(&folder, &format!("size=4m,nr_inodes={room}"))?;
        // The builder would refuse to replace an output that was built with the previous PKI
        // folder.
        fs::remove_dir_all(workshop.out())?;
        let ran = workshop.build(&[])?;
        if !ran.success() {
            failed += 1;
            names_the_place(&ran, &folder).with_context(|| format!("with {room} inodes"))?;
        }
        let before = snapshot(&folder).unwrap_or_default();
        let half = before.keys().find(|name| name.contains(".unfinished"));
        ensure!(half.is_none(), "with {room} inodes: {half:?} is left");
        small.resize("size=4m,nr_inodes=1000")?;
        workshop
            .built()
            .with_context(|| format!("with 1000 inodes, after a build with {room} inodes"))?;
        let after = snapshot(&folder)?;
        // Existing files are kept: no key is generated a second time, and no key is archived.
        for (name, about) in &before {
            ensure!(
                after.get(name) == Some(about),
                "with {room} inodes: {name} was changed or removed"
            );
        }
        ensure!(
            after.len() == files,
            "with {room} inodes: {:?}",
            after.keys()
        );
        check_output(&builder(&["pki", "show"], &workshop.pki())?, 0, &[])?;
    }
    ensure!(
        failed >= files,
        "only {failed} of the builds found their disk full"
    );
    Ok(())
}
