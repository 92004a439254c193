//! Tests how the server checks a node's request for its reinstallation.

use std::fs;

use anyhow::{Result, ensure};
use recipes::{Envelope, ReleaseDocument, Sha256};
use tests::cluster::Provisioning;
use tests::network::Link;
use tests::repack;

use crate::bed::{SERVER, Server, built, curl, expect, installs, script_of};
use crate::board;

const TREE: &[&str] = &["--tree", "http://10.101.15.1:8081/none/"];

/// A request that a machine sends.
struct Request<'a> {
    from: &'a Link,
    /// The MAC address of the node that the machine claims to be.
    mac: &'a str,
    document: &'a str,
    image: &'a str,
}

impl Request<'_> {
    #[track_caller]
    fn gets(&self, request: &str, status: u16, words: &str) -> Result<()> {
        let url = format!("http://{SERVER}/reinstall?mac={}", self.mac);
        let form = format!(
            "request={request}&document={}&image={}",
            self.document, self.image
        );
        let (found, text) = curl(&self.from.namespace, &["--data", &form], &url)?;
        ensure!(
            found == status && text.contains(words),
            "{request}: expected {status} with {words}, got {found}: {text}"
        );
        Ok(())
    }
}

fn document_of(ours: &Provisioning, node: &str) -> Result<String> {
    let text = fs::read(ours.out().join("nodes").join(node).join("node.json"))?;
    let envelope: Envelope = serde_json::from_slice(&text)?;
    Ok(envelope.payload_digest()?.to_string())
}

fn would_install(machine: &Link) -> Result<bool> {
    let script = expect(&machine.namespace, &script_of(machine), 200, "#!ipxe\n")?;
    Ok(installs(&script))
}

pub(super) fn checked() -> Result<()> {
    let ours = built()?;
    let (one, two) = (ours.network.add("etcd-1")?, ours.network.add("etcd-2")?);
    let image = repack::read(&ours.out())?.image.to_string();
    let [own, others] = ["etcd-1", "etcd-2"].map(|node| document_of(&ours, node));
    let (own, others) = (own?, others?);
    let good = Request {
        from: &one,
        mac: &one.mac,
        document: &own,
        image: &image,
    };

    // A machine that has received its document counts as installed.
    let server = Server::start(&ours, TREE)?;
    expect(
        &one.namespace,
        &format!("node.json?mac={}", one.mac),
        200,
        "payload",
    )?;
    ensure!(!would_install(&one)?, "etcd-1 is installed twice");
    good.gets("check", 403, "[reinstall-off]")?;
    good.gets("install", 403, "[reinstall-off]")?;
    ensure!(
        !would_install(&one)?,
        "etcd-1 is installed without permission"
    );
    drop(server);

    let [power, notes] = board::power()?;
    let options = [TREE, &["--reinstall", "--power", &power]].concat();
    let server = Server::start(&ours, &options)?;
    refused(&good, &two, &others)?;
    good.gets("check", 200, "{\"switches-machine\":true}")?;
    ensure!(!would_install(&one)?, "a check starts an installation");
    ensure!(
        fs::read_to_string(&notes)?.is_empty(),
        "a check sent a power command"
    );

    good.gets("install", 200, "{\"switches-machine\":true}")?;
    server.wait_for_output("server etcd-1: power: `netboot` and `cycle` succeeded")?;
    good.gets("install", 200, "")?;
    Request {
        document: &others,
        ..good
    }
    .gets("withdraw", 403, "[reinstall-proof]")?;
    ensure!(would_install(&one)?, "etcd-1 is not installed");
    only_the_image_that_it_asked_for(&ours, &one)?;
    good.gets("withdraw", 200, "")?;
    server.wait_for_output("etcd-1: runs its old system, and will not be installed again")?;
    ensure!(
        !would_install(&one)?,
        "etcd-1 is installed after it withdrew its request"
    );
    good.gets("withdraw", 200, "")?;
    let said = server.output()?;
    ensure!(!said.contains(&own), "the proof is in the log");
    Ok(())
}

/// Checks that the server installs only the image that the node requested. A build between the
/// request and the boot replaces the image, and the new image may erase the data.
fn only_the_image_that_it_asked_for(ours: &Provisioning, one: &Link) -> Result<()> {
    let asked = repack::read(&ours.out())?;
    let built = ReleaseDocument::new(
        asked.cluster.clone(),
        asked.serial + 1,
        Sha256::of(b"another image"),
        asked.overlay,
        asked.etcd,
        asked.base_parts.clone(),
    );
    let key = ours.signing_key()?;
    repack::write(&ours.out(), &built, &key)?;
    let script = expect(&one.namespace, &script_of(one), 200, "#!ipxe\n")?;
    ensure!(
        !installs(&script) && script.contains("builder allow etcd-1 --install"),
        "another image is installed:\n{script}"
    );
    repack::write(&ours.out(), &asked, &key)?;
    ensure!(would_install(one)?, "the image is not installed");
    Ok(())
}

/// Checks that the server refuses a request from another machine, a request without the digest of
/// the node's document, a request for another image, and an unknown request.
fn refused(good: &Request<'_>, other: &Link, others: &str) -> Result<()> {
    for (wrong, id) in [
        (
            Request {
                from: other,
                ..*good
            },
            "[wrong-card]",
        ),
        (
            Request {
                document: others,
                ..*good
            },
            "[reinstall-proof]",
        ),
        (
            Request {
                document: "",
                ..*good
            },
            "[reinstall-proof]",
        ),
        (
            Request {
                image: good.document,
                ..*good
            },
            "[reinstall-image]",
        ),
    ] {
        wrong.gets("install", 403, id)?;
    }
    good.gets("erase", 400, "[request]")
}
