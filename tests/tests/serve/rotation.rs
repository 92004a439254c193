//! Tests a rotation on nodes that generate their own keys, while clients write, and while a node
//! with a new disk and a new key joins.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::client::{Client, OPERATOR, Writers};
use tests::cluster::{Provisioning, boot_all, wait_healthy};
use tests::harness::long;
use tests::host::Host;
use tests::process;
use tests::requirement::NEEDS_CLUSTER;

use crate::bed::{SERVER, START_TIMEOUT};
use crate::enrolment::{approve_printed, built_with, served};
use crate::renewal::{ended, ends, is_written, pki, update};

const KEYS: &str = "/var/lib/firstboot/keys.pem";

pub(crate) fn trials() -> Vec<Trial> {
    vec![long(
        "a_ca_of_nodes_with_their_own_keys_is_replaced_while_one_of_them_is_rebuilt",
        NEEDS_CLUSTER,
        replaced,
    )]
}

fn replaced() -> Result<()> {
    let update_section = format!("\n[update]\nfrom = \"http://{SERVER}/\"\nsoak-seconds = 10\n");
    let (ours, recipe) = built_with(&update_section)?;
    let server = served(&ours, &recipe, &[])?;
    let mut hosts = ["etcd-1", "etcd-2", "etcd-3"]
        .map(|name| ours.machine(name))
        .into_iter()
        .collect::<Result<Vec<Host>>>()?;
    for host in &mut hosts {
        ours.install(host)?;
    }
    boot_all(&mut hosts)?;
    for host in &hosts {
        wait_healthy(host, 3, START_TIMEOUT)?;
        ended(host)?;
    }
    let addresses: Vec<_> = hosts.iter().map(Host::address).collect();
    let keys = [hosts[0].read(KEYS)?, hosts[1].read(KEYS)?];

    Client::operator(&ours)?;
    pki(&ours, "rotate")?;
    ours.build(&recipe)?;
    // The client's certificate is from the old CA, and the client trusts both CAs.
    let client = Client::with(&ours, OPERATOR)?;
    let writers = Writers::start(&client, &addresses, "rotate/");
    writers.wait_for_more(5, START_TIMEOUT)?;
    rebuild(&ours, &mut hosts[2])?;
    roll(&hosts)?;
    is_written(writers, &client, &addresses, "rotate/")?;

    pki(&ours, "retire")?;
    ours.build(&recipe)?;
    let client = Client::operator(&ours)?;
    let writers = Writers::start(&client, &addresses, "retire/");
    roll(&hosts)?;
    is_written(writers, &client, &addresses, "retire/")?;

    for (host, address) in hosts.iter().zip(&addresses) {
        presents_the_new_ca(&ours, host, *address)?;
    }
    ensure!(
        [hosts[0].read(KEYS)?, hosts[1].read(KEYS)?] == keys,
        "a node has other keys"
    );
    let said = server.output()?;
    ensure!(!said.contains("PRIVATE KEY"), "a key is in the log");
    Ok(())
}

/// Gives a node a new disk before any other member has its new document. The operator approves the
/// node's new key, and the node joins while no member trusts the new CA yet.
fn rebuild(ours: &Provisioning, host: &mut Host) -> Result<()> {
    host.cut_power()?;
    host.wipe()?;
    ours.install(host)?;
    host.boot()?;
    let waits = "journalctl --no-pager -u firstboot | grep -qF '[key-not-approved]'";
    host.wait_for(waits, START_TIMEOUT)?;
    approve_printed(ours, host.name(), &host.journal("firstboot")?)?;
    wait_healthy(host, 3, START_TIMEOUT).map(drop)
}

/// Runs `firstboot update` on each node. After the update of a node, firstboot waits in the
/// background until all members have their documents.
fn roll(hosts: &[Host]) -> Result<()> {
    for host in hosts {
        ends(&update(host, "")?, 0, &["already has image"], &[])?;
    }
    for host in hosts {
        ended(host)?;
    }
    wait_healthy(&hosts[0], 3, START_TIMEOUT).map(drop)
}

/// Checks the certificates on both ports against the new CA.
fn presents_the_new_ca(ours: &Provisioning, host: &Host, address: Ipv4Addr) -> Result<()> {
    let ca = ours.pki().join("ca.crt");
    for port in [2379, 2380] {
        let script = format!(
            "openssl s_client -connect {address}:{port} -CAfile {} -verify_return_error < /dev/null 2>&1 || true",
            ca.display()
        );
        let world = ours.network.world();
        let said = process::run(world.command("sh").args(["-c", &script]))?;
        ensure!(
            said.stdout.contains("Verify return code: 0 (ok)"),
            "{}, port {port}:\n{}",
            host.name(),
            said.stdout
        );
    }
    Ok(())
}
