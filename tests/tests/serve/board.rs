//! Tests the board of `builder serve` from a machine that is not the server.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use tests::cluster::Provisioning;
use tests::network::Link;
use tests::{programs, run};

use crate::bed::{SERVER, allow, connect, curl, expect, read_all};

pub(crate) const TOKEN: &str = "b3a1f9c0d4e57788";
/// `any:TOKEN` in base64.
const BASIC: &str = "YW55OmIzYTFmOWMwZDRlNTc3ODg=";

/// Writes the token into a file for `--board-token`, and returns its path.
pub(crate) fn token() -> Result<String> {
    let path = run::current()?.folder("board")?.join("token");
    fs::write(&path, format!("{TOKEN}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Checks that the board shows this text, and refuses access without the token.
pub(crate) fn shows(from: &Link, text: &str) -> Result<()> {
    let from = &from.namespace;
    for page in ["board", "board/events", "board/board.js", "metrics"] {
        expect(from, page, 401, "[board-token]")?;
    }
    let url = |page: &str| format!("http://{SERVER}/{page}");
    let (status, page) = curl(from, &["--user", &format!("any:{TOKEN}")], &url("board"))?;
    ensure!(
        status == 200 && page.contains(text) && page.contains("<h1>Cluster demo</h1>"),
        "expected `{text}`, got {status}: {page}"
    );
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let (status, metrics) = curl(from, &["--header", &bearer], &url("metrics"))?;
    ensure!(
        status == 200 && metrics.contains("etcd_image_machine_stage{machine=\"etcd-1\","),
        "{status}: {metrics}"
    );
    let (status, _) = curl(from, &["--header", &bearer, "--data", "x=1"], &url("board"))?;
    ensure!(status == 405, "the board accepts a write: {status}");
    Ok(())
}

/// Checks that the board sends a change to an open page.
pub(crate) fn follows(from: &Link, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut stream = connect(&from.namespace)?;
    let request = format!(
        "GET /board/events HTTP/1.1\r\nHost: {SERVER}\r\nAuthorization: Basic {BASIC}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let first = read_all(&mut stream, Duration::from_secs(5))?;
    let (head, events) = first
        .split_once("\r\n\r\n")
        .context("the answer has no complete head")?;
    ensure!(
        head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"),
        "{first}"
    );
    ensure!(events.contains("data: \""), "no first event: {first}");
    change()?;
    let next = read_all(&mut stream, Duration::from_secs(5))?;
    ensure!(next.contains("data: \""), "no event after a change: {next}");
    Ok(())
}

/// Checks that the board accepts only valid client certificates of the cluster's CA, over HTTPS,
/// and that the image can be fetched without such a certificate.
pub(crate) fn opens_to_certificates(ours: &Provisioning, from: &Link, ca: &str) -> Result<()> {
    let folder = run::current()?.folder("board")?;
    let issue = |pki: &str, name: &str, more: &[&str]| -> Result<[String; 2]> {
        let out = folder.join(name).to_string_lossy().into_owned();
        let words = ["pki", "client", name, "--pki", pki, "--out", &out];
        programs::run_builder(&[&words, more].concat())?.ok()?;
        Ok(["client.crt", "client.key"].map(|file| format!("{out}/{file}")))
    };
    let get = |page: &str, pair: Option<&[String; 2]>| -> Result<(u16, String)> {
        let to = format!("etcd-1:443:{SERVER}");
        let mut options = vec!["--cacert", ca, "--connect-to", &to];
        if let Some([cert, key]) = pair {
            options.extend(["--cert", cert, "--key", key]);
        }
        curl(&from.namespace, &options, &format!("https://etcd-1/{page}"))
    };
    let refused = |pair: Option<&[String; 2]>, why: &str| -> Result<()> {
        for page in ["board", "board/events", "metrics"] {
            let (status, text) = get(page, pair)?;
            ensure!(
                status == 403 && text.contains(why) && text.contains("[board-certificate]"),
                "{page}: expected `{why}`, got {status}: {text}"
            );
        }
        // Only the board requires a certificate. The image is public.
        let (status, text) = get("image/SHA256SUMS", pair)?;
        ensure!(status == 200, "{status}: {text}");
        Ok(())
    };
    let pki = ours.pki().to_string_lossy().into_owned();
    let alice = issue(&pki, "alice", &[])?;
    let (status, page) = get("board", Some(&alice))?;
    ensure!(
        status == 200 && page.contains("<h1>Cluster demo</h1>"),
        "{status}: {page}"
    );
    ensure!(get("metrics", Some(&alice))?.0 == 200, "no metrics");

    refused(None, "the client did not present a certificate")?;
    let peer = ["peer.crt", "peer.key"].map(|file| format!("{pki}/nodes/etcd-1/{file}"));
    refused(Some(&peer), "so it belongs to a node")?;
    let [stranger, expired] = strangers(&folder, &pki)?;
    refused(Some(&stranger), "the certificate is not signed by a CA")?;
    refused(Some(&expired), "the certificate has expired")
}

/// Makes a self-signed client certificate, and an expired client certificate from the cluster's CA.
fn strangers(folder: &Path, pki: &str) -> Result<[[String; 2]; 2]> {
    let make = |name: &str, ca: Option<&Issuer<'_, KeyPair>>| -> Result<[String; 2]> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let made = if let Some(ca) = ca {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 2);
            params.signed_by(&key, ca)?
        } else {
            params.self_signed(&key)?
        };
        let [cert_path, key_path] = ["crt", "key"].map(|end| folder.join(format!("{name}.{end}")));
        fs::write(&cert_path, made.pem())?;
        fs::write(&key_path, key.serialize_pem())?;
        Ok([cert_path, key_path].map(|path| path.to_string_lossy().into_owned()))
    };
    let key = KeyPair::from_pem(&fs::read_to_string(format!("{pki}/ca.key"))?)?;
    let ca = Issuer::from_ca_cert_pem(&fs::read_to_string(format!("{pki}/ca.crt"))?, key)?;
    Ok([make("stranger", None)?, make("expired", Some(&ca))?])
}

/// Writes a program for `--power` that records its arguments, and that fails to boot etcd-2 from
/// the network. Returns the paths of the program and of the record.
pub(crate) fn power() -> Result<[String; 2]> {
    let folder = run::current()?.folder("power")?;
    let [program, notes] = ["power", "notes"].map(|name| folder.join(name));
    let text = format!(
        "#!/bin/sh\necho \"$#:$1:$2\" >>{}\n[ \"$1 $2\" != 'etcd-2 netboot' ] || {{ echo 'no route to the BMC' >&2; exit 1; }}\n",
        notes.display()
    );
    fs::write(&program, text)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
    fs::write(&notes, "")?;
    Ok([program, notes].map(|path| path.to_string_lossy().into_owned()))
}

/// Allows the installation of two machines. The server boots one machine from the network. The
/// management controller of the other machine does not answer, which the board shows.
pub(crate) fn switches(ours: &Provisioning, from: &Link, notes: &str) -> Result<()> {
    // Empty the record of power commands, because the server has already booted the machine from
    // the network after an earlier failed attempt.
    fs::write(notes, "")?;
    allow(ours, &["etcd-1", "etcd-2", "--install"])?;
    let expected = ["2:etcd-1:cycle", "2:etcd-1:netboot", "2:etcd-2:netboot"];
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let said = fs::read_to_string(notes)?;
        let mut calls: Vec<&str> = said.lines().collect();
        calls.sort_unstable();
        if calls == expected {
            break;
        }
        ensure!(Instant::now() < end, "expected {expected:?}, got {calls:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    for text in [
        "power: `netboot` and `cycle` succeeded, ",
        "power failed</span> netboot failed: the command failed (exit status: 1): no route to the BMC, ",
    ] {
        shows(from, text)?;
    }
    Ok(())
}
