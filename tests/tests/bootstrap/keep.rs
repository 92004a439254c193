//! Tests a reinstallation that keeps etcd's volume, with real file systems.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Writers};
use tests::cluster::{boot_all, wait_healthy};
use tests::disk::Disk;
use tests::harness::long;
use tests::host::Host;
use tests::installer::{Disk as Described, DiskPartition, Hardware, Outcome};
use tests::process;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, listed};
use crate::update::build_from;

const JOURNAL: &str = "/var/lib/firstboot/journal";
const MIB: u64 = 1 << 20;

/// Mounts the volume at boot. systemd ignores devices of fstab in a container.
const MOUNT: &str = "[Unit]\nDefaultDependencies=no\nBefore=systemd-tmpfiles-setup.service local-fs.target\n\
                     [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/mount -t xfs DEVICE /var/lib/etcd\n";

/// Lists everything on a volume, with owners and inodes.
const LIST: &str = "find . -printf '%p %i %m %U:%G %s\\n' | sort";

pub(crate) fn trials() -> Vec<Trial> {
    vec![long(
        "a_reinstalled_node_keeps_its_data_and_its_member",
        REQUIREMENTS,
        reinstalled,
    )]
}

/// The disk of one machine. The volume is the file system on which etcd really runs. The old `/`
/// contains only the files that %pre reads, because the root of a host is not on a device.
struct NodeDisk {
    boot: Disk,
    root: Disk,
    volume: Disk,
}

impl NodeDisk {
    fn new() -> Result<Self> {
        Ok(Self {
            boot: Disk::xfs(320 * MIB, "boot")?,
            root: Disk::xfs(320 * MIB, "root")?,
            volume: Disk::xfs(1024 * MIB, "etcd")?,
        })
    }

    /// Lets the host mount the volume from its next boot on.
    fn attach(&self, host: &Host) -> Result<()> {
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

    /// Copies the files that %pre reads from a host's `/` to the disk.
    fn copy_root(&self, host: &Host) -> Result<()> {
        let root = host.root();
        let copy = format!(
            "cd {:?}; cp -a --parents etc/firstboot var/lib/firstboot \"$2\"",
            root.display().to_string()
        );
        self.root.sh(&copy).map(drop)
    }

    fn hardware(&self) -> Hardware {
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

fn reinstalled() -> Result<()> {
    let mut bed = Bed::unbuilt()?;
    let recipe = fs::read_to_string(tests::programs::recipe("demo"))?;
    let recipe = recipe.replace("[install]\n", "[install]\ndata = \"keep\"\n");
    build_from(&bed, &recipe, "", &[])?;
    bed.install_up_to(3)?;
    let disk = NodeDisk::new()?;
    disk.attach(&bed.hosts[0])?;
    let device = disk.volume.device().display().to_string();
    bed.hosts[0].nspawn_argument(format!("--bind={device}"));
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let before = listed(&bed.hosts[1], "etcd-1")?.context("etcd-1 is not listed")?;
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let writers = Writers::start(&client, &addresses, "keep/");
    writers.wait_for_more(50, CONVERGENCE_TIMEOUT)?;

    bed.hosts[0].shutdown()?;
    disk.copy_root(&bed.hosts[0])?;
    let journal = bed.hosts[0].read(JOURNAL)?;
    disk.volume
        .sh("mkdir -p aside/old; echo archived > aside/old/file")?;
    refused(&bed, &disk)?;
    installed(&mut bed, &disk, &journal)?;

    // An installation that ended before it formatted / leaves a copy.
    disk.volume.sh("mkdir firstboot-kept")?;
    writers.wait_for_more(20, CONVERGENCE_TIMEOUT)?;
    bed.hosts[0].boot()?;
    wait_healthy(&bed.hosts[0], 3, CONVERGENCE_TIMEOUT)?;
    writers.wait_for_more(20, CONVERGENCE_TIMEOUT)?;
    let written = writers.stop()?;
    for address in &addresses {
        written.kept_in(&client::insist(|| client.all(*address, "keep/"))?)?;
    }
    let after = listed(&bed.hosts[1], "etcd-1")?.context("etcd-1 is not listed")?;
    ensure!(after == before, "{before:?} became {after:?}");
    is_same_member(&bed.hosts[0], &journal)?;
    bed.hosts[0].shutdown()
}

/// Checks that the node did not join again, and that etcd received no snapshot.
fn is_same_member(host: &Host, journal: &str) -> Result<()> {
    let now = host.read(JOURNAL)?;
    let added = now
        .strip_prefix(journal)
        .context("the journal is not the earlier journal")?;
    ensure!(
        !added.contains("\"add") && !added.contains("\"life\""),
        "the node joined again:\n{added}"
    );
    let log = host.journal("etcd")?;
    ensure!(
        log.contains("restarting local member") && !log.contains("database snapshot"),
        "etcd did not continue with its data:\n{log}"
    );
    host.check(&["findmnt", "/var/lib/etcd"])?;
    let archived = host.check(&["cat", "/var/lib/etcd/aside/old/file"])?;
    ensure!(archived == "archived\n", "{archived}");
    let outdated = host.run(&["ls", "/var/lib/etcd/firstboot-kept"])?;
    ensure!(
        !outdated.success(),
        "firstboot kept an outdated copy of its journal"
    );
    Ok(())
}

/// Checks that a volume with another disk id stops the installation.
fn refused(bed: &Bed, disk: &NodeDisk) -> Result<()> {
    disk.volume.sh(
        "cp -p firstboot-life /tmp/life.$$; cat /tmp/life.$$ > firstboot-life.was; rm /tmp/life.$$
         echo 0123456789abcdef0123456789abcdef > firstboot-life",
    )?;
    let before = disk.volume.sh(LIST)?;
    let host = &bed.hosts[0];
    let stamp = host.read("/etc/firstboot/installed")?;
    let installation = bed.provisioning.try_install_on(host, disk.hardware())?;
    let log = installation.log();
    ensure!(
        matches!(installation.outcome, Outcome::PoweredOff(_))
            && log.contains("INSTALLATION FAILED. %pre failed: the journal is of the volume")
            && log.contains("[keep-other-volume]"),
        "{log}"
    );
    ensure!(
        installation.plan.partitions.is_empty(),
        "{:?}",
        installation.plan
    );
    ensure!(host.read("/etc/firstboot/installed")? == stamp);
    let after = disk.volume.sh(LIST)?;
    ensure!(after == before, "the volume was changed:\n{after}");
    disk.volume
        .sh("cat firstboot-life.was > firstboot-life; rm firstboot-life.was")
        .map(drop)
}

/// Installs the node again, on an empty root.
fn installed(bed: &mut Bed, disk: &NodeDisk, journal: &str) -> Result<()> {
    let before = disk.volume.sh(LIST)?;
    bed.hosts[0].wipe()?;
    let host = &bed.hosts[0];
    let installation = bed.provisioning.try_install_on(host, disk.hardware())?;
    installation.installed()?;
    let parts: Vec<_> = installation
        .plan
        .partitions
        .iter()
        .map(|part| (part.mount.as_str(), part.existing.clone()))
        .collect();
    let formatted = |name: &str| Some((name.to_owned(), true));
    ensure!(
        parts == [("/", formatted("sda2")), ("/boot", formatted("sda1"))],
        "{parts:?}"
    );
    ensure!(
        host.read(JOURNAL)? == journal,
        "the journal is not the earlier journal"
    );
    let modes = process::check(
        "find",
        &[
            &host.path("/var/lib/firstboot").to_string_lossy(),
            "-name",
            "*.json",
            "-o",
            "-name",
            "journal",
            "-printf",
            "%f %m %U:%G\\n",
        ],
    )?;
    ensure!(modes == "journal 600 0:0\n", "{modes}");
    let after = disk.volume.sh(LIST)?;
    ensure!(
        after == before,
        "the volume was changed:\n{before}\nnow:\n{after}"
    );
    // This root does not have the test's own unit yet.
    disk.attach(host)
}
