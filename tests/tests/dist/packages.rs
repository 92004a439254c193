//! Builds the packages from the programs that `make build` has made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::requirement::Requirement;
use tests::{cache, process, programs, run};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "the_same_programs_give_the_same_packages",
        &[Requirement::Packaging],
        same_bytes,
    )]
}

/// Returns the folder with the packages; the first call builds them.
pub(crate) fn packages() -> Result<PathBuf> {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    if let Some(folder) = MADE.get() {
        return Ok(folder.clone());
    }
    let folder = run::current()?.folder("packages")?;
    make(
        Command::new(script()).current_dir(cache::workspace()),
        &folder,
    )?;
    Ok(MADE.get_or_init(|| folder).clone())
}

/// Returns the package whose name ends with this text.
pub(crate) fn package(extension: &str) -> Result<PathBuf> {
    let names = names(&packages()?)?;
    let name = names.iter().find(|name| name.ends_with(extension));
    Ok(packages()?.join(name.with_context(|| format!("no {extension} among {names:?}"))?))
}

fn script() -> PathBuf {
    cache::workspace().join("dist/packages.sh")
}

fn make(script: &mut Command, out: &Path) -> Result<()> {
    let programs = programs::builder()?;
    process::run(script.arg(programs.parent().unwrap_or(&programs)).arg(out))?
        .ok()
        .map(drop)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let list = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names: Vec<String> = list
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Checks that two builds produce the same bytes. The second build runs under a different umask, in
/// a different time zone, language and folder.
fn same_bytes() -> Result<()> {
    let first = packages()?;
    let second = run::current()?.folder("packages-again")?;
    let mut again = Command::new("sh");
    again
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(script())
        .current_dir("/");
    make(
        again.env("TZ", "Pacific/Auckland").env("LC_ALL", "C.UTF-8"),
        &second,
    )?;
    let names = names(&first)?;
    ensure!(
        names.len() == 4 && names == self::names(&second)?,
        "{names:?} and {:?}",
        self::names(&second)?
    );
    for name in names {
        let differ = fs::read(first.join(&name))? != fs::read(second.join(&name))?;
        ensure!(
            !differ,
            "{name} differs in the second build: {} and {}",
            first.display(),
            second.display()
        );
    }
    let mut check = Command::new("sha256sum");
    process::run(
        check
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(first),
    )?
    .ok()
    .map(drop)
}
