//! Tests nodes that are installed again one after the other at their own request, with etcd's data
//! kept (`firstboot update --reinstall`).

mod request;

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Writers};
use tests::cluster::{Provisioning, boot_all, etcdctl, status, wait_healthy};
use tests::etcd;
use tests::harness::{long, trial};
use tests::host::{Host, Off};
use tests::installer::Installer;
use tests::node_disk::NodeDisk;
use tests::repack;
use tests::requirement::Requirement;

use crate::bed::{
    SERVER, START_TIMEOUT, Server, by_card, expect, installs, recipe_with, script_of,
};
use crate::installation::{kickstart, words_of};

const REQUIREMENTS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Nspawn,
    Requirement::Debootstrap,
    Requirement::Network,
    Requirement::Pip,
    Requirement::Curl,
];
const NETWORK: &[Requirement] = &[
    Requirement::Root,
    Requirement::Network,
    Requirement::Pip,
    Requirement::Curl,
];
const JOURNAL: &str = "/var/lib/firstboot/journal";
const TURN: &str = "get --print-value-only /etcd-image/update/turn";
/// The command of the operator on a node. The session ends when the node reboots.
const REINSTALL: &str =
    "systemd-run --quiet --unit=reinstall firstboot update --reinstall --deadline 900";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_machine_is_installed_again_at_its_own_request_only",
            NETWORK,
            request::checked,
        ),
        long(
            "another_base_rolls_through_a_cluster_while_clients_write",
            REQUIREMENTS,
            rolls,
        ),
    ]
}

/// Writes a recipe with these lines in `[install]`. Its nodes look for releases at the builder.
fn recipe(install: &str) -> Result<PathBuf> {
    let path = recipe_with(by_card)?;
    let text = fs::read_to_string(&path)?.replace("[install]\n", &format!("[install]\n{install}"));
    let update = format!("[update]\nfrom = \"http://{SERVER}/\"\nsoak-seconds = 10\n");
    fs::write(&path, format!("{text}\n{update}"))?;
    Ok(path)
}

/// A cluster whose machines have real volumes of etcd.
struct Machines {
    hosts: Vec<Host>,
    disks: Vec<NodeDisk>,
    ours: Provisioning,
}

impl Machines {
    fn new() -> Result<Self> {
        etcd::release(etcd::DEMO)?;
        let ours = Provisioning::new()?;
        ours.build(&recipe("data = \"keep\"\n")?)?;
        let (mut hosts, mut disks) = (Vec::new(), Vec::new());
        for name in ["etcd-1", "etcd-2", "etcd-3"] {
            let (mut host, disk) = (ours.node(name)?, NodeDisk::new()?);
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

    /// Returns the node that has restarted, if there is one. The other two must be healthy.
    fn restarted(&mut self) -> Result<Option<usize>> {
        for at in 0..self.hosts.len() {
            if self.hosts[at].is_on()? {
                continue;
            }
            let off = self.hosts[at].wait_off(Duration::from_secs(1))?;
            ensure!(off == Off::Rebooted, "{}: {off:?}", self.hosts[at].name());
            for other in (0..self.hosts.len()).filter(|other| *other != at) {
                self.sees_turn(other, at)?;
            }
            return Ok(Some(at));
        }
        Ok(None)
    }

    /// Checks that a node is up, serves with one other member, and shows who has the turn.
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

    /// Boots a machine from the network, as its firmware does. Returns whether it was installed.
    fn boot_from_network(&mut self, at: usize) -> Result<bool> {
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
            // The new root does not know the test's own unit yet.
            disk.attach(host)?;
            ensure!(!installs(&script(host)?), "it is installed again");
        }
        host.boot()?;
        Ok(installs(&sent))
    }

    fn members(&self) -> Result<String> {
        etcdctl(&self.hosts[0], "member list")
    }
}

fn script(host: &Host) -> Result<String> {
    expect(
        &host.link().namespace,
        &script_of(host.link()),
        200,
        "#!ipxe\n",
    )
}

/// Checks that a command refuses with these ids, and that the node has no turn.
fn refuses(host: &Host, words: &str, ids: &[&str]) -> Result<()> {
    let ran = host.sh(&format!("firstboot update --reinstall {words}"))?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    println!("{said}");
    ensure!(ran.code() == 3, "it ends with {}:\n{said}", ran.code());
    for id in ids {
        ensure!(said.contains(&format!("[{id}]")), "no {id} in:\n{said}");
    }
    let turn = etcdctl(host, TURN)?;
    ensure!(turn.trim().is_empty(), "a node has the turn: {turn}");
    Ok(())
}

fn rolls() -> Result<()> {
    let mut bed = Machines::new()?;
    let client = Client::new(&bed.ours)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let writers = Writers::start(&client, &addresses, "roll/");
    let journals = read_all(&bed.hosts, JOURNAL)?;
    let before = bed.members()?;
    let tree = format!("http://{SERVER}/none/");

    let server = Server::start(&bed.ours, &["--reinstall", "--tree", &tree])?;
    bed.ours.build(&recipe("console = \"ttyS0\"\n")?)?;
    refuses(&bed.hosts[0], "", &["update-wipes"])?;
    refuses(&bed.hosts[0], "--from /mnt", &["update-no-server"])?;
    bed.ours
        .build(&recipe("data = \"keep\"\nconsole = \"ttyS0\"\n")?)?;
    let update = bed.hosts[0].sh("firstboot update")?;
    ensure!(
        update.code() == 3 && update.stderr.contains("[update-base]"),
        "{update:?}"
    );
    drop(server);
    let server = Server::start(&bed.ours, &["--tree", &tree])?;
    let off = ["reinstall-off", "update-install-refused"];
    refuses(&bed.hosts[1], "", &off)?;
    drop(server);

    let server = Server::start(&bed.ours, &["--reinstall", "--tree", &tree])?;
    misses_the_installer(&mut bed, &server)?;
    writers.wait_for_more(20, START_TIMEOUT)?;
    roll(&mut bed)?;

    let written = writers.stop()?;
    let (_, gap) = written.longest_gaps();
    println!("{} writes; longest gap {gap:.1?}", written.count());
    ensure!(gap < Duration::from_secs(10), "no write for {gap:?}");
    for address in &addresses {
        written.kept_in(&client::insist(|| client.all(*address, "roll/"))?)?;
    }
    let after = bed.members()?;
    ensure!(after == before, "{before}became\n{after}");
    for (host, journal) in bed.hosts.iter().zip(&journals) {
        is_reinstalled(&bed.ours, host, journal)?;
    }
    Ok(())
}

fn read_all(hosts: &[Host], path: &str) -> Result<Vec<String>> {
    hosts.iter().map(|host| host.read(path)).collect()
}

/// A machine that boots its disk keeps its system, and returns the turn. Nothing installs it later.
fn misses_the_installer(bed: &mut Machines, server: &Server) -> Result<()> {
    bed.hosts[1].check(&["sh", "-c", REINSTALL])?;
    let at = wait_restarted(bed)?;
    ensure!(at == 1, "{} restarts", bed.hosts[at].name());
    server.wait_for_output("etcd-2: asks to be installed again")?;
    let host = &mut bed.hosts[1];
    host.boot()?;
    server.wait_for_output("etcd-2: runs its old system and is no longer installed again")?;
    let ended = "grep -F '[update-not-installed]' /var/lib/firstboot/update/outcome.json";
    host.wait_for(ended, START_TIMEOUT)?;
    wait_healthy(host, 3, START_TIMEOUT)?;
    ensure!(etcdctl(host, TURN)?.trim().is_empty(), "the turn is kept");
    ensure!(!installs(&script(host)?), "it would be installed");
    Ok(())
}

/// Waits until a node has restarted.
fn wait_restarted(bed: &mut Machines) -> Result<usize> {
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

/// All nodes get the order to reinstall at the same time, and reinstall one after the other.
fn roll(bed: &mut Machines) -> Result<()> {
    for host in &bed.hosts {
        host.check(&["sh", "-c", REINSTALL])?;
    }
    let mut installed = Vec::new();
    while installed.len() < bed.hosts.len() {
        let begun = Instant::now();
        let at = wait_restarted(bed)?;
        ensure!(bed.boot_from_network(at)?, "it was not installed");
        wait_healthy(&bed.hosts[at], 3, START_TIMEOUT)?;
        println!("{} took {:.1?}", bed.hosts[at].name(), begun.elapsed());
        ensure!(!installed.contains(&at), "it was installed twice");
        installed.push(at);
    }
    let free = format!(". /etc/profile.d/etcdctl.sh; test -z \"$(etcdctl {TURN})\"");
    bed.hosts[0].wait_for(&free, START_TIMEOUT)
}

/// Checks that a node has the new image and is the same member.
fn is_reinstalled(ours: &Provisioning, host: &Host, journal: &str) -> Result<()> {
    let image = repack::read(&ours.out())?.overlay.sha256.to_string();
    let installed = host.read("/etc/firstboot/installed")?;
    ensure!(installed.trim() == image, "{installed} is not {image}");
    let now = host.read(JOURNAL)?;
    let added = now
        .strip_prefix(journal)
        .context("the journal is another one")?;
    ensure!(
        !added.contains("\"add") && !added.contains("\"life\""),
        "the node joined again:\n{added}"
    );
    let order = host.path("/var/lib/firstboot/update/state.json");
    ensure!(!order.exists(), "an order is open");
    host.check(&["firstboot", "image"]).map(drop)
}
