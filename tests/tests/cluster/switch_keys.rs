//! Tests switching a running cluster from keys in documents to keys that its nodes generate, as
//! docs/certificates.md describes, while clients write.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Writers};
use tests::cluster::{Provisioning, boot_all, wait_healthy};
use tests::etcd;
use tests::harness::long;
use tests::host::Host;
use tests::process;
use tests::programs;
use tests::secrets::PrivateKeys;

use crate::lifecycle::{NAMES, REQUIREMENTS};

const TIMEOUT: Duration = Duration::from_secs(180);
/// Writes pause for longer than this only if two members are down at the same time.
const MAX_WRITE_GAP: Duration = Duration::from_secs(10);

pub(crate) fn trials() -> Vec<Trial> {
    vec![long(
        "a_running_cluster_switches_to_keys_that_its_nodes_generate",
        REQUIREMENTS,
        switched,
    )]
}

fn switched() -> Result<()> {
    etcd::release(etcd::DEMO)?;
    let (ours, workstation) = (Provisioning::new()?, tempfile::tempdir()?);
    let recipe = workstation.path().join("recipe.toml");
    let text = fs::read_to_string(programs::recipe("demo"))? + "\n[update]\nsoak-seconds = 10\n";
    fs::write(&recipe, &text)?;
    ours.build(&recipe)?;
    let mut hosts = NAMES
        .iter()
        .map(|name| ours.node(name))
        .collect::<Result<Vec<_>>>()?;
    boot_all(&mut hosts)?;
    for host in &hosts {
        wait_healthy(host, 3, TIMEOUT)?;
    }
    let addresses: Vec<_> = hosts.iter().map(Host::address).collect();
    let client = Client::operator(&ours)?;
    let writers = Writers::start(&client, &addresses, "switch/");

    // Step 1 of docs/certificates.md changes nothing on the nodes.
    fs::write(&recipe, text + "\n[tls]\nkeys = \"node\"\n")?;
    ours.build(&recipe)?;
    let before = etcd_processes(&hosts)?;
    let certificates = |hosts: &[Host]| -> Result<Vec<String>> {
        let read = |host: &Host| host.read("/etc/etcd/tls/server.crt");
        hosts.iter().map(read).collect()
    };
    let old = certificates(&hosts)?;
    // Step 2.
    for host in &hosts {
        sign(&ours, (&recipe, workstation.path()), host)?;
    }
    let new = certificates(&hosts)?;
    ensure!(
        old.iter().zip(&new).all(|(old, new)| old != new),
        "a node has its old certificate"
    );
    ensure!(etcd_processes(&hosts)? == before, "etcd was restarted");
    // Step 3.
    ours.build(&recipe)?;
    for host in &hosts {
        update(&ours, host)?;
    }
    ensure!(
        certificates(&hosts)? == new,
        "the update of the image replaced a certificate"
    );
    // Carry out step 4 of docs/certificates.md, and boot a node without its old document.
    for host in &hosts {
        host.check(&["rm", "-r", "/var/lib/cloud/seed/nocloud"])?;
    }
    hosts[2].shutdown()?;
    hosts[2].boot()?;
    wait_healthy(&hosts[2], 3, TIMEOUT)?;

    writers.wait_for_more(10, TIMEOUT)?;
    let written = writers.stop()?;
    for address in &addresses {
        written.kept_in(&client::insist(|| client.all(*address, "switch/"))?)?;
    }
    let (_, gap) = written.longest_gaps();
    println!(
        "{} writes acknowledged, longest gap {gap:.1?}",
        written.count()
    );
    ensure!(gap < MAX_WRITE_GAP, "no write was acknowledged for {gap:?}");
    only_the_nodes_have_their_keys(&ours, &hosts, workstation.path())
}

/// Signs the node's request, and checks that the node uses the answer.
fn sign(ours: &Provisioning, (recipe, workstation): (&Path, &Path), host: &Host) -> Result<()> {
    let request = workstation.join(format!("{}.csr", host.name()));
    fs::write(&request, host.check(&["firstboot", "csr"])?)?;
    let pki = ours.pki();
    let [recipe, request, pki] =
        [recipe, &request, &pki].map(|path| path.to_string_lossy().into_owned());
    let arguments = ["pki", "sign", &recipe, host.name(), &request, "--pki", &pki];
    let document = programs::run_builder(&arguments)?.ok()?;
    ensure!(!document.contains("PRIVATE"), "{document}");
    host.write("/etc/firstboot/node.json", &document, 0o644)?;
    host.check(&["systemctl", "restart", "firstboot.service"])?;
    wait_healthy(host, 3, TIMEOUT)?;
    let accepted = host.read("/var/lib/firstboot/node.json")?;
    ensure!(
        payload(&accepted)? == payload(&document)?,
        "{} does not use the answer to its request",
        host.name()
    );
    Ok(())
}

fn payload(document: &str) -> Result<serde_json::Value> {
    let envelope: serde_json::Value = serde_json::from_str(document)?;
    Ok(envelope["payload"].clone())
}

/// Updates the node to the image in which nodes generate their own keys.
fn update(ours: &Provisioning, host: &Host) -> Result<()> {
    let stick = host.path("/stick");
    fs::create_dir(&stick)?;
    for part in ["release.json", "image"] {
        copy(&ours.out().join(part), &stick.join(part))?;
    }
    let ran = host.sh("firstboot update --from /stick")?;
    println!("{}: {}{}", host.name(), ran.stdout, ran.stderr);
    ensure!(ran.success(), "the update exits with {}", ran.code());
    let image = host.read("/etc/firstboot/cluster.json")?;
    let image: serde_json::Value = serde_json::from_str(&image)?;
    ensure!(image["keys"] == "node", "{image:#}");
    wait_healthy(host, 3, TIMEOUT)?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let paths = [from, to].map(|path| path.to_string_lossy().into_owned());
    process::check("cp", &["-a", &paths[0], &paths[1]]).map(drop)
}

/// Checks that only the nodes' key files contain the keys that the nodes generated.
fn only_the_nodes_have_their_keys(
    ours: &Provisioning,
    hosts: &[Host],
    workstation: &Path,
) -> Result<()> {
    let mut keys = PrivateKeys::default();
    let out = ours.out();
    let world = out
        .parent()
        .context("the output folder has no parent")?
        .to_owned();
    let mut folders = vec![world, workstation.to_owned()];
    for host in hosts {
        keys.add(&host.read("/var/lib/firstboot/keys.pem")?)?;
        folders.extend(["etc", "var", "root", "tmp", "stick"].map(|place| host.path(place)));
    }
    ensure!(keys.count() == 9, "{} keys", keys.count());
    let scratch = tempfile::tempdir()?;
    let found: Vec<PathBuf> = keys
        .search(&folders, scratch.path())?
        .into_iter()
        .map(PathBuf::from)
        .filter(|path| {
            !path.ends_with("var/lib/firstboot/keys.pem") && !path.ends_with("server.key")
        })
        .filter(|path| !path.ends_with("peer.key") && !path.ends_with("client.key"))
        .collect();
    ensure!(found.is_empty(), "private keys are in {found:#?}");
    Ok(())
}

fn etcd_processes(hosts: &[Host]) -> Result<Vec<String>> {
    let begun = "--property=MainPID,ExecMainStartTimestampMonotonic";
    let process = |host: &Host| host.check(&["systemctl", "show", begun, "etcd.service"]);
    hosts.iter().map(process).collect()
}
