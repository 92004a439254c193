//! Measures how long it takes to restore a member from a snapshot, from etcd's stop to the next
//! write. Compares firstboot with a script of the commands from step 4.2.2 of the CentOS 7 guide
//! (docs/guide.md).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use super::{Row, database, table, timed};
use crate::client::{Client, Writers};
use crate::cluster::{Provisioning, wait_healthy};
use crate::host::Host;
use crate::{etcd, programs};

const VERSION: &str = "3.5.1";
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(300);

/// The two commands that are measured.
const OURS: [&str; 3] = ["firstboot", "restore", "/snapshots/snapshot.db"];
const THEIRS: [&str; 3] = ["bash", "-c", SCRIPT];

/// The guide's commands. The guide copies the old data and then removes it. The script moves the
/// old data away instead, which is faster, so that the comparison does not favour firstboot.
const SCRIPT: &str = "set -e
systemctl stop etcd
mv /var/lib/etcd/data /var/lib/etcd/before
etcdutl snapshot restore /snapshots/snapshot.db --data-dir /var/lib/etcd/data --name etcd-1 \\
    --initial-cluster etcd-1=https://10.101.15.101:2380 --initial-cluster-token restored \\
    --initial-advertise-peer-urls https://10.101.15.101:2380
chown -R etcd:etcd /var/lib/etcd/data
systemctl start etcd";

/// Removes firstboot's guard from etcd's unit, because the guard does not let etcd start on data
/// that other programs have restored.
const WITHOUT_GUARD: &str = "mkdir -p /etc/systemd/system/etcd.service.d
printf '[Service]\\nExecStartPre=\\n' > /etc/systemd/system/etcd.service.d/guide.conf
systemctl daemon-reload";

/// Restores the initial state by removing the archived data.
const TIDY: &str = "rm -rf /var/lib/etcd/before; firstboot restore --prune 0; ! ls /var/lib/etcd/aside/* 2> /dev/null";

/// The results of all runs of one command.
#[derive(Debug, Default)]
struct Measurement {
    /// The longest time without an acknowledged write.
    gap: Vec<Duration>,
    whole: Vec<Duration>,
    /// The peak of the additional space that the command used on etcd's volume, in bytes.
    disk: u64,
}

impl Measurement {
    /// Measures a command this many times.
    fn of(host: &Host, client: &Client, command: &[&str], runs: usize) -> Result<Self> {
        let mut seen = Self::default();
        for _ in 0..runs {
            let (gap, whole, disk) = once(host, client, command)?;
            seen.gap.push(gap);
            seen.whole.push(whole);
            seen.disk = seen.disk.max(disk);
        }
        Ok(seen)
    }
}

/// Measures both commands, `runs` times each, and returns the table.
pub fn run(runs: usize) -> Result<String> {
    etcd::release(VERSION)?;
    let work = tempfile::tempdir().context("cannot make a temporary folder")?;
    let snapshot = work.path().join("snapshot.db");
    let running = database::make(VERSION, work.path(), database::mib())?;
    running.save(&snapshot)?;
    fs::remove_dir_all(running.stop()?)?;

    let provisioning = Provisioning::new()?;
    let recipe = programs::demo(1, "quota = \"8 GiB\"", "")?;
    provisioning.build(&recipe)?;
    let mut host = provisioning.node("etcd-1")?;
    host.bind(work.path(), "/snapshots");
    host.boot()?;
    wait_healthy(&host, 1, CONVERGENCE_TIMEOUT)?;
    let client = Client::new(&provisioning)?;

    // After this first restore, which is not measured, the member's data is as large as the
    // snapshot.
    once(&host, &client, &OURS)?;
    let ours = Measurement::of(&host, &client, &OURS, runs)?;
    host.check(&["bash", "-c", WITHOUT_GUARD])?;
    let theirs = Measurement::of(&host, &client, &THEIRS, runs)?;
    let compare = |what: &str, ours, theirs| {
        let row = |name: &str, times| Row {
            name: name.to_owned(),
            times,
            bytes: None,
        };
        format!(
            "{what}\n{}",
            table(&[
                row("firstboot restore", ours),
                row("the guide's commands", theirs)
            ])
        )
    };
    Ok(format!(
        "{}\n{}\npeak of the additional disk space: {} MiB against {} MiB\n{runs} runs of each; the snapshot size is {} MiB\n",
        compare(
            "from stop to serving: the longest time without a write",
            ours.gap,
            theirs.gap
        ),
        compare(
            "the whole command; firstboot checks every page and makes the new data while etcd still runs",
            ours.whole,
            theirs.whole
        ),
        ours.disk >> 20,
        theirs.disk >> 20,
        fs::metadata(&snapshot)?.len() >> 20,
    ))
}

/// Runs the command once while a client writes continuously. Returns the longest time without a
/// write, the duration of the command and the additional disk space.
fn once(host: &Host, client: &Client, command: &[&str]) -> Result<(Duration, Duration, u64)> {
    host.wait_for(TIDY, CONVERGENCE_TIMEOUT)?;
    nix::unistd::sync();
    let disk = Disk::watch(host.path("/var/lib/etcd"));
    let writers = Writers::start(client, &[host.address()], "meanwhile/");
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;
    let whole = timed(|| host.check(command).map(drop))?;
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;
    Ok((writers.stop()?.longest_gaps().1, whole, disk.stop()?))
}

/// Monitors the disk space that a folder uses.
struct Disk {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Disk {
    fn watch(folder: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = stop.clone();
        let thread = thread::spawn(move || {
            let before = taken(&folder);
            let mut most = before;
            while !done.load(Ordering::Relaxed) {
                most = most.max(taken(&folder));
                sleep(Duration::from_millis(20));
            }
            most - before
        });
        Self { stop, thread }
    }

    fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the thread that watched the disk panicked"))
    }
}

/// Returns the disk space that a folder's files use, in bytes. A file that is removed before its
/// size has been read counts as zero.
fn taken(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => taken(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
