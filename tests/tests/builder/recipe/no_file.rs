//! Tests commands in which a path does not name a file or a folder of the expected kind.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tests::{process, programs};

use crate::fixtures::{Fixture, check_output, names};

/// Command lines, each with its exit code and part of its message. In a command line, FOLDER is a
/// folder, FIFO is a FIFO to which no program writes, and NONE is a path that does not exist.
/// RECIPE is a recipe, OUT is an output, and NEW is the path for a second output.
const COMMANDS: &[(&[&str], i32, &str)] = &[
    (
        &["build", "FOLDER"],
        1,
        "which must be a recipe; `builder init` writes one: it is a folder, but a file is expected",
    ),
    (
        &["plan", "NONE"],
        1,
        "which must be a recipe; `builder init` writes one: No such file",
    ),
    (&["check", "FIFO"], 3, "the section [cluster] is missing"),
    (
        &["check", "FOLDER"],
        1,
        "which must be a configuration file for a node: it is a folder",
    ),
    (
        &["build", "RECIPE", "--out", "NEW", "--firstboot", "FIFO"],
        1,
        "it is not an ELF program",
    ),
    (
        &["build", "RECIPE", "--out", "NEW", "--firstboot", "FOLDER"],
        1,
        "it is a folder, but a file is expected",
    ),
    (
        &["build", "RECIPE", "--out", "NEW", "--release", "FIFO"],
        1,
        "is not a file: provide the release tarball",
    ),
    (
        &["init", "--ssh-key", "FIFO", "etcd-1=10.0.0.1"],
        1,
        "has no public SSH key",
    ),
    (
        &["init", "--ssh-key", "FOLDER", "etcd-1=10.0.0.1"],
        1,
        "which must be a public SSH key",
    ),
    (
        &["verify", "OUT", "--key", "FIFO"],
        1,
        "does not contain a key",
    ),
    (
        &["verify", "OUT", "--key", "FOLDER"],
        1,
        "which must be the signing.pub of a PKI folder",
    ),
    (
        &["verify", "NONE"],
        1,
        "name the folder that `builder build --out` has written",
    ),
    (
        &["serve", "NONE"],
        1,
        "which must be a folder that `builder build --out` has written",
    ),
    (
        &["serve", "OUT", "--tls-cert", "FIFO", "--tls-key", "FOLDER"],
        1,
        "folder: it is a folder, but a file is expected",
    ),
    (
        &["allow", "--all", "--install", "--out", "NONE"],
        1,
        "which must be a folder that `builder build --out`",
    ),
    (
        &["allow", "etcd-1", "--out", "OUT"],
        2,
        "<--install|--document>",
    ),
    (
        &[
            "allow",
            "etcd-1",
            "--document",
            "--out",
            "OUT",
            "--state",
            "RECIPE",
        ],
        1,
        "is not a folder; name the folder of the server's records",
    ),
    (
        &["pki", "rotate", "NONE"],
        1,
        "it has no ca.crt; name a folder that `builder build --pki` has created",
    ),
    (
        &["pki", "retire", "FOLDER"],
        1,
        "it has no ca.crt; name a folder",
    ),
    (
        &["pki", "assign", "NONE", "RECIPE"],
        1,
        "it has no ca.crt; name a folder",
    ),
];

/// Checks that each command prints its message and does not hang. `timeout` exits with 124 if a
/// command hangs.
pub(super) fn no_file() -> Result<()> {
    let workshop = Fixture::warm()?;
    workshop.built()?;
    let path = |name: &str| workshop.path(name).to_string_lossy().into_owned();
    let (folder, fifo) = (path("folder"), path("fifo.toml"));
    fs::create_dir(&folder)?;
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRUSR)?;
    let out = workshop.out().to_string_lossy().into_owned();
    for (words, code, said) in COMMANDS {
        let words = words.iter().map(|word| match *word {
            "FOLDER" => folder.clone(),
            "FIFO" => fifo.clone(),
            "NONE" => path("none"),
            "RECIPE" => path("recipe.toml"),
            "OUT" => out.clone(),
            "NEW" => path("out/new"),
            word => word.to_owned(),
        });
        let words: Vec<String> = words.collect();
        let mut command = Command::new("timeout");
        command.arg("20").arg(programs::builder()?).args(&words);
        check_output(&process::run(&mut command)?, *code, &[said])
            .with_context(|| words.join(" "))?;
    }
    ensure!(
        names(&workshop.path("out"))? == ["out"],
        "left behind: {:?}",
        names(&workshop.path("out"))?
    );
    // A date that no archive can store is refused before any keys are made.
    let other = Fixture::warm()?;
    let mut command = other.command()?;
    command.env("SOURCE_DATE_EPOCH", "99999999999");
    check_output(
        &process::run(&mut command)?,
        1,
        &["SOURCE_DATE_EPOCH is `99999999999`", "at most 8589934591"],
    )?;
    ensure!(names(&other.path("pki"))?.is_empty(), "keys were made");
    Ok(())
}
