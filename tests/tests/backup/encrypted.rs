//! Tests snapshots that firstboot compresses and encrypts while it receives them from etcd.
//! firstboot writes these snapshots to a store or a folder. Other programs can read these
//! snapshots, and a restore can use them directly from the store.

mod https;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::process::{self, Output};
use tests::requirement::Requirement;
use tests::run;
use tests::s3::{Fault, S3};

use self::https::{KEY, from_a_server};
use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, far, fill, list, names};

const PROXY: &str = "10.101.15.1:9001";
const PLACE: &str = "s3://backups/etcd/";
const FILE: &str = "/root/a.db.zst.age";

pub(crate) fn trials() -> Vec<Trial> {
    let needs = [
        REQUIREMENTS,
        &[Requirement::Age, Requirement::Zstd, Requirement::Curl],
    ]
    .concat();
    vec![trial(
        "an_encrypted_snapshot_is_decrypted_with_its_key_and_restored_in_place",
        &needs,
        all,
    )]
}

/// Makes a key pair. Returns the path of the secret key's file on this machine, and the public key.
fn keys(name: &str) -> Result<(PathBuf, String)> {
    let file = run::current()?.folder("age")?.join(name);
    process::run(Command::new("age-keygen").arg("-o").arg(&file))?.ok()?;
    let public = process::run(Command::new("age-keygen").arg("-y").arg(&file))?.ok()?;
    Ok((file, public.trim().to_owned()))
}

fn all() -> Result<()> {
    let ((secret, one), (other, two)) = (keys("one")?, keys("two")?);
    let store =
        "destination = \"s3://backups/etcd\"\n[backup.s3]\nendpoint = \"http://10.101.15.1:9001\"";
    let mut bed = Bed::new(
        1,
        &format!(
            "{}\ncompress = true\nage = [\"{two}\", \"{one}\"]\n{store}",
            far()
        ),
    )?;
    let store = S3::start(bed.provisioning.network.world(), PROXY, "backups")?;
    bed.boot()?;
    let host = &bed.hosts[0];
    host.write(
        "/etc/firstboot/s3-keys",
        "AWS_ACCESS_KEY_ID=AKIATEST\nAWS_SECRET_ACCESS_KEY=hush\n",
        0o600,
    )?;
    fill(host, 12)?;
    etcdctl(host, "put answer 42")?;

    host.check(&["firstboot", "snapshot"])?;
    let listed = list(host, PLACE)?;
    let name = listed[0]["name"]
        .as_str()
        .context("the snapshot has no name")?
        .to_owned();
    ensure!(
        listed.len() == 1 && listed[0]["good"] == true && name.ends_with(".db.zst.age"),
        "{listed:?}"
    );
    ensure!(
        listed[0]["manifest"]["checked"][3] == "stored digest",
        "{listed:?}"
    );
    host.check(&["firstboot", "snapshot", "prune"])?;
    ensure!(
        names(host, "/var/backups/etcd")?.is_empty(),
        "the node still has an unencrypted snapshot"
    );

    into_a_folder(host, &secret)?;
    verified(host, &secret, &other)?;
    theirs(host, &one)?;
    interrupted(&bed, &store)?;
    from_the_store(&bed, &store, &name)?;
    from_a_server(&bed)
}

/// Checks that firstboot refuses a name with the wrong ending for an encrypted snapshot. Also
/// checks that other programs read exactly the content that the manifest describes.
fn into_a_folder(host: &Host, secret: &PathBuf) -> Result<()> {
    let open = host.run(&["firstboot", "snapshot", "/root/a.db"])?;
    ensure!(
        open.code() == 3
            && open
                .stderr
                .contains("a name that ends with .db.zst.age [snapshot-name]"),
        "{open:?}"
    );
    host.check(&["firstboot", "snapshot", FILE])?;
    let manifest: serde_json::Value = serde_json::from_str(&host.read(&format!("{FILE}.json"))?)?;
    let sum =
        |path: &str| -> Result<String> { Ok(host.check(&["sha256sum", path])?[..64].to_owned()) };
    ensure!(manifest["sha256"] == sum(FILE)?.as_str(), "{manifest}");
    let (stored, plain) = (host.path(FILE), host.path("/root/plain.db"));
    let compressed = run::current()?.folder("age")?.join("compressed");
    process::run(
        Command::new("age")
            .arg("-d")
            .arg("-i")
            .arg(secret)
            .arg("-o")
            .arg(&compressed)
            .arg(&stored),
    )?
    .ok()?;
    process::run(
        Command::new("zstd")
            .args(["-q", "-d", "-f"])
            .arg(&compressed)
            .arg("-o")
            .arg(&plain),
    )?
    .ok()?;
    ensure!(
        manifest["plain"]["sha256"] == sum("/root/plain.db")?.as_str(),
        "{manifest}"
    );
    ensure!(
        manifest["plain"]["size"] == plain.metadata()?.len()
            && manifest["size"] == stored.metadata()?.len()
    );
    // Compression makes random base64 text a quarter smaller.
    ensure!(
        stored.metadata()?.len() * 6 < plain.metadata()?.len() * 5,
        "{manifest}"
    );
    let status = host.check(&[
        "etcdutl",
        "snapshot",
        "status",
        "/root/plain.db",
        "-w",
        "json",
    ])?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    ensure!(
        status["revision"] == manifest["snapshot"]["revision"],
        "{status} {manifest}"
    );
    Ok(())
}

/// Checks that a snapshot can be verified only with a recipient's key, and only if it is undamaged.
fn verified(host: &Host, secret: &PathBuf, other: &PathBuf) -> Result<()> {
    // If firstboot cannot decrypt a snapshot, it does not report the snapshot as bad.
    let locked = |ran: Output, why: &str| -> Result<()> {
        ensure!(
            ran.code() == 1
                && ran.stderr.contains(why)
                && !ran.stderr.contains("not a good snapshot"),
            "{ran:?} / {why}"
        );
        Ok(())
    };
    locked(
        host.run(&["firstboot", "snapshot", "verify", FILE])?,
        "--identity",
    )?;
    host.write(KEY, fs::read(secret)?, 0o644)?;
    locked(verify(host, FILE, KEY)?, "chmod 600")?;
    fs::set_permissions(host.path(KEY), fs::Permissions::from_mode(0o600))?;
    let well = host.check(&[
        "firstboot",
        "snapshot",
        "verify",
        FILE,
        "--identity",
        KEY,
        "--boot",
    ])?;
    ensure!(well.contains("booted"), "{well}");
    // The second recipient's key decrypts the snapshot, but a third key does not.
    host.write("/root/second", fs::read(other)?, 0o600)?;
    verify(host, FILE, "/root/second")?.ok()?;
    host.write("/root/third", fs::read(keys("three")?.0)?, 0o600)?;
    locked(
        verify(host, FILE, "/root/third")?,
        "/root/third does not decrypt",
    )?;
    let restore = ["firstboot", "restore", FILE, "--identity", "/root/third"];
    refused_restore(host, &restore, "/root/third does not decrypt")?;
    refuses_damaged(host)?;
    let left = names(host, "/root")?;
    ensure!(!left.iter().any(|name| name.contains(".part")), "{left:?}");
    Ok(())
}

fn verify(host: &Host, path: &str, key: &str) -> Result<Output> {
    host.run(&["firstboot", "snapshot", "verify", path, "--identity", key])
}

/// Checks that firstboot refuses a truncated or altered snapshot.
fn refuses_damaged(host: &Host) -> Result<()> {
    let whole = fs::read(host.path(FILE))?;
    for damaged in [
        whole[..whole.len() - 1].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        flipped(&whole),
    ] {
        host.write("/root/damaged.db.zst.age", damaged, 0o600)?;
        let ran = verify(host, "/root/damaged.db.zst.age", KEY)?;
        ensure!(
            ran.code() == 3 && ran.stderr.contains("not a good snapshot") && ran.stdout.is_empty(),
            "{ran:?}"
        );
        let restore = [
            "firstboot",
            "restore",
            "/root/damaged.db.zst.age",
            "--identity",
            KEY,
        ];
        refused_restore(host, &restore, "not a good snapshot")?;
    }
    Ok(())
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

fn refused_restore(host: &Host, command: &[&str], why: &str) -> Result<()> {
    let ran = host.run(command)?;
    ensure!(
        ran.code() == 3 && ran.stderr.contains(why),
        "{ran:?} / {why}"
    );
    let left = names(host, "/var/lib/etcd")?;
    ensure!(!left.iter().any(|name| name == "aside"), "{left:?}");
    wait_healthy(host, 1, CONVERGENCE_TIMEOUT).map(drop)
}

/// Checks a snapshot that etcdctl took and the `age` program encrypted.
fn theirs(host: &Host, public: &str) -> Result<()> {
    etcdctl(host, "snapshot save /root/theirs.db")?;
    let (plain, sealed) = (
        host.path("/root/theirs.db"),
        host.path("/root/theirs.db.age"),
    );
    process::run(
        Command::new("age")
            .args(["-r", public, "-o"])
            .arg(&sealed)
            .arg(&plain),
    )?
    .ok()?;
    let read = host.check(&[
        "firstboot",
        "snapshot",
        "verify",
        "/root/theirs.db.age",
        "--identity",
        KEY,
    ])?;
    let direct = host.check(&["firstboot", "snapshot", "verify", "/root/theirs.db"])?;
    ensure!(read == direct, "{read}\n{direct}");
    Ok(())
}

/// Returns the number of unfinished uploads that the store lists.
fn unfinished(bed: &Bed) -> Result<usize> {
    let mut curl = bed.provisioning.network.world().command("curl");
    let said =
        process::run(curl.args(["-sSf", "-m", "30", "http://127.0.0.1:9000/backups?uploads"]))?
            .ok()?;
    Ok(said.matches("<Upload>").count())
}

/// Returns the numbers of unfinished uploads and of objects in the store.
fn stored(bed: &Bed) -> Result<(usize, usize)> {
    let mut curl = bed.provisioning.network.world().command("curl");
    let said =
        process::run(curl.args(["-sSf", "-m", "30", "http://127.0.0.1:9000/backups"]))?.ok()?;
    Ok((unfinished(bed)?, said.matches("<Key>").count()))
}

/// Checks that SIGINT and SIGTERM leave neither an object without its manifest nor parts of an
/// unfinished upload. Such parts cost money and appear in no list of objects. The test interrupts
/// firstboot while firstboot uploads the parts, and after the store has carried out a request but
/// before its answer arrives.
fn interrupted(bed: &Bed, store: &S3) -> Result<()> {
    let host = &bed.hosts[0];
    let before = stored(bed)?;
    let two = Duration::from_secs(2);
    let begun: fn((usize, usize), (usize, usize)) -> bool = |before, now| now.0 > before.0;
    let object: fn((usize, usize), (usize, usize)) -> bool = |before, now| now.1 > before.1;
    for (signal, code, fault, until) in [
        ("-INT", 130, Fault::Slow(two), begun),
        ("-TERM", 143, Fault::Slow(two), begun),
        // The delayed answer contains the upload's id.
        ("-INT", 130, Fault::SlowAnswer("?uploads", 2 * two), begun),
        // The object exists, but firstboot has not received the answer yet.
        (
            "-INT",
            130,
            Fault::SlowAnswer("POST /backups/etcd/", 2 * two),
            object,
        ),
        // The object exists, but its manifest does not exist.
        (
            "-TERM",
            143,
            Fault::SlowAnswer(".age.json", 2 * two),
            object,
        ),
    ] {
        store.fault(fault);
        let mut command = host.command(&["firstboot", "snapshot"])?;
        let child = command
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start firstboot")?;
        let end = Instant::now() + CONVERGENCE_TIMEOUT;
        while !until(before, stored(bed)?) {
            ensure!(Instant::now() < end, "nothing was stored");
            sleep(Duration::from_millis(20));
        }
        host.check(&["pkill", signal, "-x", "firstboot"])?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        store.clear_faults();
        ensure!(
            output.status.code() == Some(code) && !said.contains("could not"),
            "{fault:?}: {output:?}"
        );
        ensure!(
            stored(bed)? == before,
            "{fault:?}: {:?} are left, expected {before:?}",
            stored(bed)?
        );
    }
    ensure!(list(host, PLACE)?.len() == 1);
    Ok(())
}

/// Checks that firstboot does not restore a missing or altered snapshot. Also checks that firstboot
/// resumes the download if the connection breaks off during a restore.
fn from_the_store(bed: &Bed, store: &S3, name: &str) -> Result<()> {
    let host = &bed.hosts[0];
    etcdctl(host, "put answer 43")?;
    let url = format!("{PLACE}{name}");
    let restore = ["firstboot", "restore", &url, "--identity", KEY];
    refused_restore(
        host,
        &["firstboot", "restore", "s3://backups/etcd/none.db.age"],
        "[snapshot-not-found]",
    )?;
    refused_restore(host, &restore[..3], "--identity")?;
    store.fault(Fault::Flip);
    refused_restore(host, &restore, "has the digest")?;
    store.clear_faults();
    ensure!(etcdctl(host, "get answer --print-value-only")?.trim() == "43");
    store.fault(Fault::Half(2));
    let said = host.check(&restore)?;
    store.clear_faults();
    let again: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("resuming the download at byte "))
        .collect();
    ensure!(
        again.len() == 2 && !again.iter().any(|line| line.ends_with("at byte 0")),
        "{said}"
    );
    ensure!(etcdctl(host, "get answer --print-value-only")?.trim() == "42");
    ensure!(
        !host.path("/var/lib/etcd/restore").exists(),
        "the decrypted download is left on the node"
    );
    Ok(())
}
