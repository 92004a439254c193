//! Tests replacing the CA in a cluster while clients write, with node documents that arrive in any
//! order.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Writers};
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::{process, programs};

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, listed, wait_said};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_ca_is_replaced_while_clients_write_and_a_node_is_rebuilt",
        REQUIREMENTS,
        replaced,
    )]
}

/// The longest pause between writes that the test permits. A longer pause occurs only if two
/// members are down at the same time, or do not trust each other.
const MAX_WRITE_GAP: Duration = Duration::from_secs(10);

fn replaced() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let members = etcdctl(&bed.hosts[0], "member list")?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();

    pki(&bed, "rotate")?;
    // The client's certificate is still from the old CA, and the client trusts both CAs.
    let client = Client::new(&bed.provisioning)?;
    bed.grow(3)?;
    let new = first_ca(&bed)?;
    let writers = Writers::start(&client, &addresses, "rotate/");
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;

    waits_for_an_update(&bed)?;
    // The first member trusts both CAs. Until the other members trust both CAs, the first member
    // presents certificates of the old CA, even after a power cut.
    let waits = [
        "etcd-2 does not trust",
        "etcd-3 does not trust",
        "[ca-not-trusted]",
    ];
    wait_said(&bed.hosts[0], &waits)?;
    bed.hosts[0].cut_power()?;
    bed.hosts[0].boot()?;
    wait_said(&bed.hosts[0], &waits)?;
    ensure!(
        !presents(&bed, 0, &new)?,
        "etcd-1 presents a certificate that the other members do not trust"
    );
    // A node that is reinstalled during the rotation has only the new document. Member etcd-2 does
    // not trust the CA in that document yet, but the cluster still admits the node.
    bed.hosts[2].cut_power()?;
    bed.replace_disk(2)?;
    bed.provisioning.give_document(&bed.hosts[2], "etcd-3")?;
    bed.hosts[2].boot()?;
    wait_said(
        &bed.hosts[2],
        &["etcd-2 does not trust", "[ca-not-trusted]"],
    )?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT)?;
    loses_its_data_while_it_waits(&bed)?;
    distribute_documents(&bed, &[1])?;
    for at in 0..3 {
        ended(&bed.hosts[at])?;
        ensure!(
            presents(&bed, at, &new)?,
            "etcd-{} does not present the new certificates",
            at + 1
        );
    }
    check(writers, &client, &addresses, "rotate/")?;

    // No member presents certificates of the old CA any more, so all members can stop trusting that
    // CA at the same instant.
    pki(&bed, "retire")?;
    bed.grow(3)?;
    let after = Client::new(&bed.provisioning)?;
    let writers = Writers::start(&after, &addresses, "retire/");
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;
    distribute_documents(&bed, &[0, 1, 2])?;
    bed.hosts.iter().try_for_each(ended)?;
    check(writers, &after, &addresses, "retire/")?;
    old_ca_is_refused(&bed, &client, &addresses)?;
    wait_healthy(&bed.hosts[0], 3, CONVERGENCE_TIMEOUT)?;
    members_are_kept(&bed.hosts[0], &members)?;
    Ok(())
}

/// Checks that a member does not restart its etcd while another member updates itself, because two
/// members would then be down.
fn waits_for_an_update(bed: &Bed) -> Result<()> {
    let turn = "/etcd-image/update/turn";
    etcdctl(
        &bed.hosts[1],
        &format!(r#"put {turn} '{{"node":"etcd-2","serial":9,"since":0}}'"#),
    )?;
    distribute_documents(bed, &[0])?;
    wait_said(
        &bed.hosts[0],
        &["etcd-2 is updating itself", "[members-unhealthy]"],
    )?;
    etcdctl(&bed.hosts[1], &format!("del {turn}"))?;
    Ok(())
}

/// Deletes the data of a member that waits for the documents of the other members, and checks that
/// the member is rebuilt. firstboot is already running on the node, so the guard does not restart
/// firstboot.
fn loses_its_data_while_it_waits(bed: &Bed) -> Result<()> {
    let (host, other) = (&bed.hosts[2], &bed.hosts[1]);
    let (id, _) = listed(other, host.name())?.context("etcd-3 is not a member")?;
    host.check(&[
        "sh",
        "-c",
        "rm -rf /var/lib/etcd/data && systemctl kill --signal=KILL etcd.service",
    ])?;
    other.wait_for(
        &format!(
            ". /etc/profile.d/etcdctl.sh; etcdctl member list | grep 'started, etcd-3,.*false$' | \
             grep -qv '^{id},'"
        ),
        CONVERGENCE_TIMEOUT,
    )?;
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT).map(drop)
}

/// Checks that `firstboot status` shows when each certificate expires, that no member accepts
/// certificates of the old CA, and that no member has pending changes.
fn old_ca_is_refused(bed: &Bed, client: &Client, addresses: &[Ipv4Addr]) -> Result<()> {
    let seen = bed.hosts[0].check(&["firstboot", "status", "--json"])?;
    ensure!(
        seen.matches("\"certificate-until\": \"20").count() == 3,
        "not all three members show when their certificates expire:\n{seen}"
    );
    for (host, address) in bed.hosts.iter().zip(addresses) {
        ensure!(
            client.put(*address, "refused", "yes").is_err(),
            "{} trusts the old CA",
            host.name()
        );
        let said = host.check(&["firstboot", "explain"])?;
        ensure!(said.contains("Restarting etcd so that it trusts"), "{said}");
        let dry = host.check(&["firstboot", "run", "--dry-run"])?;
        ensure!(dry.contains("no changes"), "{dry}");
    }
    Ok(())
}

fn members_are_kept(host: &Host, members: &str) -> Result<()> {
    let now = etcdctl(host, "member list")?;
    let kept = |name: &str| {
        members
            .lines()
            .find(|line| line.contains(name))
            .is_some_and(|line| now.contains(line))
    };
    ensure!(
        kept("etcd-1") && kept("etcd-2") && now.lines().count() == 3,
        "before:\n{members}\nnow:\n{now}"
    );
    Ok(())
}

/// Writes the documents of the last build to nodes, and restarts firstboot on all these nodes at
/// the same time.
fn distribute_documents(bed: &Bed, whom: &[usize]) -> Result<()> {
    for at in whom {
        bed.provisioning
            .give_document(&bed.hosts[*at], bed.hosts[*at].name())?;
    }
    for at in whom {
        bed.hosts[*at].check(&["systemctl", "restart", "--no-block", "firstboot.service"])?;
    }
    // Until the new process exists, `systemctl show` reports the old process.
    sleep(Duration::from_millis(300));
    Ok(())
}

/// Waits until firstboot has finished.
fn ended(host: &Host) -> Result<()> {
    host.wait_for(
        "[ \"$(systemctl show --property=SubState --value firstboot.service)\" = exited ]",
        2 * CONVERGENCE_TIMEOUT,
    )
}

fn pki(bed: &Bed, command: &str) -> Result<()> {
    let folder = bed.provisioning.pki();
    let ran = programs::run_builder(&["pki", command, &folder.to_string_lossy()])?;
    ran.ok()
        .with_context(|| format!("builder pki {command}"))
        .map(drop)
}

/// Writes only the newest CA to a file, and returns the file's path.
fn first_ca(bed: &Bed) -> Result<String> {
    let all = fs::read_to_string(bed.provisioning.pki().join("ca.crt"))?;
    ensure!(all.matches("BEGIN").count() == 2, "{all}");
    let (first, _) = all
        .split_once("-----END CERTIFICATE-----\n")
        .context("the file contains no certificate")?;
    let path = tests::run::current()?.folder("rotation")?.join("new.crt");
    fs::write(&path, format!("{first}-----END CERTIFICATE-----\n"))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Returns whether a member presents certificates of this CA both to clients and to peers.
fn presents(bed: &Bed, at: usize, ca: &str) -> Result<bool> {
    let own = bed.provisioning.pki().join("nodes/etcd-1");
    for port in [2379, 2380] {
        let place = format!("{}:{port}", bed.hosts[at].address());
        let mut openssl = bed.provisioning.network.world().command("openssl");
        openssl.args([
            "s_client",
            "-brief",
            "-verify_return_error",
            "-CAfile",
            ca,
            "-connect",
            &place,
        ]);
        openssl
            .arg("-cert")
            .arg(own.join("peer.crt"))
            .arg("-key")
            .arg(own.join("peer.key"));
        if !process::run(openssl.stdin(Stdio::null()))?.success() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn check(
    writers: Writers,
    client: &Client,
    addresses: &[std::net::Ipv4Addr],
    prefix: &str,
) -> Result<()> {
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;
    let written = writers.stop()?;
    for address in addresses {
        written.kept_in(&client::insist(|| client.all(*address, prefix))?)?;
    }
    let (_, all) = written.longest_gaps();
    println!(
        "{prefix}: {} writes acknowledged, longest gap {:.2} s",
        written.count(),
        all.as_secs_f64()
    );
    ensure!(all < MAX_WRITE_GAP, "no client could write for {all:?}");
    Ok(())
}
