//! The machines of a cluster whose nodes request their reinstallation.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::cluster::{Provisioning, boot_all, etcdctl, status, wait_healthy};
use tests::etcd;
use tests::host::{Host, OffReason};
use tests::installer::Installer;
use tests::node_disk::NodeDisk;
use tests::repack;

use crate::bed::{SERVER, START_TIMEOUT, by_card, expect, installs, recipe_with, script_of};
use crate::installation::{kickstart, words_of};

pub(super) const JOURNAL: &str = "/var/lib/firstboot/journal";
pub(super) const TURN: &str = "get --print-value-only /etcd-image/update/turn";
/// The operator's command on a node. The command runs in a unit of its own, because the operator's
/// session ends when the node reboots.
pub(super) const REINSTALL: &str =
    "systemd-run --quiet --unit=reinstall firstboot update --reinstall --deadline 900";

/// Writes a recipe with these lines in `[install]`. The nodes look for releases on the builder's
/// server.
pub(super) fn recipe(install: &str) -> Result<PathBuf> {
    let path = recipe_with(by_card)?;
    let text = fs::read_to_string(&path)?.replace("[install]\n", &format!("[install]\n{install}"));
    let update = format!("[update]\nfrom = \"http://{SERVER}/\"\nsoak-seconds = 10\n");
    fs::write(&path, format!("{text}\n{update}"))?;
    Ok(path)
}

/// A cluster whose machines have real volumes for etcd.
pub(super) struct Machines {
    pub(super) hosts: Vec<Host>,
    disks: Vec<NodeDisk>,
    pub(super) ours: Provisioning,
}

impl Machines {
    pub(super) fn new() -> Result<Self> {
        etcd::release(etcd::DEMO)?;
        let ours = Provisioning::new()?;
        ours.build(&recipe("data = \"keep\"\n")?)?;
        Self::boot(ours, Provisioning::node)
    }

    /// Boots machines that `make` has installed, and waits until they are healthy.
    pub(super) fn boot(
        ours: Provisioning,
        make: impl Fn(&Provisioning, &str) -> Result<Host>,
    ) -> Result<Self> {
        let (mut hosts, mut disks) = (Vec::new(), Vec::new());
        for name in ["etcd-1", "etcd-2", "etcd-3"] {
            let (mut host, disk) = (make(&ours, name)?, NodeDisk::new()?);
            disk.attach(&host)?;
            host.nspawn_argument(disk.argument());
            hosts.push(host);
            disks.push(disk);
        }
        boot_all(&mut hosts)?;
        for host in &hosts {
            wait_healthy(host, 3, START_TIMEOUT)?;
        }
        Ok(Self { hosts, disks, ours })
    }

    /// Returns the node that has restarted, if there is one. The other two nodes must be healthy.
    pub(super) fn restarted(&mut self) -> Result<Option<usize>> {
        for at in 0..self.hosts.len() {
            if self.hosts[at].is_on()? {
                continue;
            }
            let off = self.hosts[at].wait_off(Duration::from_secs(1))?;
            ensure!(
                off == OffReason::Rebooted,
                "{}: {off:?}",
                self.hosts[at].name()
            );
            for other in (0..self.hosts.len()).filter(|other| *other != at) {
                self.sees_turn(other, at)?;
            }
            return Ok(Some(at));
        }
        Ok(None)
    }

    /// Checks that a node and one other member are healthy, and that the node shows which node has
    /// the turn.
    fn sees_turn(&self, at: usize, holder: usize) -> Result<()> {
        let (host, holder) = (&self.hosts[at], self.hosts[holder].name());
        let healthy = status(host)?.iter().filter(|member| member.healthy).count();
        ensure!(healthy == 2, "{healthy} members are healthy");
        let said = host.run(&["firstboot", "status"])?.stdout;
        ensure!(
            said.contains(&format!("{holder} has held the turn, for image ")),
            "{} does not show the turn of {holder}:\n{said}",
            host.name()
        );
        Ok(())
    }

    /// Boots a machine from the network, as its firmware does. Returns whether the machine was
    /// installed.
    pub(super) fn boot_from_network(&mut self, at: usize) -> Result<bool> {
        let (host, disk) = (&mut self.hosts[at], &self.disks[at]);
        let sent = script(host)?;
        if installs(&sent) {
            disk.copy_root(host)?;
            host.wipe()?;
            let words = words_of(&sent);
            Installer::new(&kickstart(host, &words)?, &host.root())
                .cmdline(&words)
                .namespace(&host.link().namespace)
                .hardware(disk.hardware())
                .run()?
                .installed()?;
            // The new root file system does not contain the test's own unit yet.
            disk.attach(host)?;
            ensure!(
                !installs(&script(host)?),
                "{} is installed again",
                host.name()
            );
        }
        host.boot()?;
        Ok(installs(&sent))
    }

    pub(super) fn members(&self) -> Result<String> {
        etcdctl(&self.hosts[0], "member list")
    }
}

pub(super) fn script(host: &Host) -> Result<String> {
    expect(
        &host.link().namespace,
        &script_of(host.link()),
        200,
        "#!ipxe\n",
    )
}

pub(super) fn read_all(hosts: &[Host], path: &str) -> Result<Vec<String>> {
    hosts.iter().map(|host| host.read(path)).collect()
}

/// Waits until a node has restarted.
pub(super) fn wait_restarted(bed: &mut Machines) -> Result<usize> {
    let end = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(at) = bed.restarted()? {
            return Ok(at);
        }
        if Instant::now() >= end {
            let mut said = String::new();
            for host in &bed.hosts {
                said += &host
                    .sh("journalctl -u reinstall -u firstboot-update")?
                    .stdout;
            }
            anyhow::bail!("no node restarts:\n{said}");
        }
        sleep(Duration::from_millis(100));
    }
}

/// Checks that a node has the new image and is the same member.
pub(super) fn is_reinstalled(ours: &Provisioning, host: &Host, journal: &str) -> Result<()> {
    let image = repack::read(&ours.out())?.overlay.sha256.to_string();
    let installed = host.read("/etc/firstboot/installed")?;
    ensure!(installed.trim() == image, "{installed} is not {image}");
    let now = host.read(JOURNAL)?;
    let added = now
        .strip_prefix(journal)
        .context("the journal was replaced")?;
    ensure!(
        !added.contains("\"add") && !added.contains("\"life\""),
        "the node joined again:\n{added}"
    );
    let order = host.path("/var/lib/firstboot/update/state.json");
    ensure!(!order.exists(), "an order is unfinished");
    host.check(&["firstboot", "image"]).map(drop)
}
