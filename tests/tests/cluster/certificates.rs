//! Tests a document for another cluster, and documents with a certificate that does not match its
//! key, lacks a name or has expired.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tests::harness::trial;

use crate::lifecycle::REQUIREMENTS;
use crate::refusal::{provisioned, refused, replace_document};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "certificates_that_would_not_work_are_refused",
        REQUIREMENTS,
        certificates,
    )]
}

fn certificates() -> Result<()> {
    let ours = provisioned()?;
    let mut host = ours.machine("etcd-1")?;
    ours.install(&mut host)?;
    let good = ours.document("etcd-1")?;
    let mut try_one = |change: &dyn Fn(&mut Value) -> Result<()>, expected: &str| -> Result<()> {
        let mut document = good.clone();
        change(&mut document)?;
        replace_document(&host, &ours.sign(&document)?)?;
        refused(&mut host, expected)
    };
    try_one(
        &|it| put(it, "/cluster", "other"),
        "it is for the cluster other, but this image is for demo",
    )?;
    let key = good["tls"]["server"]["key"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    try_one(
        &|it| put(it, "/tls/peer/key", &key),
        "the peer certificate of etcd-1 cannot be used: its key does not match",
    )?;

    let ca = fs::read_to_string(ours.pki().join("ca.crt"))?;
    let ca_key = fs::read_to_string(ours.pki().join("ca.key"))?;
    let names = [
        "etcd-1",
        "etcd-1.cluster.local",
        "10.101.15.101",
        "127.0.0.1",
        "localhost",
    ];
    let (cert, key) = issue(&ca, &ca_key, &names[..4], 2035)?;
    let replace = |it: &mut Value| {
        put(it, "/tls/server/cert", &cert).and_then(|()| put(it, "/tls/server/key", &key))
    };
    try_one(
        &replace,
        "localhost is not among its subject alternative names",
    )?;

    let (cert, key) = issue(&ca, &ca_key, &names, 2024)?;
    let mut expired = good.clone();
    put(&mut expired, "/tls/server/cert", &cert)?;
    put(&mut expired, "/tls/server/key", &key)?;
    replace_document(&host, &ours.sign(&expired)?)?;
    host.boot()?;
    // firstboot tries again, because the clock may be wrong.
    for words in ["it expired on 2024-01-01", "Scheduled restart job"] {
        let said = format!("journalctl --no-pager -u firstboot | grep -qiF '{words}'");
        host.wait_for(&said, Duration::from_secs(180))?;
    }
    let etcd = host.run(&["systemctl", "is-active", "etcd"])?.stdout;
    ensure!(etcd.trim() == "inactive", "etcd is {etcd}");
    ensure!(
        !host.path("/etc/etcd/tls/server.key").exists(),
        "a refused document's key was installed"
    );
    Ok(())
}

fn put(document: &mut Value, place: &str, text: &str) -> Result<()> {
    *document
        .pointer_mut(place)
        .with_context(|| format!("no {place}"))? = text.into();
    Ok(())
}

/// Issues a certificate from the cluster's own CA, valid for these names until 1 January of a year.
fn issue(ca: &str, ca_key: &str, names: &[&str], until: i32) -> Result<(String, String)> {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
    let issuer = Issuer::from_ca_cert_pem(ca, KeyPair::from_pem(ca_key)?)?;
    let mut params =
        CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    params.not_before = date_time_ymd(2023, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
}
