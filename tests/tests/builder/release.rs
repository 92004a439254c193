//! Tests bad releases, and mirrors that misbehave.

mod contents;

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::server::{Fault, FileServer};

use crate::fake_release::{self, SUMS, TARBALL};
use crate::fixtures::{Fixture, check_output, flip, names};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_truncated_release_or_one_with_a_flipped_byte_is_refused",
            &[],
            damaged,
        ),
        trial(
            "digests_that_disagree_stop_the_build_and_name_the_source",
            &[],
            sums_disagree,
        ),
        trial(
            "the_contents_of_a_release_are_checked",
            &[],
            contents::inside,
        ),
        trial("an_interrupted_download_is_resumed", &[], resumed),
        trial("the_next_mirror_or_attempt_succeeds", &[], next),
        trial(
            "without_a_network_the_error_names_the_attempts_and_the_remedy",
            &[],
            no_network,
        ),
        trial("offline_uses_only_the_cache", &[], offline),
        trial("a_release_from_a_file_is_also_verified", &[], by_hand),
        trial("a_damaged_cache_is_repaired", &[], damaged_cache),
    ]
}

fn damaged() -> Result<()> {
    let workshop = Fixture::new()?;
    let size = fs::metadata(workshop.tarball())?.len();
    for at in [0, size / 2, size - 1] {
        workshop.server.fault(TARBALL, Fault::FlipByte(at));
        workshop.refused(
            &[],
            &[
                "no mirror provided etcd 3.5.99",
                "wrong digest: expected",
                "found",
                "--release FILE",
            ],
        )?;
        workshop.server.clear_faults(TARBALL);
    }
    // The mirror's own file is truncated, so the announced length is right, but the digest is
    // wrong.
    let bytes = fs::read(workshop.tarball())?;
    fs::write(workshop.tarball(), &bytes[..bytes.len() / 2])?;
    workshop.refused(&[], &["wrong digest"])?;
    ensure!(
        names(&workshop.path("pki"))?.is_empty(),
        "keys were made for a build that failed"
    );
    // The mirror's tarball is good again, and files that remain from the bad tarballs are harmless.
    fs::write(workshop.tarball(), bytes)?;
    workshop.built()
}

fn sums_disagree() -> Result<()> {
    let workshop = Fixture::new()?;
    fake_release::sums(&workshop.path("mirror"), &"0".repeat(64))?;
    let words = [
        "disagree",
        "the recipe and SHA256SUMS differ",
        "the release was not used",
        "compare [etcd]",
    ];
    let ran = workshop.refused(&[], &words)?;
    check_output(&ran, 1, &[&"0".repeat(64), &workshop.server.url(SUMS)])?;
    ensure!(
        workshop.server.requests_for(TARBALL).is_empty(),
        "the tarball was still fetched"
    );

    // The builder's own table contains the version, and the recipe has a different digest for that
    // version. The builder makes no network request.
    let recipe = fs::read_to_string(workshop.path("recipe.toml"))?.replace("3.5.99", "3.6.14");
    fs::write(workshop.path("recipe.toml"), recipe)?;
    let before = workshop.server.requests().len();
    let words = [
        "`sha256` is not the digest that upstream publishes for etcd 3.6.14",
        "write sha256 = \"ffe840ff",
        "nothing was built",
    ];
    check_output(&workshop.build(&[])?, 3, &words)?;
    ensure!(workshop.server.requests().len() == before && names(&workshop.path("out"))?.is_empty());
    Ok(())
}

fn resumed() -> Result<()> {
    let workshop = Fixture::new()?;
    workshop
        .server
        .fault(TARBALL, Fault::CutOnceAfter(1_000_000));
    check_output(
        &workshop.build(&[])?,
        0,
        &["interrupted after 1000000 bytes", "trying again"],
    )?;
    let requests = workshop.server.requests_for(TARBALL);
    let ranges: Vec<_> = requests
        .iter()
        .map(|request| request.header("range"))
        .collect();
    ensure!(ranges == [None, Some("bytes=1000000-")], "{ranges:?}");
    // The next build makes no requests.
    let before = workshop.server.requests().len();
    check_output(&workshop.build(&[])?, 0, &["release: from the cache"])?;
    ensure!(workshop.server.requests().len() == before);
    Ok(())
}

fn next() -> Result<()> {
    let workshop = Fixture::new()?;
    let empty = tempfile::tempdir()?;
    let first = FileServer::on_loopback(empty.path())?;
    let mirrors = [
        "--mirror",
        &first.url(""),
        "--mirror",
        &workshop.server.url(""),
    ];
    check_output(
        &workshop.build(&mirrors)?,
        0,
        &[
            "HTTP status 404",
            &first.url(TARBALL),
            "its digest matches the recipe",
        ],
    )?;
    ensure!(
        first.requests_for(TARBALL).len() == 1,
        "the builder must request the tarball once from the first mirror, which does not have it"
    );

    let workshop = Fixture::new()?;
    workshop.server.fault(TARBALL, Fault::StatusTimes(500, 1));
    check_output(&workshop.build(&[])?, 0, &["HTTP status 500; trying again"])?;
    ensure!(workshop.server.requests_for(TARBALL).len() == 2);
    // A mirror without SHA256SUMS is reported, but the build does not fail.
    let workshop = Fixture::new()?;
    workshop.server.fault(SUMS, Fault::Status(404));
    check_output(&workshop.build(&[])?, 0, &["SHA256SUMS: HTTP status 404"])
}

fn no_network() -> Result<()> {
    let workshop = Fixture::new()?;
    // The port was free a moment ago, so probably no program listens on it.
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let url = format!("http://{nobody}/");
    let words = [
        "no mirror provided etcd 3.5.99",
        &url,
        "Connection refused",
        "check the network",
        "--release FILE",
    ];
    workshop.refused(&["--mirror", &url], &words)?;
    let unknown = "http://mirror.invalid/";
    workshop.refused(
        &["--mirror", unknown],
        &["no mirror provided etcd", unknown, "check the network"],
    )?;
    ensure!(names(&workshop.path("pki"))?.is_empty());
    Ok(())
}

fn offline() -> Result<()> {
    let workshop = Fixture::new()?;
    workshop.refused(
        &["--offline"],
        &[
            "not in the cache",
            "--offline",
            "build once without",
            "--release FILE",
        ],
    )?;
    ensure!(
        names(&workshop.path("cache"))?.is_empty(),
        "an empty cache was made"
    );
    workshop.built()?;
    let before = workshop.server.requests().len();
    check_output(&workshop.build(&["--offline"])?, 0, &["from the cache"])?;
    ensure!(workshop.server.requests().len() == before);
    Ok(())
}

fn by_hand() -> Result<()> {
    let workshop = Fixture::new()?;
    let file = workshop.path("brought.tar.gz");
    fs::copy(workshop.tarball(), &file)?;
    let name = file.to_string_lossy().into_owned();
    flip(&file, 70_000)?;
    workshop.refused(
        &["--release", &name],
        &[&name, "expected", "found", "copy it again"],
    )?;
    fs::write(&file, "")?;
    workshop.refused(&["--release", &name], &[&name, "copy it again"])?;
    workshop.refused(
        &["--release", "/dev/null"],
        &["/dev/null is not a file", "provide the release tarball"],
    )?;
    workshop.refused(
        &["--release", "/no/such.tar.gz"],
        &["/no/such.tar.gz", "No such file"],
    )?;
    fs::copy(workshop.tarball(), &file)?;
    // The builder also checks a SHA256SUMS next to the tarball.
    let sums = workshop.path("SHA256SUMS");
    fs::write(
        &sums,
        format!("{}  etcd-v3.5.99-linux-amd64.tar.gz\n", "1".repeat(64)),
    )?;
    workshop.refused(
        &["--release", &name],
        &["disagree", &sums.to_string_lossy()],
    )?;
    fs::remove_file(&sums)?;
    check_output(
        &workshop.build(&["--release", &name])?,
        0,
        &["release: from the given file"],
    )?;
    ensure!(
        workshop.server.requests().is_empty(),
        "the builder made a network request"
    );
    Ok(())
}

fn damaged_cache() -> Result<()> {
    let workshop = Fixture::new()?;
    workshop.built()?;
    let image = crate::fixtures::snapshot(&workshop.out())?;
    let releases = workshop.cache().join("releases");
    let names = names(&releases)?;
    let digest = names
        .iter()
        .find(|name| name.len() == 64)
        .context("nothing is unpacked in the cache")?;
    // The test damages the compressed form, the program and the tarball: first each file alone,
    // then two pairs of them, and finally all three together.
    let shelf = workshop.cache().join("gzip");
    let programs = releases.join(digest);
    let damage = |what: &str| -> Result<()> {
        if what.contains("gzip") {
            for folder in crate::fixtures::names(&shelf)? {
                let folder = shelf.join(folder);
                for name in crate::fixtures::names(&folder)? {
                    flip(&folder.join(name), 100)?;
                }
            }
        }
        if what.contains("program") {
            flip(&programs.join("etcdctl"), 200_000)?;
        }
        if what.contains("tarball") {
            flip(&releases.join(format!("{digest}.tar.gz")), 200_000)?;
        }
        Ok(())
    };
    for what in [
        "gzip",
        "program",
        "tarball",
        "gzip program",
        "program tarball",
        "gzip program tarball",
    ] {
        damage(what)?;
        // This build or the next build downloads or remakes everything that the damage made
        // unusable.
        let first = workshop.build(&[])?;
        ensure!(first.success() || first.code() == 1, "{what}: {first:#?}");
        workshop
            .built()
            .with_context(|| format!("{what}; before that:\n{}", first.stderr))?;
        ensure!(
            crate::fixtures::snapshot(&workshop.out())? == image,
            "{what}: the build made a different image"
        );
    }
    // The cache has repaired itself: later builds do not download again.
    let before = workshop.server.requests_for(TARBALL).len();
    workshop.built()?;
    ensure!(workshop.server.requests_for(TARBALL).len() == before);
    ensure!(before <= 4, "{before} downloads");
    // The builder waits for a slow mirror.
    fs::remove_dir_all(workshop.cache())?;
    workshop
        .server
        .fault(TARBALL, Fault::Stall(500_000, Duration::from_millis(300)));
    workshop.built()
}
