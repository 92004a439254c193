//! Measures how long an fsync of a write-ahead log takes while another program writes. Compares the
//! dirty ratios of the CentOS 7 guide (docs/guide.md) with those of the profile `etcd`. This
//! benchmark also measures how much is written to the disk when files are read, with the mount
//! options relatime and noatime. The benchmark runs in a virtual machine, because the ratios apply
//! to the whole kernel.
//!
//! The machine's disk is throttled to the speed of an ordinary disk, because the ratios make no
//! difference on a disk that absorbs every write immediately.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::fcntl::{FallocateFlags, fallocate};

use crate::vm::{self, Vm};
use crate::{base, process};

/// The dirty ratio, the background ratio, and the name of their configuration.
const RATIOS: [(&str, &str, &str); 2] = [
    ("60", "5", "the guide's 60 and 5"),
    ("10", "3", "this image's 10 and 3"),
];
/// The behaviour of the other program: its name, how much it writes at a time, and how often.
const NEIGHBOURS: [(&str, u64, Duration); 2] = [
    (
        "writes 128 MiB every 8 s",
        128 << 20,
        Duration::from_secs(8),
    ),
    ("never stops writing", 1 << 20, Duration::ZERO),
];
const RECORD: usize = 2048;
/// The interval at which records are due, even if the previous record is not on the disk yet.
const PACE: Duration = Duration::from_millis(20);
/// The size of the segments of etcd's write-ahead log (server/storage/wal, SegmentSizeBytes).
const SEGMENT: i64 = 64_000_000;
/// The time for which one run writes the log.
const LAP: Duration = Duration::from_secs(24);
/// The time for which the other program writes before the log starts.
const LEAD: Duration = Duration::from_secs(8);
/// The disk's speed, in bytes per second.
const DISK: u64 = 40 << 20;
/// The number of files to read, each with an access time older than its last change.
const FILES: usize = 2000;

/// The init script of the machine.
const INIT: &str = "#!/bin/bash\nmount -t proc proc /proc; mount -t sysfs sysfs /sys\nexport PATH=/usr/bin:/usr/sbin\n\
                    /root/bench dirty-inside RUNS > /root/result 2>&1\nsync\n/root/busybox poweroff -f\n";

/// Starts the machine, runs the measurement in it, and returns the resulting table.
pub fn run(runs: usize) -> Result<String> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let vm = Vm::new(&base::base()?, 8 << 30, |root| {
        fs::copy(&own, root.join("root/bench"))?;
        fs::copy(vm::busybox()?, root.join("root/busybox"))?;
        fs::write(
            root.join("root/init"),
            INIT.replace("RUNS", &runs.to_string()),
        )?;
        process::check(
            "chmod",
            &["0755", &root.join("root/init").to_string_lossy()],
        )
        .map(drop)
    })?;
    let vm = vm.with_slow_disk(DISK);
    let lap = LAP + LEAD + Duration::from_secs(60);
    let timeout =
        Duration::from_secs(300) + lap * u32::try_from(RATIOS.len() * NEIGHBOURS.len() * runs)?;
    vm.run(
        "init=/root/init quiet",
        ([10, 101, 15, 101].into(), "52:54:00:00:00:01"),
        timeout,
    )?;
    vm.mounted(|root| {
        fs::read_to_string(root.join("root/result")).context("the machine printed nothing")
    })
}

/// The part of the benchmark that runs inside the machine.
pub fn inside(runs: usize) -> Result<String> {
    let mut times = NEIGHBOURS.map(|_| RATIOS.map(|_| Vec::new()));
    for _ in 0..runs {
        for (times, (_, piece, every)) in times.iter_mut().zip(NEIGHBOURS) {
            for (times, (ratio, background, _)) in times.iter_mut().zip(RATIOS) {
                fs::write("/proc/sys/vm/dirty_ratio", ratio)?;
                fs::write("/proc/sys/vm/dirty_background_ratio", background)?;
                times.extend(beside_a_writer(piece, every)?);
            }
        }
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let mut out = format!(
        "a VM without KVM, kernel {}, {}; XFS on a disk of {} MiB/s; a {RECORD}-byte record with fdatasync every {PACE:?}\n\
         {:50} {:>8} {:>9} {:>9} {:>9}\n",
        kernel.trim(),
        memory.lines().next().unwrap_or_default().replace("  ", ""),
        DISK >> 20,
        "beside a program that",
        "records",
        "p50 ms",
        "p99 ms",
        "max ms"
    );
    for (times, (neighbour, ..)) in times.into_iter().zip(NEIGHBOURS) {
        for (mut times, (_, _, name)) in times.into_iter().zip(RATIOS) {
            times.sort();
            let at =
                |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
            let row = format!("{neighbour}, {name}");
            writeln!(
                out,
                "{row:50} {:>8} {:>9.1} {:>9.1} {:>9.1}",
                times.len(),
                at(50),
                at(99),
                at(100)
            )?;
        }
    }
    for option in ["relatime", "noatime"] {
        let sectors = reading(option)?;
        writeln!(
            out,
            "{FILES} files read once, {option}: {} KiB written to the disk",
            sectors / 2
        )?;
    }
    Ok(out)
}

/// Measures the time from the due time of each log record until the record is on the disk, while
/// another thread fills the page cache.
fn beside_a_writer(piece: u64, every: Duration) -> Result<Vec<Duration>> {
    let (log, noise) = (Path::new("/var/tmp/wal"), Path::new("/var/tmp/noise"));
    let file = File::create(log)?;
    fallocate(&file, FallocateFlags::empty(), 0, SEGMENT).context("fallocate")?;
    file.sync_all()?;
    let over = AtomicBool::new(false);
    let times = std::thread::scope(|scope| {
        let writer = scope.spawn(|| fill(noise, piece, every, &over));
        std::thread::sleep(LEAD);
        let measured = records(&file);
        over.store(true, Ordering::Relaxed);
        let filled = writer.join().unwrap_or_else(|_| Ok(()));
        filled.and(measured)
    })?;
    fs::remove_file(log)?;
    fs::remove_file(noise)?;
    process::check("sync", &[])?;
    Ok(times)
}

/// Writes one file that only grows. If a program truncates or overwrites data before the flush,
/// this data never reaches the disk, and costs nothing.
fn fill(path: &Path, piece: u64, every: Duration, over: &AtomicBool) -> Result<()> {
    let mut file = File::create(path)?;
    let megabyte = vec![0xa5_u8; 1 << 20];
    let begun = Instant::now();
    for number in 0.. {
        while begun.elapsed() < every * number {
            std::thread::sleep(Duration::from_millis(10));
            if over.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        for _ in 0..piece >> 20 {
            if over.load(Ordering::Relaxed) {
                return Ok(());
            }
            file.write_all(&megabyte)?;
        }
    }
    Ok(())
}

/// Returns the time from each record's due time until the record is on the disk. As in etcd, one
/// write flushes all records that become due while the disk is busy.
///
/// Each record has a due time. If each record followed the previous record immediately, a fast disk
/// would write more records in one second than a stalled disk in ten, and the median would hide the
/// stalls.
fn records(file: &File) -> Result<Vec<Duration>> {
    let (begun, record) = (Instant::now(), [0x5a_u8; RECORD]);
    let mut times = Vec::new();
    let (mut due, mut number) = (Duration::ZERO, 0);
    while due < LAP {
        if let Some(early) = due.checked_sub(begun.elapsed()) {
            std::thread::sleep(early);
        }
        let first = due;
        while due <= begun.elapsed() && due < LAP {
            file.write_all_at(&record, number * RECORD as u64)?;
            number += 1;
            due += PACE;
        }
        file.sync_data()?;
        let done = begun.elapsed();
        let mut each = first;
        while each < due {
            times.push(done.saturating_sub(each));
            each += PACE;
        }
    }
    Ok(times)
}

/// Returns the number of sectors that are written to the disk because a program reads files.
fn reading(option: &str) -> Result<u64> {
    process::check("mount", &["-o", &format!("remount,{option}"), "/"])?;
    let folder = Path::new("/var/tmp/read");
    fs::create_dir_all(folder)?;
    let path = |number: usize| folder.join(number.to_string());
    for number in 0..FILES {
        fs::write(path(number), b"text")?;
    }
    process::run(Command::new("sh").args([
        "-c",
        "find /var/tmp/read -type f -exec touch -a -d '2 days ago' {} +; sync",
    ]))?
    .ok()?;
    let before = sectors()?;
    for number in 0..FILES {
        fs::read(path(number))?;
    }
    process::check("sync", &[])?;
    let after = sectors()?;
    fs::remove_dir_all(folder)?;
    Ok(after - before)
}

/// Returns the number of sectors of 512 bytes written to the machine's disk so far (kernel,
/// Documentation/iostats).
fn sectors() -> Result<u64> {
    let stats = fs::read_to_string("/proc/diskstats")?;
    let line = stats
        .lines()
        .find(|line| line.split_whitespace().nth(2) == Some("vda"))
        .context("there is no disk vda")?;
    line.split_whitespace()
        .nth(9)
        .and_then(|word| word.parse().ok())
        .context("the kernel reports no sector count")
}
