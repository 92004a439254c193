//! Tests CAs and certificates that the operator supplies.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::etcd;
use tests::harness::trial;
use tests::{process, programs};

use crate::fixtures::{Fixture, builder, check_output, names, snapshot};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_ca_named_in_the_recipe_signs_the_certificates",
            &[],
            authority,
        ),
        trial("provided_certificates_are_used_unchanged", &[], ready),
        trial(
            "provided_certificates_do_not_count_as_an_earlier_build",
            &[],
            first,
        ),
        trial("a_lost_ca_is_never_replaced_by_a_new_ca", &[], lost),
        trial("two_clusters_cannot_share_a_pki_folder", &[], two_clusters),
    ]
}

/// Writes a recipe that pins the release on the mirror.
fn pinned(workshop: &Fixture, more: &str) -> Result<()> {
    workshop.write_recipe(&etcd::sha256(&workshop.tarball())?, more)
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::copy(from, to)?;
    Ok(fs::set_permissions(to, Permissions::from_mode(mode))?)
}

fn authority() -> Result<()> {
    // The builder also accepts a CA that another cluster uses.
    let other = Fixture::warm()?;
    other.built()?;
    let workshop = Fixture::warm()?;
    let (cert, key) = (workshop.path("our-ca.crt"), workshop.path("our-ca.key"));
    pinned(
        &workshop,
        "\n[tls]\nca-cert = \"our-ca.crt\"\nca-key = \"our-ca.key\"\n",
    )?;
    // `builder check` also opens the files of the CA, and a refused build leaves no folder behind.
    let refused = |words: &[&str]| -> Result<()> {
        let words = [&["recipe.toml:"], words].concat();
        check_output(
            &builder(&["check"], &workshop.path("recipe.toml"))?,
            3,
            &words,
        )?;
        check_output(&workshop.build(&[])?, 3, &words)?;
        let left = [names(&workshop.path("pki"))?, names(&workshop.path("out"))?];
        ensure!(left.iter().all(Vec::is_empty), "left behind: {left:?}");
        Ok(())
    };
    refused(&[
        "our-ca.crt",
        "is missing",
        "put the certificate into this file, in PEM",
    ])?;
    copy(&other.pki().join("ca.crt"), &cert, 0o644)?;
    refused(&["our-ca.key", "is missing", ":38:10"])?;
    copy(&other.pki().join("ca.key"), &key, 0o644)?;
    refused(&["our-ca.key", "its mode is 0644", "chmod 600"])?;
    copy(&other.pki().join("nodes/etcd-1/peer.key"), &key, 0o600)?;
    refused(&["our-ca.key", "it is not the key of", "that match"])?;
    copy(&other.pki().join("nodes/etcd-1/peer.crt"), &cert, 0o644)?;
    refused(&[
        "our-ca.crt",
        "is not a CA certificate; expected CA:TRUE and keyCertSign",
    ])?;
    copy(&other.pki().join("ca.crt"), &cert, 0o644)?;
    copy(&other.pki().join("ca.key"), &key, 0o600)?;
    workshop.built()?;
    ensure!(
        fs::read(workshop.pki().join("ca.crt"))? == fs::read(&cert)?,
        "the PKI folder contains another CA"
    );
    ensure!(
        !workshop.pki().join("ca.key").exists(),
        "the operator's key was copied"
    );
    check_output(
        &builder(&["pki", "show"], &workshop.pki())?,
        0,
        &["nodes/etcd-1/server.crt", "localhost"],
    )?;

    keeps_its_own_ca(&workshop, &other)?;
    Ok(())
}

/// Checks that the builder refuses a provided CA if the PKI folder has its own CA.
fn keeps_its_own_ca(workshop: &Fixture, other: &Fixture) -> Result<()> {
    let own = snapshot(&other.pki())?;
    for name in ["our-ca.crt", "our-ca.key"] {
        fs::copy(workshop.path(name), other.path(name))?;
    }
    pinned(
        other,
        "\n[tls]\nca-cert = \"our-ca.crt\"\nca-key = \"our-ca.key\"\n",
    )?;
    check_output(
        &other.build(&[])?,
        1,
        &["the folder has its own CA", "name another PKI folder"],
    )?;
    ensure!(snapshot(&other.pki())? == own);
    Ok(())
}

fn ready() -> Result<()> {
    let workshop = Fixture::warm()?;
    workshop.built()?;
    fs::remove_file(workshop.pki().join("ca.key"))?;
    let before = snapshot(&workshop.path("pki"))?;
    let nodes = snapshot(&workshop.out().join("nodes"))?;
    workshop.built()?;
    ensure!(
        snapshot(&workshop.path("pki"))? == before,
        "existing certificates were changed"
    );
    ensure!(snapshot(&workshop.out().join("nodes"))? == nodes);

    // If a certificate does not match its node, or its private key is missing, the builder stops
    // and names the certificate.
    let recipe = fs::read_to_string(workshop.path("recipe.toml"))?;
    fs::write(
        workshop.path("recipe.toml"),
        recipe.replace("10.101.15.103", "10.101.15.104"),
    )?;
    check_output(
        &workshop.build(&[])?,
        1,
        &[
            "nodes/etcd-3/server.crt",
            "SANs lack IP:10.101.15.104",
            "or add ca.key",
        ],
    )?;
    fs::write(workshop.path("recipe.toml"), &recipe)?;
    let peer = workshop.pki().join("nodes/etcd-2/peer.key");
    fs::rename(&peer, workshop.path("aside"))?;
    check_output(
        &workshop.build(&[])?,
        1,
        &["nodes/etcd-2/peer.crt", "its private key is missing"],
    )?;
    fs::rename(workshop.path("aside"), &peer)?;
    names_bad_certificates(&workshop)?;
    ensure!(
        snapshot(&workshop.out().join("nodes"))? == nodes,
        "a refused build changed the output"
    );
    Ok(())
}

fn names_bad_certificates(workshop: &Fixture) -> Result<()> {
    fs::copy(
        workshop.pki().join("nodes/etcd-1/client.key"),
        workshop.pki().join("nodes/etcd-1/server.key"),
    )?;
    check_output(
        &workshop.build(&[])?,
        1,
        &[
            "nodes/etcd-1/server.crt",
            "it does not match the private key in the same folder",
        ],
    )?;
    fs::write(
        workshop.pki().join("nodes/etcd-1/server.crt"),
        include_str!("expired.crt"),
    )?;
    check_output(
        &workshop.build(&[])?,
        1,
        &[
            "nodes/etcd-1/server.crt",
            "it expired on 2021-01-01T00:00:00Z",
        ],
    )?;
    Ok(())
}

/// Checks that the first build creates the record of installations, even if the operator has
/// already put files into the PKI folder. A second build must not create a deleted record again.
fn first() -> Result<()> {
    let other = Fixture::warm()?;
    other.built()?;
    for brought in [&["ca.crt", "nodes"][..], &["ca.crt", "ca.key", "nodes"]] {
        let workshop = Fixture::warm()?;
        process::check("mkdir", &["-m", "0700", &workshop.pki().to_string_lossy()])?;
        for name in brought {
            let [from, to] = [other.pki().join(name), workshop.pki().join(name)];
            process::check(
                "cp",
                &["-a", &from.to_string_lossy(), &to.to_string_lossy()],
            )?;
        }
        let record = workshop.path("pki/pki.state/demo/first-build");
        check_output(
            &workshop.build(&[])?,
            0,
            &["pki.state/demo: created; `builder serve` records installations there"],
        )?;
        ensure!(
            record.is_file(),
            "the first build with {brought:?} does not start a record"
        );
        let begun = fs::read(&record)?;
        fs::remove_dir_all(workshop.path("pki/pki.state"))?;
        let again = workshop.build(&[])?;
        ensure!(again.success(), "{again:?}");
        ensure!(
            !record.exists() && !again.stderr.contains("pki.state"),
            "the second build starts a record: {again:?}"
        );
        ensure!(!begun.is_empty(), "the file first-build is empty");
    }
    Ok(())
}

fn lost() -> Result<()> {
    let workshop = Fixture::warm()?;
    workshop.built()?;
    let out = snapshot(&workshop.out())?;
    for name in ["ca.crt", "ca.key"] {
        fs::rename(workshop.pki().join(name), workshop.path(name))?;
    }
    check_output(
        &workshop.build(&[])?,
        1,
        &[
            "ca.key",
            "it is missing, but the folder has been used to sign",
            "restore ca.crt and ca.key",
        ],
    )?;
    for name in ["ca.crt", "ca.key"] {
        fs::rename(workshop.path(name), workshop.pki().join(name))?;
    }
    fs::rename(
        workshop.pki().join("signing.key"),
        workshop.path("signing.key"),
    )?;
    check_output(
        &workshop.build(&[])?,
        1,
        &[
            "signing.key",
            "but images trust its public half",
            "restore it from a backup",
        ],
    )?;
    fs::rename(
        workshop.path("signing.key"),
        workshop.pki().join("signing.key"),
    )?;
    fs::set_permissions(workshop.pki(), Permissions::from_mode(0o777))?;
    check_output(&workshop.build(&[])?, 1, &["its mode is 0777", "chmod 755"])?;
    fs::set_permissions(workshop.pki(), Permissions::from_mode(0o700))?;
    workshop.built()?;
    ensure!(snapshot(&workshop.out())? == out);
    Ok(())
}

/// Two clusters must not share a PKI folder, because a client certificate of one cluster would have
/// root's rights in the other cluster. A build of one cluster must not overwrite the output of the
/// other cluster.
fn two_clusters() -> Result<()> {
    let workshop = Fixture::warm()?;
    workshop.built()?;
    let before = [snapshot(&workshop.pki())?, snapshot(&workshop.out())?];
    let unchanged = || -> Result<()> {
        ensure!(
            [snapshot(&workshop.pki())?, snapshot(&workshop.out())?] == before,
            "a refused build changed something"
        );
        Ok(())
    };
    let dev = fs::read_to_string(workshop.path("recipe.toml"))?;
    let prod = dev
        .replace("name = \"demo\"", "name = \"prod\"")
        .replace("name = \"etcd-", "name = \"prod-");
    let moved = dev.replace("10.101.15.", "10.101.16.");
    for other in [&prod, &moved] {
        fs::write(workshop.path("recipe.toml"), other)?;
        check_output(
            &workshop.build(&[])?,
            1,
            &[
                "this PKI folder belongs to the cluster `demo`",
                "name another folder with --pki",
            ],
        )?;
        unchanged()?;
    }
    fs::write(workshop.path("recipe.toml"), &prod)?;
    let own = || -> Result<Command> {
        let mut command = Command::new(programs::builder()?);
        command
            .arg("build")
            .arg(workshop.path("recipe.toml"))
            .arg("--out")
            .arg(workshop.out());
        command
            .arg("--pki")
            .arg(workshop.path("pki/prod"))
            .arg("--cache")
            .arg(workshop.cache());
        command.arg("--firstboot").arg(workshop.path("firstboot"));
        Ok(command)
    };
    let words = [
        "it was built with another PKI folder, from recipe.toml",
        "has none yet",
        "--replace",
    ];
    check_output(&process::run(&mut own()?)?, 1, &words)?;
    unchanged()?;
    ensure!(
        names(&workshop.path("pki"))? == ["pki", "pki.state"],
        "keys were made for a refused output"
    );
    process::run(own()?.arg("--replace"))?.ok()?;
    ensure!(names(&workshop.out().join("nodes"))? == ["prod-1", "prod-2", "prod-3"]);
    ensure!(snapshot(&workshop.pki())? == before[0]);
    // The operator needs to pass `--replace` only once.
    process::run(&mut own()?)?.ok()?;

    is_assigned(&workshop, &moved)
}

/// Checks that a cluster with different addresses keeps its PKI folder if the operator assigns the
/// folder to the cluster.
fn is_assigned(workshop: &Fixture, moved: &str) -> Result<()> {
    fs::write(workshop.path("recipe.toml"), moved)?;
    let recipe = workshop.path("recipe.toml").display().to_string();
    let mut assign = Command::new(programs::builder()?);
    assign
        .args(["pki", "assign"])
        .arg(workshop.pki())
        .arg(&recipe);
    check_output(
        &process::run(&mut assign)?,
        0,
        &["cluster.json", "the old file is"],
    )?;
    workshop.build(&["--replace"])?.ok().map(drop)
}
