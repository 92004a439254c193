//! Measures the effect of the mount options of the CentOS 7 guide (docs/guide.md) on a write-ahead
//! log in an XFS file system on this machine. As in etcd, an fdatasync follows each record.
//!
//! etcd preallocates its log in files of 64 MB and overwrites them. The benchmark also measures
//! writes to a growing file, for which allocsize is intended, and the disk space that small open
//! files occupy.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::disk::Disk;
use crate::{process, run};

const OPTIONS: [&str; 2] = ["noatime", "noatime,allocsize=64m"];
const RECORD: usize = 2048;
/// The size of the segments of etcd's write-ahead log (server/storage/wal, SegmentSizeBytes).
const SEGMENT: i64 = 64_000_000;
const RECORDS: usize = 300;
/// The number of small files that grow. The files are written in small pieces and remain open, like
/// the log files of a node.
const FILES: usize = 20;
const SMALL: usize = 100 << 10;

/// Measures the variants alternately, so that any other load on the machine affects all of them
/// equally, and returns the table.
pub fn run(runs: usize) -> Result<String> {
    let mut rows: Vec<(String, Vec<Duration>)> = Vec::new();
    let mut held = Vec::new();
    let volumes = OPTIONS
        .iter()
        .map(|options| Volume::new(options))
        .collect::<Result<Vec<_>>>()?;
    for turn in 0..runs {
        let mut number = 0;
        for (volume, options) in volumes.iter().zip(OPTIONS) {
            for preallocated in [true, false] {
                let times = log(&volume.folder, preallocated)?;
                if turn == 0 {
                    let kind = if preallocated {
                        "preallocated"
                    } else {
                        "growing"
                    };
                    rows.push((format!("{kind}, {options}"), Vec::new()));
                }
                rows[number].1.extend(times);
                number += 1;
            }
            if turn == 0 {
                held.push((options, space(&volume.folder)?));
            }
        }
    }
    let kernel = process::check("uname", &["-r"])?;
    let mut out = format!(
        "kernel {}, XFS on a loop device; {RECORD}-byte records with fdatasync, {} of each kind\n{:44} {:>9} {:>9}\n",
        kernel.trim(),
        RECORDS * runs,
        "log",
        "p50 ms",
        "p99 ms"
    );
    for (name, mut times) in rows {
        times.sort();
        let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1000.0;
        writeln!(out, "{name:44} {:>9.3} {:>9.3}", at(50), at(99))?;
    }
    for (options, bytes) in held {
        let written = (FILES * SMALL) >> 10;
        writeln!(
            out,
            "{FILES} growing files, {written} KiB written, {options}: {} KiB occupied",
            bytes >> 10
        )?;
    }
    Ok(out)
}

/// A new XFS file system, mounted with these options.
struct Volume {
    folder: std::path::PathBuf,
    _disk: Disk,
}

impl Volume {
    fn new(options: &str) -> Result<Self> {
        let disk = Disk::xfs(4 << 30, "bench")?;
        let folder = run::current()?.folder("volume")?;
        let (flags, data) = match options.strip_prefix("noatime,") {
            Some(data) => (MsFlags::MS_NOATIME, Some(data)),
            None => (MsFlags::MS_NOATIME, None),
        };
        mount(Some(disk.device()), &folder, Some("xfs"), flags, data)
            .with_context(|| format!("cannot mount {} with {options}", disk.device().display()))?;
        Ok(Self {
            folder,
            _disk: disk,
        })
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.folder, MntFlags::MNT_DETACH) {
            eprintln!("bench: cannot unmount {}: {error}", self.folder.display());
        }
    }
}

/// Writes a log, and returns the time that each record takes, including the fdatasync.
fn log(folder: &Path, preallocated: bool) -> Result<Vec<Duration>> {
    let path = folder.join("wal");
    let file = File::create(&path)?;
    if preallocated {
        fallocate(&file, FallocateFlags::empty(), 0, SEGMENT).context("fallocate")?;
        file.sync_all()?;
    }
    let record = [0x5a_u8; RECORD];
    let mut times = Vec::with_capacity(RECORDS);
    for number in 0..RECORDS {
        let begun = Instant::now();
        file.write_all_at(&record, (number * RECORD) as u64)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(times)
}

/// Returns the disk space that small growing files occupy while they are open.
fn space(folder: &Path) -> Result<u64> {
    let mut files = Vec::new();
    for number in 0..FILES {
        let file = File::create(folder.join(format!("small-{number}")))?;
        for at in (0..SMALL).step_by(4096) {
            file.write_all_at(&[1; 4096], at as u64)?;
        }
        files.push(file);
    }
    let blocks = files
        .iter()
        .map(|file| file.metadata().map(|data| data.blocks()))
        .sum::<std::io::Result<u64>>()?;
    Ok(blocks * 512)
}
