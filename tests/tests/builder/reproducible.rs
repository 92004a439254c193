//! Tests that the same recipe produces the same image in a different folder, under a different
//! umask and with an empty cache, and that a different `SOURCE_DATE_EPOCH` produces a different
//! image.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::process::{self, Output};
use tests::requirement::Requirement;
use tests::server::FileServer;
use tests::{etcd, programs, run};

use crate::fixtures::{Fixture, Snapshot, builder, check_output, names, snapshot};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "upstreams_release_makes_the_same_image_twice",
            &[Requirement::Pip],
            upstream,
        ),
        trial("a_cold_cache_makes_the_same_image_as_a_warm_one", &[], cold),
        trial("only_another_date_makes_another_image", &[], date),
    ]
}

/// Runs a command under this umask in a folder, with a different time zone and language.
fn elsewhere(command: &Command, umask: &str, folder: &std::path::Path) -> Result<Output> {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("umask {umask} && exec \"$0\" \"$@\"")])
        .arg(command.get_program());
    shell.args(command.get_args()).current_dir(folder);
    shell
        .envs([("TZ", "Pacific/Kiritimati"), ("LC_ALL", "de_DE.UTF-8")])
        .env_remove("SOURCE_DATE_EPOCH");
    process::run(&mut shell)
}

/// Builds the demo's recipe with upstream's etcd and the real firstboot, as an operator would.
fn upstream() -> Result<()> {
    etcd::release("3.5.1")?;
    let server = FileServer::on_loopback(&etcd::mirror())?;
    let folder = run::current()?.folder("upstream")?;
    let build = |name: &str, umask: &str| -> Result<Output> {
        let own = folder.join(name);
        fs::create_dir(&own)?;
        fs::copy(programs::recipe("demo"), own.join("demo.toml"))?;
        let mut command = Command::new(programs::builder()?);
        // The paths are relative, so that both builds have the same arguments in different folders.
        command.args([
            "build",
            "demo.toml",
            "--pki",
            "../pki",
            "--cache",
            "../cache",
            "--mirror",
            &server.url(""),
        ]);
        elsewhere(&command, umask, &own)
    };
    let first = build("one", "022")?;
    check_output(
        &first,
        0,
        &[
            "its digest matches the recipe",
            "/pki/ca.crt: made",
            "nodes/etcd-3/client.crt: made",
        ],
    )?;
    let second = build("two", "077")?;
    check_output(&second, 0, &["from the cache"])?;
    ensure!(
        !second.stderr.contains("made"),
        "the second build issued certificates:\n{}",
        second.stderr
    );
    ensure!(
        server.requests().len() == 2,
        "more than SHA256SUMS and the tarball was requested"
    );

    // Modes are also compared: an operator's web server must be able to read an image even if the
    // operator's umask is 077.
    for part in ["image", "nodes"] {
        let [one, two] =
            ["one", "two"].map(|name| snapshot(&folder.join(name).join("out").join(part)));
        ensure!(one? == two?, "{part} differs");
    }
    check_output(
        &builder(&["verify"], &folder.join("two/out"))?,
        0,
        &["verified: every digest matches the manifest"],
    )?;
    let sums = Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(folder.join("one/out/image"))
        .output()
        .context("cannot start sha256sum")?;
    ensure!(sums.status.success(), "{sums:?}");
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn cold() -> Result<()> {
    let workshop = Fixture::new()?;
    elsewhere(&workshop.command()?, "077", &workshop.path("mirror"))?.ok()?;
    let first = snapshot(&workshop.out())?;
    workshop.built()?;
    ensure!(
        snapshot(&workshop.out().join("image"))? == snapshot_of(&first, "image/"),
        "a warm cache changes the image"
    );
    fs::remove_dir_all(workshop.path("cache/cache"))?;
    elsewhere(&workshop.command()?, "022", &workshop.path("cache"))?.ok()?;
    let again = snapshot(&workshop.out())?;
    for part in ["image/", "nodes/"] {
        ensure!(
            snapshot_of(&first, part) == snapshot_of(&again, part),
            "{part} differs"
        );
    }
    ensure!(
        names(&workshop.path("out"))? == ["out"],
        "{:?}",
        names(&workshop.path("out"))?
    );
    Ok(())
}

/// Returns the part of a snapshot that is below a folder.
fn snapshot_of(all: &Snapshot, prefix: &str) -> Snapshot {
    all.iter()
        .filter_map(|(name, about)| Some((name.strip_prefix(prefix)?.to_owned(), about.clone())))
        .collect()
}

fn date() -> Result<()> {
    let workshop = Fixture::warm()?;
    let at = |date: Option<&str>| -> Result<Snapshot> {
        let mut command = workshop.command()?;
        if let Some(date) = date {
            command.env("SOURCE_DATE_EPOCH", date);
        }
        process::run(&mut command)?.ok()?;
        snapshot(&workshop.out().join("image"))
    };
    let [recipes, one, two] = [None, Some("1700000000"), Some("1700000001")].map(at);
    let (recipes, one, two) = (recipes?, one?, two?);
    ensure!(
        recipes["overlay.tar.gz"] != one["overlay.tar.gz"],
        "the overlay does not contain the date"
    );
    ensure!(
        one["overlay.tar.gz"] != two["overlay.tar.gz"],
        "a date one second later makes the same overlay"
    );
    ensure!(
        at(Some("1700000000"))? == one,
        "the same date makes another image"
    );
    ensure!(
        at(None)? == recipes,
        "the recipe's date makes another image"
    );
    let mut command = workshop.command()?;
    command.env("SOURCE_DATE_EPOCH", "yesterday");
    check_output(
        &process::run(&mut command)?,
        1,
        &["SOURCE_DATE_EPOCH is `yesterday`", "seconds since 1970"],
    )?;
    ensure!(snapshot(&workshop.out().join("image"))? == recipes);
    Ok(())
}
