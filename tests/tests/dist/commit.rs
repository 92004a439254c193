//! Tests the commit in the output of `--version`. The Makefile passes this commit to the build.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::requirement::Requirement;
use tests::{cache, process, programs, run};

pub(crate) fn trials() -> Vec<Trial> {
    let needs = &[Requirement::Make];
    vec![
        trial(
            "both_programs_print_the_commit_they_were_built_from",
            needs,
            programs_say_it,
        ),
        trial(
            "a_changed_source_is_named_beside_the_commit",
            needs,
            changed_source,
        ),
        trial("a_build_outside_git_has_no_commit", needs, outside_git),
    ]
}

/// Returns the commit that `make build` in this folder would pass to cargo. The commit is empty
/// outside a git repository.
pub(crate) fn commit(folder: &Path) -> Result<String> {
    let said = process::run(
        Command::new("make")
            .args(["--dry-run", "build"])
            .current_dir(folder),
    )?
    .ok()?;
    let (_, rest) = said
        .split_once("ETCD_IMAGE_COMMIT=")
        .context("make build passes no ETCD_IMAGE_COMMIT")?;
    Ok(rest
        .split([' ', '\n'])
        .next()
        .unwrap_or_default()
        .to_owned())
}

/// Returns what a program of this workspace prints for `--version`.
pub(crate) fn version_line(program: &str) -> Result<String> {
    let commit = commit(&cache::workspace())?;
    let commit = if commit.is_empty() {
        String::new()
    } else {
        format!(" ({commit})")
    };
    Ok(format!("{program} {}{commit}\n", env!("CARGO_PKG_VERSION")))
}

fn programs_say_it() -> Result<()> {
    for (name, path) in [
        ("builder", programs::builder()?),
        ("firstboot", programs::firstboot()?),
    ] {
        let said = process::check(&path.to_string_lossy(), &["--version"])?;
        let expected = version_line(name)?;
        ensure!(
            said == expected,
            "{name} prints {said:?}, but the sources are {expected:?}: run `make build`"
        );
    }
    Ok(())
}

fn changed_source() -> Result<()> {
    let folder = copy()?;
    git(&folder, &["init", "--quiet"])?;
    git(&folder, &["add", "."])?;
    git(
        &folder,
        &[
            "-c",
            "user.name=x",
            "-c",
            "user.email=x",
            "commit",
            "--quiet",
            "--message",
            "x",
        ],
    )?;
    let head = git(&folder, &["rev-parse", "--short=12", "HEAD"])?
        .trim()
        .to_owned();
    ensure!(
        commit(&folder)? == head,
        "{:?} instead of {head}",
        commit(&folder)?
    );
    fs::create_dir(folder.join("docs"))?;
    fs::write(folder.join("docs/new.md"), "no source of the programs\n")?;
    ensure!(
        commit(&folder)? == head,
        "{:?} instead of {head}",
        commit(&folder)?
    );
    fs::write(folder.join("recipes/new.rs"), "\n")?;
    ensure!(
        commit(&folder)? == format!("{head}-dirty"),
        "{:?} with a new source",
        commit(&folder)?
    );
    Ok(())
}

/// Checks that the commit is also empty if the sources are unpacked inside a different repository,
/// because that repository's commit does not apply to them.
fn outside_git() -> Result<()> {
    let folder = copy()?;
    let outer = folder.parent().context("the folder has no parent")?;
    ensure!(
        commit(&folder)?.is_empty(),
        "{:?} outside git",
        commit(&folder)?
    );
    git(outer, &["init", "--quiet"])?;
    git(
        outer,
        &[
            "-c",
            "user.name=x",
            "-c",
            "user.email=x",
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            "x",
        ],
    )?;
    ensure!(
        commit(&folder)?.is_empty(),
        "{:?} is the commit of another repository",
        commit(&folder)?
    );
    Ok(())
}

/// Copies the Makefile into a new folder, and adds a file that can be committed.
fn copy() -> Result<std::path::PathBuf> {
    let folder = run::current()?.folder("sources")?.join("etcd-image");
    fs::create_dir_all(folder.join("recipes"))?;
    fs::copy(cache::workspace().join("Makefile"), folder.join("Makefile"))?;
    fs::write(folder.join("recipes/old.rs"), "\n")?;
    Ok(folder)
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    process::run(Command::new("git").args(arguments).current_dir(folder))?.ok()
}
