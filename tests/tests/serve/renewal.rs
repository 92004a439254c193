//! Tests that `builder build` and `firstboot update` alone install renewed certificates and a new
//! CA on the members while clients write. The server hands a newer document only to a machine that
//! proves that it has an earlier document.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Writers};
use tests::cluster::{Provisioning, boot_all, give_document, wait_healthy};
use tests::etcd;
use tests::harness::trial;
use tests::host::Host;
use tests::process::{self, Output};
use tests::programs;
use tests::requirement::NEEDS_SERVER_AND_HOSTS;

use crate::bed::{SERVER, START_TIMEOUT, Server, by_card, curl, document_of, expect, recipe_with};

/// The maximum pause between two writes. A longer pause occurs only if two members are down at the
/// same time.
const MAX_WRITE_GAP: Duration = Duration::from_secs(10);

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "renewed_certificates_and_a_new_ca_arrive_by_update",
        NEEDS_SERVER_AND_HOSTS,
        renewal,
    )]
}

/// Builds the cluster with these additional sections of the recipe.
fn build(ours: &Provisioning, sections: &str) -> Result<()> {
    let path = recipe_with(by_card)?;
    // The timer of the mode `auto` does not elapse during the test. The test itself runs the
    // timer's command.
    let update = format!(
        "[update]\nmode = \"auto\"\nevery = \"24 hours\"\nfrom = \"http://{SERVER}/\"\nsoak-seconds = 10\n"
    );
    let text = fs::read_to_string(&path)?;
    fs::write(&path, format!("{text}\n{update}\n{sections}"))?;
    ours.build(&path).map(drop)
}

fn renewal() -> Result<()> {
    etcd::release(etcd::DEMO)?;
    let ours = Provisioning::new()?;
    build(&ours, "")?;
    // With a window of 0 s, the server hands out a document only once, except to a machine that
    // proves that it has an earlier document.
    let server = Server::start(&ours, &["--open", "0"])?;
    let mut hosts = start(&ours)?;
    let old = ours.copy_output()?;
    let etcd_before = etcd_processes(&hosts)?;
    for host in &hosts {
        ends(
            &update(host, "--check")?,
            0,
            &["already has image 1"],
            &["node document"],
        )?;
    }

    let addresses: Vec<_> = hosts.iter().map(Host::address).collect();
    let client = Client::new(&ours)?;
    let writers = Writers::start(&client, &addresses, "renew/");
    build(
        &ours,
        "[tls]\ncertificate-days = 2000\nrenew-before-days = 1500\n",
    )?;
    others_get_nothing(&ours, &hosts[2])?;
    renew(&ours, &hosts, &old)?;
    ensure!(
        etcd_processes(&hosts)? == etcd_before,
        "etcd was restarted for a renewed certificate"
    );
    is_written(writers, &client, &addresses, "renew/")?;
    keeps_after_a_boot(&mut hosts[1])?;
    server.wait_for_output(
        "etcd-1: receives its newest document, because it proved that it already has a document \
         from this server",
    )?;

    new_ca(&ours, &hosts)?;
    refuses_an_older_document(&ours, &hosts[0], &old)?;
    let said = server.output()?;
    ensure!(!said.contains("PRIVATE KEY"), "a key is in the log");
    Ok(())
}

/// Installs and starts three machines. The second machine gets its document from the NoCloud seed
/// folder on its disk, and the other machines get their documents from the server.
fn start(ours: &Provisioning) -> Result<Vec<Host>> {
    let mut hosts = ["etcd-1", "etcd-2", "etcd-3"]
        .map(|name| ours.machine(name))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    for host in &mut hosts {
        ours.install(host)?;
    }
    give_document(&hosts[1], &ours.out(), "etcd-2")?;
    boot_all(&mut hosts)?;
    for host in &hosts {
        wait_healthy(host, 3, START_TIMEOUT)?;
        ended(host)?;
    }
    Ok(hosts)
}

/// Checks that the machine's MAC address and IP address are not enough without the previous
/// document, and that no document is available as a plain file.
fn others_get_nothing(ours: &Provisioning, host: &Host) -> Result<()> {
    let page = document_of(&host.link().mac);
    let from = &host.link().namespace;
    expect(from, &page, 403, "[document-closed]")?;
    let guess = format!("If-None-Match: \"{}\"", "0".repeat(64));
    let url = format!("http://{SERVER}/{page}");
    let (status, text) = curl(from, &["--header", &guess], &url)?;
    ensure!(
        status == 403 && text.contains("[document-closed]"),
        "{status}: {text}"
    );
    for page in ["nodes/etcd-3/node.json", "nodes/etcd-3/user-data"] {
        expect(from, page, 404, "")?;
    }
    let files = ours.www();
    ensure!(
        !files.join("node.json").exists() && !files.join("nodes").exists(),
        "the file server has documents"
    );
    Ok(())
}

/// Checks that all nodes install their renewed certificates. The third node gets its certificates
/// from a folder, as on a USB stick.
fn renew(ours: &Provisioning, hosts: &[Host], old: &Path) -> Result<()> {
    let check = update(&hosts[0], "--check")?;
    let words = [
        "node document from http://10.101.15.1:8081/node.json",
        "server certificate: until ",
        "already has image 1",
    ];
    ends(&check, 7, &words, &["restarts etcd"])?;
    let json = update(&hosts[0], "--check --json")?;
    let answer: serde_json::Value = serde_json::from_str(&json.stdout)?;
    ensure!(
        json.code() == 7
            && answer["newer"] == false
            && answer["document"]["taken"] == false
            && answer["document"]["changes"].as_array().map(Vec::len) == Some(3),
        "{answer}"
    );
    for host in &hosts[..2] {
        let words = [
            "accepts its node document from http://10.101.15.1:8081/node.json",
            "uses the newer node document",
        ];
        ends(&update(host, "")?, 0, &words, &[])?;
        ends(&update(host, "--check")?, 0, &["already"], &["certificate"])?;
    }
    let stick = hosts[2].path("/stick");
    fs::create_dir(&stick)?;
    for part in ["release.json", "image", "nodes"] {
        let from = ours.out().join(part);
        process::check("cp", &["-a", &text(&from), &text(&stick.join(part))])?;
    }
    ends(
        &update(&hosts[2], "--from /stick")?,
        0,
        &["accepts its node document from /stick/nodes/etcd-3/node.json"],
        &[],
    )?;
    for host in hosts {
        installed(ours, host)?;
        ensure!(
            document_of_output(old, host)? != document_of_output(&ours.out(), host)?,
            "the build renewed no certificate"
        );
    }
    Ok(())
}

/// Checks that a boot keeps the newer document, although the seed folder still contains the
/// document that the update replaced.
fn keeps_after_a_boot(host: &mut Host) -> Result<()> {
    let before = host.read("/etc/etcd/tls/server.crt")?;
    host.shutdown()?;
    host.boot()?;
    wait_healthy(host, 3, START_TIMEOUT)?;
    ended(host)?;
    ensure!(
        host.read("/etc/etcd/tls/server.crt")? == before,
        "the boot restored the old certificate"
    );
    let said = host.journal("firstboot")?;
    ensure!(said.contains("[document-outdated]"), "{said}");
    let sources = host.check(&["firstboot", "explain", "--sources"])?;
    ensure!(
        sources.contains("firstboot uses the node document from /var/lib/firstboot/node.json."),
        "{sources}"
    );
    Ok(())
}

/// Performs both steps of a rotation.
fn new_ca(ours: &Provisioning, hosts: &[Host]) -> Result<()> {
    let addresses: Vec<_> = hosts.iter().map(Host::address).collect();
    pki(ours, "rotate")?;
    // The client trusts both CAs, and its certificate is from the old CA.
    let client = Client::new(ours)?;
    let writers = Writers::start(&client, &addresses, "rotate/");
    build(ours, "")?;
    let check = update(&hosts[0], "--check")?;
    let words = [
        "trusts ",
        "this change restarts etcd on one member at a time",
    ];
    ends(&check, 7, &words, &[])?;
    roll(ours, hosts, "")?;
    is_written(writers, &client, &addresses, "rotate/")?;

    pki(ours, "retire")?;
    let after = Client::new(ours)?;
    let writers = Writers::start(&after, &addresses, "retire/");
    build(ours, "")?;
    roll(ours, hosts, "--scheduled")?;
    is_written(writers, &after, &addresses, "retire/")?;
    for (host, address) in hosts.iter().zip(&addresses) {
        ensure!(
            client.put(*address, "refused", "yes").is_err(),
            "{} trusts the old CA",
            host.name()
        );
    }
    Ok(())
}

/// Runs `firstboot update` on one node after another. After the update of a node, firstboot waits
/// in the background until all members have their documents.
fn roll(ours: &Provisioning, hosts: &[Host], words: &str) -> Result<()> {
    for host in hosts {
        ends(
            &update(host, words)?,
            0,
            &["accepts its node document"],
            &[],
        )?;
    }
    for host in hosts {
        ended(host)?;
        installed(ours, host)?;
    }
    wait_healthy(&hosts[0], 3, START_TIMEOUT).map(drop)
}

/// Checks that a node does not install an older document, and that the refusal names the document's
/// location.
fn refuses_an_older_document(ours: &Provisioning, host: &Host, old: &Path) -> Result<()> {
    let stick = host.path("/old");
    process::check("cp", &["-a", &text(old), &text(&stick)])?;
    let ran = update(host, "--from /old")?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    ensure!(
        said.contains("the node document from /old/nodes/etcd-1/node.json is older")
            && said.contains("[document-outdated]"),
        "{said}"
    );
    installed(ours, host)
}

/// Compares a CA, two certificates and a key on a node with the node's document from the last
/// build.
fn installed(ours: &Provisioning, host: &Host) -> Result<()> {
    let wanted = ours.document(host.name())?;
    for (file, value) in [
        ("ca.crt", &wanted["tls"]["ca"]),
        ("server.crt", &wanted["tls"]["server"]["cert"]),
        ("peer.key", &wanted["tls"]["peer"]["key"]),
        ("client.crt", &wanted["tls"]["client"]["cert"]),
    ] {
        let found = host.read(&format!("/etc/etcd/tls/{file}"))?;
        ensure!(
            value.as_str() == Some(found.as_str()),
            "{}: {file} is not from the last build",
            host.name()
        );
    }
    Ok(())
}

fn document_of_output(out: &std::path::Path, host: &Host) -> Result<String> {
    let path = out.join("nodes").join(host.name()).join("node.json");
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

pub(crate) fn update(host: &Host, words: &str) -> Result<Output> {
    let ran = host.sh(&format!("firstboot update {words}"))?;
    println!(
        "{}: firstboot update {words}: {}\n{}{}",
        host.name(),
        ran.code(),
        ran.stdout,
        ran.stderr
    );
    Ok(ran)
}

/// Checks the exit code, the words that the command prints, and the words that it does not print.
#[track_caller]
pub(crate) fn ends(ran: &Output, code: i32, words: &[&str], others: &[&str]) -> Result<()> {
    let said = format!("{}{}", ran.stdout, ran.stderr);
    ensure!(
        ran.code() == code
            && words.iter().all(|word| said.contains(word))
            && !others.iter().any(|word| said.contains(word)),
        "`{}` exits with {}, expected {code} with {words:?} and without {others:?}:\n{said}",
        ran.command,
        ran.code()
    );
    Ok(())
}

/// Waits until firstboot has finished.
pub(crate) fn ended(host: &Host) -> Result<()> {
    host.wait_for(
        "[ \"$(systemctl show --property=SubState --value firstboot.service)\" = exited ]",
        START_TIMEOUT,
    )
}

fn etcd_processes(hosts: &[Host]) -> Result<Vec<String>> {
    let process = |host: &Host| {
        host.check(&[
            "systemctl",
            "show",
            "--property=ExecMainStartTimestampMonotonic",
            "etcd.service",
        ])
    };
    hosts.iter().map(process).collect()
}

pub(crate) fn pki(ours: &Provisioning, command: &str) -> Result<()> {
    programs::run_builder(&["pki", command, &text(&ours.pki())])?
        .ok()
        .map(drop)
}

fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Stops the writers. Checks that no acknowledged write is lost, and that every gap between
/// acknowledged writes was shorter than 10 s.
pub(crate) fn is_written(
    writers: Writers,
    client: &Client,
    addresses: &[Ipv4Addr],
    prefix: &str,
) -> Result<()> {
    writers.wait_for_more(10, START_TIMEOUT)?;
    let written = writers.stop()?;
    for address in addresses {
        written.kept_in(&client::insist(|| client.all(*address, prefix))?)?;
    }
    let (_, all) = written.longest_gaps();
    println!(
        "{prefix}: {} writes acknowledged, longest gap {all:.1?}",
        written.count()
    );
    ensure!(all < MAX_WRITE_GAP, "no write was acknowledged for {all:?}");
    Ok(())
}
