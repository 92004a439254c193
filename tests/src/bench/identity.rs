//! Measures the time from the start of firstboot to the machine's identity, on a machine that has
//! never been set up and has its document on a NoCloud disk.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::spread;
use crate::cluster::Provisioning;
use crate::disk::Disk;
use crate::host::Host;
use crate::{etcd, programs};

const NODE: &str = "etcd-1";
/// The record of the digests and inode states of the image's files. The installation writes this
/// record near its end. Without this record, firstboot first reads all files of the image.
const RECORD: &str = "/var/lib/firstboot/verified.json";
const BOOTED: &str = "systemctl is-active --quiet multi-user.target";
/// udev creates this link on a real machine.
const LINK: &str = "mkdir -p /dev/disk/by-label && ln -s \"$1\" /dev/disk/by-label/cidata";
/// `run --dry-run` prints the identity only after it has also planned all changes, so the whole
/// command is measured.
const MEASURE: &str = "TIMEFORMAT='%R %U %S'; time firstboot run --dry-run";

/// Measures the whole command `firstboot run --dry-run`, which changes nothing.
pub fn run(runs: usize) -> Result<String> {
    etcd::release(etcd::DEMO)?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&programs::recipe("demo"))?;
    let disk = Disk::new(64 << 20)?;
    let seed = fs::read(provisioning.out().join("nodes").join(NODE).join("seed.img"))?;
    let mut host = provisioning.machine(NODE)?;
    provisioning.install(&mut host)?;
    for unit in ["firstboot", "etcd"] {
        let link = format!("/etc/systemd/system/multi-user.target.wants/{unit}.service");
        fs::remove_file(host.path(&link))?;
    }
    let device = disk.device().to_string_lossy();
    host.nspawn_argument(format!("--bind={device}"));
    host.boot()?;
    host.wait_for(BOOTED, Duration::from_secs(60))?;
    fs::write(disk.device(), seed)?;
    host.check(&["sh", "-c", LINK, "link", &device])?;

    let recorded = host.path(RECORD).exists();
    let (mut known, mut unknown) = (Measured::default(), Measured::default());
    for _ in 0..runs {
        let _ = fs::remove_file(host.path(RECORD));
        unknown.add(&host)?;
        known.add(&host)?;
    }
    let state = if recorded { "wrote" } else { "did not write" };
    Ok(format!(
        "firstboot run --dry-run on a new machine with a NoCloud disk, {runs} runs\n\
         with the installer's record of the image's files   {}\n\
         without this record, so that all files are read    {}\n\
         the installation {state} the record\n",
        known.text(),
        unknown.text(),
    ))
}

/// The elapsed times and the CPU times of the runs of one kind.
#[derive(Default)]
struct Measured {
    elapsed: Vec<Duration>,
    cpu: Vec<Duration>,
}

impl Measured {
    fn add(&mut self, host: &Host) -> Result<()> {
        let ran = host.run(&["bash", "-c", MEASURE])?;
        ensure!(
            ran.success() && ran.stdout.contains("etcd-1 of cluster demo"),
            "{}{}",
            ran.stdout,
            ran.stderr
        );
        let [elapsed, user, system] = seconds(&ran.stderr)?;
        self.elapsed.push(elapsed);
        self.cpu.push(user + system);
        Ok(())
    }

    fn text(&self) -> String {
        format!("{}; CPU {}", spread(&self.elapsed), spread(&self.cpu))
    }
}

/// Reads the last line that bash's `time` has printed: the elapsed time, and the CPU time in user
/// mode and in the kernel.
pub(super) fn seconds(text: &str) -> Result<[Duration; 3]> {
    let line = text.lines().last().unwrap_or_default();
    let mut found = Vec::new();
    for word in line.split_whitespace().rev().take(3) {
        let seconds: f64 = word.parse().with_context(|| format!("no time: {text}"))?;
        found.push(Duration::try_from_secs_f64(seconds)?);
    }
    found.reverse();
    let found = <[Duration; 3]>::try_from(found);
    found.ok().with_context(|| format!("no time: {text}"))
}
