//! Tests that a good output stays unchanged, byte for byte, regardless of what happens during the
//! next build.

use std::io::Read as _;
use std::process::Child;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::harness::trial;
use tests::server::Fault;

use crate::fake_release::{self, TARBALL};
use crate::fixtures::{Fixture, check_output, is_a, names, snapshot, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_failed_build_leaves_the_old_output", &[], failed),
        trial(
            "an_interrupt_during_the_download_leaves_the_old_output",
            &[],
            interrupted_download,
        ),
        trial(
            "an_interrupt_during_the_packing_leaves_the_old_output",
            &[],
            interrupted_packing,
        ),
        trial(
            "a_killed_build_leaves_the_old_output_and_the_next_cleans_up",
            &[],
            killed,
        ),
        trial(
            "a_folder_that_is_not_an_output_is_never_replaced",
            &[],
            not_ours,
        ),
        trial("cache_and_pki_must_be_outside_the_output", &[], within),
    ]
}

fn failed() -> Result<()> {
    let workshop = Fixture::warm()?;
    workshop.built()?;
    let before = snapshot(&workshop.path("out"))?;
    let recipe = std::fs::read(workshop.path("recipe.toml"))?;
    workshop.write_recipe(&"7".repeat(64), "")?;
    check_output(&workshop.build(&[])?, 1, &["disagree"])?;
    std::fs::write(workshop.path("recipe.toml"), "[cluster]\n")?;
    check_output(&workshop.build(&[])?, 3, &["nothing was built"])?;
    std::fs::write(workshop.path("recipe.toml"), recipe)?;
    std::fs::write(workshop.path("firstboot"), "#!/bin/sh\n")?;
    check_output(&workshop.build(&[])?, 1, &["would not run on a node"])?;
    ensure!(snapshot(&workshop.path("out"))? == before);
    Ok(())
}

/// Sends the signal, and returns the exit code (128 plus the signal's number if the signal killed
/// the program) and the output.
fn end(mut child: Child, signal: Signal) -> Result<(i32, String)> {
    use std::os::unix::process::ExitStatusExt as _;
    kill(Pid::from_raw(i32::try_from(child.id())?), signal)
        .context("the builder ended before the test stopped it")?;
    let status = child.wait()?;
    let mut said = String::new();
    child
        .stderr
        .take()
        .context("no standard error")?
        .read_to_string(&mut said)?;
    Ok((
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        said,
    ))
}

fn interrupted_download() -> Result<()> {
    let workshop = Fixture::new()?;
    workshop.built()?;
    let before = snapshot(&workshop.path("out"))?;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        std::fs::remove_dir_all(workshop.cache())?;
        workshop.server.fault(
            TARBALL,
            Fault::Stall(800_000, std::time::Duration::from_secs(600)),
        );
        let child = workshop.start(&[])?;
        let part = || Ok(part(&workshop)?.is_some_and(|bytes| bytes > 0));
        wait_for("the download begins", part)?;
        let (ended, said) = end(child, signal)?;
        ensure!(
            ended == code && said.contains("interrupted"),
            "{ended}: {said}"
        );
        ensure!(
            snapshot(&workshop.path("out"))? == before,
            "{signal} changed the output"
        );
        workshop.server.clear_faults(TARBALL);
    }
    // The next build reuses the part that has already been downloaded.
    workshop.built()?;
    let last = workshop
        .server
        .requests_for(TARBALL)
        .pop()
        .context("nothing was requested")?;
    ensure!(
        last.header("range")
            .is_some_and(|range| range.starts_with("bytes=")),
        "{last:?}"
    );
    ensure!(snapshot(&workshop.path("out"))? == before);
    Ok(())
}

/// Returns the size of the incomplete download.
fn part(workshop: &Fixture) -> Result<Option<u64>> {
    let folder = workshop.cache().join("releases");
    let name = names(&folder)?.into_iter().find(|name| is_a(name, "part"));
    Ok(name
        .and_then(|name| folder.join(name).metadata().ok())
        .map(|about| about.len()))
}

/// The size of a file that takes some time to pack on any machine.
const LARGE: usize = 4 << 20;

/// Makes a fixture that contains the output of a fast build, and whose next build spends a long
/// time on packing.
fn about_to_pack() -> Result<Fixture> {
    let workshop = Fixture::with(&fake_release::parts(LARGE))?;
    let small = Fixture::new()?;
    small.built()?;
    std::fs::rename(small.out(), workshop.out())?;
    std::fs::rename(small.pki(), workshop.pki())?;
    Ok(workshop)
}

fn packing(workshop: &Fixture) -> Result<Child> {
    let mut child = workshop.start(&[])?;
    let begun = wait_for("the packing begins", || {
        ensure!(
            child.try_wait()?.is_none(),
            "the builder has ended before it started to pack"
        );
        Ok(names(&workshop.path("out"))?
            .iter()
            .any(|name| name.starts_with(".out.new-")))
    });
    if let Err(error) = begun {
        let _ = child.kill();
        let mut said = String::new();
        child
            .stderr
            .take()
            .context("no standard error")?
            .read_to_string(&mut said)?;
        return Err(error.context(said));
    }
    Ok(child)
}

fn interrupted_packing() -> Result<()> {
    let workshop = about_to_pack()?;
    let before = snapshot(&workshop.path("out"))?;
    let (code, said) = end(packing(&workshop)?, Signal::SIGINT)?;
    ensure!(
        code == 130 && said.contains("interrupted: the partial output was removed"),
        "{code}: {said}"
    );
    ensure!(
        names(&workshop.path("out"))? == ["out"],
        "{:?}",
        names(&workshop.path("out"))?
    );
    ensure!(snapshot(&workshop.path("out"))? == before);
    Ok(())
}

fn killed() -> Result<()> {
    let workshop = about_to_pack()?;
    let before = snapshot(&workshop.out())?;
    let (code, _) = end(packing(&workshop)?, Signal::SIGKILL)?;
    ensure!(code == 137, "{code}");
    ensure!(snapshot(&workshop.out())? == before);
    let left = names(&workshop.path("out"))?;
    ensure!(
        left.len() == 2 && left[0].starts_with(".out.new-"),
        "there are no files to clean up: {left:?}"
    );
    // A build cleans up at its start, even if it later fails. Use a small release, so that this
    // build is fast.
    let small = Fixture::new()?;
    let recipe = small.path("recipe.toml");
    let mut command = std::process::Command::new(tests::programs::builder()?);
    command
        .arg("build")
        .arg(recipe)
        .arg("--out")
        .arg(workshop.out())
        .arg("--pki")
        .arg(workshop.pki());
    command
        .arg("--cache")
        .arg(small.cache())
        .arg("--firstboot")
        .arg(small.path("firstboot"));
    tests::process::run(&mut command)?.ok()?;
    ensure!(
        names(&workshop.path("out"))? == ["out"],
        "{:?}",
        names(&workshop.path("out"))?
    );
    Ok(())
}

fn not_ours() -> Result<()> {
    let workshop = Fixture::warm()?;
    let out = workshop.out();
    let refused = |words: &[&str]| -> Result<()> {
        let before = snapshot(&workshop.path("out"))?;
        check_output(&workshop.build(&[])?, 1, words)?;
        ensure!(snapshot(&workshop.path("out"))? == before);
        ensure!(
            workshop.server.requests().is_empty(),
            "the release was fetched before the refusal"
        );
        ensure!(names(&workshop.path("pki"))?.is_empty(), "keys were made");
        Ok(())
    };
    std::fs::write(&out, "a file")?;
    refused(&["a folder is expected", "out/out"])?;
    std::fs::remove_file(&out)?;
    std::fs::create_dir(&out)?;
    std::fs::write(out.join("thesis.tex"), "years of work")?;
    refused(&[
        "out/out",
        "it is not the output of an earlier build",
        "name a new or empty folder",
    ])?;
    std::fs::remove_file(out.join("thesis.tex"))?;
    workshop.built()?;
    std::fs::write(out.join("thesis.tex"), "years of work")?;
    let before = snapshot(&workshop.path("out"))?;
    check_output(
        &workshop.build(&[])?,
        1,
        &["it contains `thesis.tex`, which the builder did not create"],
    )?;
    ensure!(snapshot(&workshop.path("out"))? == before);
    Ok(())
}

fn within() -> Result<()> {
    let workshop = Fixture::warm()?;
    workshop.built()?;
    let before = snapshot(&workshop.path("out"))?;
    for option in ["--pki", "--cache"] {
        let mut command = std::process::Command::new(tests::programs::builder()?);
        command
            .arg("build")
            .arg(workshop.path("recipe.toml"))
            .arg("--out")
            .arg(workshop.out());
        command
            .arg(option)
            .arg(workshop.out().join("kept"))
            .arg("--firstboot")
            .arg(workshop.path("firstboot"));
        if option == "--pki" {
            command.arg("--cache").arg(workshop.cache());
        }
        let ran = tests::process::run(&mut command)?;
        check_output(
            &ran,
            1,
            &[
                "is inside the output, which each build replaces completely",
                &format!("name another {option}"),
            ],
        )?;
        ensure!(snapshot(&workshop.path("out"))? == before);
    }
    Ok(())
}
