//! Tests whether the server installs machines from a copy of the output, with or without the record
//! of installations, and from the output of a new build.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Result, ensure};
use tests::cluster::Provisioning;
use tests::network::Link;
use tests::{process, programs};

use super::machine::{TREE, expect_report, script};
use crate::bed::{
    SERVER, Server, allow, built, by_card, document_of, expect, installs, recipe_with,
};

pub(super) fn elsewhere() -> Result<()> {
    let ours = built()?;
    damaged_record_permits_nothing(&ours)?;
    let one = ours.network.add("etcd-1")?;
    let two = ours.network.add("etcd-2")?;
    let server = Server::start(&ours, TREE)?;
    let sent = script(&one)?;
    expect_report(&one.namespace, &sent, "installed", 200, "recorded")?;
    drop(server);
    let again = allow(&ours, &["--all", "--install"])?;
    ensure!(
        again.matches("unchanged, because it has a record").count() == 3,
        "{again}"
    );

    // A server for a copy of the output at a different location uses the first output's record.
    let state = ours
        .out()
        .with_file_name("out.state")
        .to_string_lossy()
        .into_owned();
    let other = ours.out().with_file_name("other");
    process::check(
        "cp",
        &[
            "-a",
            &ours.out().to_string_lossy(),
            &other.to_string_lossy(),
        ],
    )?;
    let options = [&["--listen", SERVER, "--state", &state], TREE].concat();
    let server = Server::serve(&ours, &other, &options)?;
    ensure!(
        !installs(&script(&one)?),
        "a server for a copy of the output reinstalls the machine"
    );
    ensure!(installs(&script(&two)?), "a new machine is not installed");
    drop(server);

    // The next server runs on a different host, which has only the output.
    let server = Server::serve(&ours, &other, &[&["--listen", SERVER], TREE].concat())?;
    server.wait_for_output("is not the record that the cluster's first build created")?;
    for machine in [&one, &two] {
        let left = script(machine)?;
        ensure!(
            !installs(&left) && left.contains("--install"),
            "a server without a record installs: {left}"
        );
        expect(
            &machine.namespace,
            &document_of(&machine.mac),
            403,
            "[no-record]",
        )?;
    }
    obey_orders(&other, &one, &two)
}

/// Checks that `builder allow --all` permits no installation if the record of one node is damaged.
fn damaged_record_permits_nothing(ours: &Provisioning) -> Result<()> {
    let records = ours.out().with_file_name("out.state").join("demo");
    let (one, two) = (
        records.join("etcd-1/install.json"),
        records.join("etcd-2/install.json"),
    );
    let before = fs::read(&two)?;
    fs::remove_file(&one)?;
    fs::write(&two, "{")?;
    let refused = allow(ours, &["--all", "--install"]);
    ensure!(refused.is_err(), "a damaged record is ignored: {refused:?}");
    ensure!(!one.exists(), "the failed command permits an installation");
    fs::write(&two, before)?;
    allow(ours, &["--all", "--install"])?;
    ensure!(one.exists(), "the command permits no installation");
    Ok(())
}

/// Checks that the permission for one machine does not apply to another machine, and that
/// permission for a document does not allow an installation.
fn obey_orders(other: &Path, one: &Link, two: &Link) -> Result<()> {
    let out = other.to_string_lossy().into_owned();
    let allowed =
        |words: &[&str]| programs::run_builder(&[&["allow", "--out", &out], words].concat());
    allowed(&["etcd-1", "--document"])?.ok()?;
    expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
    ensure!(
        !installs(&script(one)?),
        "permission for a document also allows an installation"
    );
    let all = allowed(&["--all", "--install"])?;
    ensure!(
        all.code() == 1
            && all
                .stderr
                .contains("name each machine whose disk may be erased"),
        "without the record, all machines may be installed: {all:?}"
    );
    for machine in [one, two] {
        ensure!(
            !installs(&script(machine)?),
            "a refused command allows an installation"
        );
    }
    allowed(&["etcd-2", "--install"])?.ok()?;
    ensure!(
        installs(&script(two)?),
        "the server ignores the operator's permission"
    );
    ensure!(
        !installs(&script(one)?),
        "permission for one machine also applies to another machine"
    );
    let wrong = allowed(&["etcd-9", "--install"])?;
    ensure!(
        wrong.code() == 1 && wrong.stderr.contains("etcd-9 is not a node of"),
        "{wrong:?}"
    );
    ensure!(
        allowed(&["etcd-1"])?.code() == 2,
        "`builder allow` accepts a command without a permission"
    );
    ensure!(
        !fs::exists(other.with_file_name("other.state").join("demo/first-build"))?,
        "`builder allow` created the file first-build"
    );
    Ok(())
}

/// Tests a first build with a different `--out`, or on a different host that has the recipe but not
/// the PKI.
pub(super) fn another_build() -> Result<()> {
    let ours = built()?;
    let other = ours.out().with_file_name("other");
    // image/ is public even if the operator's umask is strict.
    let mut build = ours.network.world().command("sh");
    build
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(programs::builder()?)
        .arg("build")
        .arg(recipe_with(by_card)?);
    build
        .arg("--cache")
        .arg(ours.builder_cache())
        .arg("--out")
        .arg(&other);
    process::run(&mut build)?.ok()?;
    for (path, mode) in [
        (".", 0o755),
        ("image", 0o755),
        ("image/centos7.ks", 0o644),
        ("nodes", 0o700),
        ("nodes/etcd-1/node.json", 0o600),
    ] {
        let found = fs::metadata(other.join(path))?.permissions().mode() & 0o777;
        ensure!(found == mode, "{path} has the mode {found:o}");
    }
    let one = ours.network.add("etcd-1")?;
    let server = Server::serve(&ours, &other, &[&["--listen", SERVER], TREE].concat())?;
    server.wait_for_output(
        "not installed until you run `builder allow --all --install`, which erases their disks: etcd-1, etcd-2, etcd-3",
    )?;
    let left = script(&one)?;
    ensure!(
        !installs(&left) && left.contains("builder allow etcd-1 --install"),
        "a build reinstalls a running machine: {left}"
    );
    server.wait_for_output("[no-record]")?;
    // This build also created the keys, so no other server can have handed out these documents.
    expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
    Ok(())
}
