//! Tests a reinstallation that keeps etcd's volume, with real file systems.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Writers};
use tests::cluster::{boot_all, wait_healthy};
use tests::harness::long;
use tests::host::Host;
use tests::installer::Outcome;
use tests::node_disk::NodeDisk;
use tests::process;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, listed};
use crate::update::build_from;

const JOURNAL: &str = "/var/lib/firstboot/journal";
/// Lists everything on a volume, with owners and inodes.
const LIST: &str = "find . -printf '%p %i %m %U:%G %s\\n' | sort";

pub(crate) fn trials() -> Vec<Trial> {
    vec![long(
        "a_reinstalled_node_keeps_its_data_and_its_member",
        REQUIREMENTS,
        reinstalled,
    )]
}

fn reinstalled() -> Result<()> {
    let mut bed = Bed::unbuilt()?;
    let recipe = fs::read_to_string(tests::programs::recipe("demo"))?;
    let recipe = recipe.replace("[install]\n", "[install]\ndata = \"keep\"\n");
    build_from(&bed, &recipe, "", &[])?;
    bed.install_up_to(3)?;
    let disk = NodeDisk::new()?;
    disk.attach(&bed.hosts[0])?;
    bed.hosts[0].nspawn_argument(disk.argument());
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

    // An installation that ends before it formats the root file system leaves this folder behind.
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

/// Checks that the node did not join again, that etcd received no snapshot, and that the volume
/// still contains the archived data but no outdated copy of the journal.
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

/// Checks that the installation stops and changes nothing if the volume has another disk id.
fn refused(bed: &Bed, disk: &NodeDisk) -> Result<()> {
    disk.volume.sh(
        "cp -p firstboot-life /tmp/life.$$; cat /tmp/life.$$ > firstboot-life.was; rm /tmp/life.$$
         echo 0123456789abcdef0123456789abcdef > firstboot-life",
    )?;
    let before = disk.volume.sh(LIST)?;
    let host = &bed.hosts[0];
    let marker = host.read("/etc/firstboot/installed")?;
    let installation = bed.provisioning.try_install_on(host, disk.hardware())?;
    let log = installation.log();
    ensure!(
        matches!(installation.outcome, Outcome::PoweredOff(_))
            && log.contains("INSTALLATION FAILED. %pre failed: the journal belongs to the volume")
            && log.contains("[keep-other-volume]"),
        "{log}"
    );
    ensure!(
        installation.plan.partitions.is_empty(),
        "{:?}",
        installation.plan
    );
    ensure!(host.read("/etc/firstboot/installed")? == marker);
    let after = disk.volume.sh(LIST)?;
    ensure!(after == before, "the volume was changed:\n{after}");
    disk.volume
        .sh("cat firstboot-life.was > firstboot-life; rm firstboot-life.was")
        .map(drop)
}

/// Installs the node again, on an empty root file system.
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
    // The new root file system does not contain the test's own unit yet.
    disk.attach(host)
}
