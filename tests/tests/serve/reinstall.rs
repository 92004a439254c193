//! Tests `firstboot update --reinstall`: nodes are reinstalled at their own request, one after
//! another, and keep etcd's data.

mod interrupted;
mod machines;
mod request;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Writers};
use tests::cluster::{etcdctl, wait_healthy};
use tests::harness::{long, trial};
use tests::host::Host;
use tests::requirement::{NEEDS_SERVER, NEEDS_SERVER_AND_HOSTS};

use crate::bed::{SERVER, START_TIMEOUT, Server, installs};
use machines::{
    JOURNAL, Machines, REINSTALL, TURN, is_reinstalled, read_all, recipe, script, wait_restarted,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_machine_is_installed_again_at_its_own_request_only",
            NEEDS_SERVER,
            request::checked,
        ),
        long(
            "another_base_rolls_through_a_cluster_while_clients_write",
            NEEDS_SERVER_AND_HOSTS,
            rolls,
        ),
        long(
            "nodes_with_their_own_keys_are_reinstalled_after_failures_and_a_power_cut",
            NEEDS_SERVER_AND_HOSTS,
            interrupted::finished,
        ),
    ]
}

/// Checks that the command fails with these reason ids, and that no node has the turn.
fn refuses(host: &Host, words: &str, ids: &[&str]) -> Result<()> {
    let ran = host.sh(&format!("firstboot update --reinstall {words}"))?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    println!("{said}");
    ensure!(ran.code() == 3, "the exit code is {}:\n{said}", ran.code());
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

/// Checks that a machine that boots from its disk keeps its system and releases the turn, and that
/// nothing reinstalls the machine later.
fn misses_the_installer(bed: &mut Machines, server: &Server) -> Result<()> {
    bed.hosts[1].check(&["sh", "-c", REINSTALL])?;
    let at = wait_restarted(bed)?;
    ensure!(at == 1, "{} restarts", bed.hosts[at].name());
    server.wait_for_output("etcd-2: asks to be installed again")?;
    let host = &mut bed.hosts[1];
    host.boot()?;
    server.wait_for_output("etcd-2: runs its old system, and will not be installed again")?;
    let ended = "grep -F '[update-not-installed]' /var/lib/firstboot/update/outcome.json";
    host.wait_for(ended, START_TIMEOUT)?;
    wait_healthy(host, 3, START_TIMEOUT)?;
    ensure!(etcdctl(host, TURN)?.trim().is_empty(), "the turn is kept");
    ensure!(!installs(&script(host)?), "etcd-2 would be installed");
    Ok(())
}

/// Orders the reinstallation of all nodes at the same time. The nodes are reinstalled one after
/// another.
fn roll(bed: &mut Machines) -> Result<()> {
    for host in &bed.hosts {
        host.check(&["sh", "-c", REINSTALL])?;
    }
    let mut installed: Vec<usize> = Vec::new();
    while installed.len() < bed.hosts.len() {
        let begun = Instant::now();
        let at = wait_restarted(bed)?;
        // A node may restart as soon as the previous node is a healthy member again.
        if let Some(previous) = installed.last() {
            let journal = bed.hosts[*previous].journal("firstboot")?;
            ensure!(journal.contains("is a healthy member of demo"), "{journal}");
        }
        let name = bed.hosts[at].name().to_owned();
        ensure!(bed.boot_from_network(at)?, "{name} was not installed");
        println!("{name} took {:.1?}", begun.elapsed());
        ensure!(!installed.contains(&at), "{name} was installed twice");
        installed.push(at);
    }
    for host in &bed.hosts {
        wait_healthy(host, 3, START_TIMEOUT)?;
    }
    let free = format!(". /etc/profile.d/etcdctl.sh; test -z \"$(etcdctl {TURN})\"");
    bed.hosts[0].wait_for(&free, START_TIMEOUT)
}
