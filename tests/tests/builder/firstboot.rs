//! Tests the programs that `make build` makes. The builder must not pack a firstboot that cannot
//! run on CentOS 7.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::process;
use tests::programs;

use crate::fake_release;
use crate::fixtures::{Fixture, check_output, names};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_firstboot_that_would_not_run_is_refused_with_the_cause",
            &[],
            refused,
        ),
        trial("firstboot_has_at_most_8_mb", &[], size),
        trial(
            "programs_print_errors_although_they_have_no_unwind_tables",
            &[],
            errors_with_backtraces,
        ),
    ]
}

fn size() -> Result<()> {
    let bytes = fs::metadata(programs::firstboot()?)?.len();
    ensure!(bytes <= 8_000_000, "firstboot has {bytes} bytes");
    Ok(())
}

/// `RUST_BACKTRACE` makes the programs unwind the stack for each error. If the unwinder did not
/// find its own tables, it would abort the program.
fn errors_with_backtraces() -> Result<()> {
    let missing = ["snapshot", "verify", "/proc/no-snapshot"];
    for (program, arguments) in [
        (programs::firstboot()?, &missing[..]),
        (programs::builder()?, &["check", "/proc/no-recipe.toml"]),
    ] {
        let mut command = std::process::Command::new(program);
        command.args(arguments).env("RUST_BACKTRACE", "1");
        let ran = process::run(&mut command)?;
        check_output(&ran, 1, &[arguments[arguments.len() - 1]])?;
    }
    Ok(())
}

fn refused() -> Result<()> {
    let workshop = Fixture::new()?;
    let path = workshop.path("firstboot");
    let try_with = |bytes: &[u8], words: &[&str]| -> Result<()> {
        fs::write(&path, bytes)?;
        let ran = workshop.refused(&[], words)?;
        check_output(
            &ran,
            1,
            &[&path.to_string_lossy(), "would not run on a node"],
        )?;
        ensure!(
            workshop.server.requests().is_empty(),
            "the release was fetched before"
        );
        ensure!(
            names(&workshop.path("pki"))?.is_empty(),
            "keys were made before"
        );
        Ok(())
    };
    let ls = fs::read("/bin/ls").context("cannot read /bin/ls")?;
    try_with(
        &ls,
        &[
            "CentOS 7",
            "cargo build --release --target x86_64-unknown-linux-musl",
        ],
    )
    .context("/bin/ls")?;
    try_with(
        b"#!/bin/sh\nexit 0\n",
        &["it is a script", "name the compiled program itself"],
    )?;
    try_with(b"", &["it is not an ELF program", "the file is empty"])?;
    let real = fs::read(programs::firstboot()?)?;
    let mut arm = real.clone();
    arm[18] = 183;
    try_with(&arm, &["it is built for arm64 (AArch64)", "x86-64"])?;
    let mut odd = real.clone();
    odd[18] = 3;
    try_with(&odd, &["it is built for ELF machine 3"])?;
    try_with(
        &real[..real.len() / 2],
        &["it is truncated", "copy or download it again"],
    )?;

    is_missing(&workshop, &path)?;
    // The builder accepts the real program, and also a file with the right headers and no real
    // code.
    fs::write(&path, &real)?;
    workshop
        .built()
        .context("the builder refuses the real firstboot")?;
    fs::write(&path, fake_release::program(1, 4096))?;
    workshop.built()?;

    is_beside_the_builder(&workshop)
}

fn is_missing(workshop: &Fixture, path: &Path) -> Result<()> {
    fs::remove_file(path)?;
    workshop.refused(
        &[],
        &[
            "cannot read firstboot at",
            &path.to_string_lossy(),
            "make build",
            "--firstboot FILE",
        ],
    )?;
    Ok(())
}

/// Checks that, by default, the builder uses the firstboot in its own folder.
fn is_beside_the_builder(workshop: &Fixture) -> Result<()> {
    let alone = workshop.path("alone");
    fs::create_dir(&alone)?;
    let builder = alone.join("builder");
    fs::copy(programs::builder()?, &builder)?;
    let mut command = std::process::Command::new(&builder);
    command
        .arg("build")
        .arg(workshop.path("recipe.toml"))
        .arg("--out")
        .arg(workshop.path("out/second"));
    let ran = process::run(&mut command)?;
    check_output(
        &ran,
        1,
        &[
            "cannot read firstboot at",
            &alone.join("firstboot").to_string_lossy(),
            "make build",
        ],
    )
}
