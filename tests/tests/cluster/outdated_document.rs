//! Tests that firstboot does not use an older document after a newer document, regardless of the
//! source of the older document.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{Provisioning, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::{etcd, process, programs};

use crate::lifecycle::REQUIREMENTS;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_document_of_an_earlier_build_is_not_used",
        REQUIREMENTS,
        older,
    )]
}

const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(180);
const SEED: &str = "/var/lib/cloud/seed/nocloud/user-data";
const FILE: &str = "/etc/firstboot/node.json";
const SERVED: &str = "metadata/node.json";

/// Tests a metadata server that still serves the node's first document after a later build has
/// renewed the node's certificates.
fn older() -> Result<()> {
    etcd::release("3.5.1")?;
    let ours = Provisioning::new()?;
    let metadata = "[metadata]\nurl = \"http://10.101.15.1:8080/metadata/\"\n";
    let recipe = programs::demo(1, "", metadata)?;
    ours.build(&recipe)?;
    let document =
        || fs::read(ours.out().join("nodes/etcd-1/node.json")).context("cannot read the document");
    let (old, old_certificate) = (document()?, certificate(&ours)?);
    fs::create_dir(ours.www().join("metadata"))?;
    fs::write(ours.www().join(SERVED), &old)?;
    let mut host = ours.machine("etcd-1")?;
    ours.install(&mut host)?;
    host.boot()?;
    lives_by(&host, &old_certificate)?;
    let asked = ours.server.requests_for(SERVED).len();
    ensure!(asked == 1, "the server received {asked} requests");

    // The two dates, which have a resolution of one second, differ because an installation has
    // taken place since the first build.
    fs::rename(
        ours.pki().join("nodes/etcd-1"),
        ours.pki().join("nodes/set-aside"),
    )?;
    ours.build(&recipe)?;
    let new_certificate = certificate(&ours)?;
    host.write(FILE, document()?, 0o600)?;
    host.check(&["systemctl", "restart", "firstboot"])?;
    lives_by(&host, &new_certificate)?;

    // After the new document is removed again, the node uses its own copy, and does not query a
    // server.
    host.cut_power()?;
    fs::remove_file(host.path(FILE))?;
    host.boot()?;
    lives_by(&host, &new_certificate)?;
    ensure!(
        ours.server.requests_for(SERVED).len() == asked,
        "a server that has an old document received a request"
    );

    uses_no_older(&mut host, &old, &old_certificate, &new_certificate)?;

    // The operator returns to the old document, which is still in the seed, by deleting the
    // accepted document.
    host.check(&["rm", "/var/lib/firstboot/node.json"])?;
    host.check(&["systemctl", "restart", "firstboot"])?;
    lives_by(&host, &old_certificate)
}

/// Checks that firstboot does not use an older document, and reports the document's source and both
/// dates.
fn uses_no_older(
    host: &mut Host,
    old: &[u8],
    old_certificate: &str,
    new_certificate: &str,
) -> Result<()> {
    host.cut_power()?;
    host.write(SEED, old, 0o600)?;
    host.boot()?;
    lives_by(host, new_certificate)?;
    let journal = host.journal("firstboot")?;
    for words in [
        format!("from {SEED} is older"),
        format!("valid from {}", valid_from(old_certificate)?),
        format!(
            "the newest certificate of the accepted document is valid from {}",
            valid_from(new_certificate)?
        ),
        "[document-outdated]".to_owned(),
    ] {
        ensure!(
            journal.contains(&words),
            "{words:?} is missing in\n{journal}"
        );
    }
    Ok(())
}

/// Returns the server certificate of etcd-1 from the builder's folder.
fn certificate(ours: &Provisioning) -> Result<String> {
    fs::read_to_string(ours.pki().join("nodes/etcd-1/server.crt"))
        .context("cannot read the certificate")
}

/// Waits until the node is a healthy member with this certificate.
fn lives_by(host: &Host, certificate: &str) -> Result<()> {
    wait_healthy(host, 1, CONVERGENCE_TIMEOUT)?;
    host.wait_for("systemctl is-active --quiet firstboot", CONVERGENCE_TIMEOUT)?;
    ensure!(
        host.read("/etc/etcd/tls/server.crt")? == certificate,
        "the node has another certificate"
    );
    Ok(())
}

/// Returns the start of a certificate's validity, in ISO 8601.
fn valid_from(certificate: &str) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), certificate)?;
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "x509",
            "-noout",
            "-startdate",
            "-dateopt",
            "iso_8601",
            "-in",
        ])
        .arg(file.path());
    let said = process::run(&mut openssl)?.ok()?;
    let date = said
        .trim()
        .strip_prefix("notBefore=")
        .with_context(|| format!("openssl printed {said}"))?;
    Ok(date.replacen(' ', "T", 1))
}
