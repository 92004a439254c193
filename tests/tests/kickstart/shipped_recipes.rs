//! Tests the ready-made recipes and the hand-written scripts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::installer::Kind;
use tests::requirement::Requirement;
use tests::{cache, process, programs};

use crate::keep;
use crate::planned::{Planned, REQUIREMENTS, read_with_pykickstart};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "pykickstart_reads_the_shipped_recipes_as_intended",
            REQUIREMENTS,
            ready,
        ),
        trial(
            "shellcheck_finds_no_fault_in_any_script",
            &[Requirement::Shellcheck],
            shellcheck,
        ),
    ]
}

fn planned(folder: &Path) -> Result<Vec<Planned>> {
    let names = ["single-node", "three-node", "demo"];
    let planned = |name: &&str| {
        Planned::new(folder, name, &programs::recipe(name), "bed0")?
            .with_context(|| format!("{name} is refused"))
    };
    names.iter().map(planned).collect()
}

fn ready() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for seen in read_with_pykickstart(planned(folder.path())?.iter())? {
        ensure!(seen.error.is_none(), "{:?}", seen.error);
        ensure!(
            seen.locked && seen.password.is_none() && seen.keys.is_empty(),
            "{seen:?}"
        );
        ensure!(
            seen.users == [("etcd".into(), 450, 450, "/sbin/nologin".into(), true)],
            "{:?}",
            seen.users
        );
        ensure!(seen.selinux == 1, "SELinux is {}", seen.selinux);
        ensure!(seen.scripts.len() == 5 && seen.disk == ["bed0"], "{seen:?}");
        let parts: Vec<_> = seen
            .parts
            .iter()
            .map(|part| (part.0.as_str(), part.1.as_str(), part.2.as_str()))
            .collect();
        ensure!(
            parts.contains(&("/var/lib/etcd", "xfs", "etcd"))
                && parts.contains(&("/", "xfs", "root")),
            "{parts:?}"
        );
        ensure!(
            seen.excluded.iter().any(|package| package == "tuned"),
            "{:?}",
            seen.excluded
        );
        ensure!(
            seen.append.contains("transparent_hugepage=never"),
            "{}",
            seen.append
        );
    }
    Ok(())
}

/// Runs shellcheck on every script of the kickstarts, on the two scripts that `%pre` writes, and on
/// the project's own scripts.
fn shellcheck() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scripts: Vec<PathBuf> = Vec::new();
    for planned in planned(folder.path())? {
        for (number, (_, script)) in planned.scripts()?.iter().enumerate() {
            let path = planned.folder.join(format!("script-{number}"));
            fs::write(&path, script)?;
            scripts.push(path);
        }
        scripts.extend(
            ["failure.sh", "end.sh"].map(|name| planned.folder.join("run/etcd-image").join(name)),
        );
    }
    let kept = keep::kickstart(folder.path(), "")?;
    for (number, section) in [Kind::Pre, Kind::Post]
        .iter()
        .flat_map(|kind| kept.sections(*kind))
        .enumerate()
    {
        let path = folder.path().join(format!("keep-{number}"));
        fs::write(&path, &section.body)?;
        scripts.push(path);
    }
    // SC1091: the file is not at its final path here. SC2034: the file sets variables for the
    // scripts that source it.
    check(&["--shell=bash", "--exclude=SC1091,SC2034"], &scripts)?;

    let workspace = cache::workspace();
    let listed = process::check("git", &["-C", &workspace.display().to_string(), "ls-files"])?;
    // The scripts below kickstart/ are templates. The check above covers their rendered form.
    let is_script = |path: &&str| {
        let shell = Path::new(path).extension().is_some_and(|end| end == "sh")
            && !path.starts_with("kickstart/");
        shell || *path == ".ci/run"
    };
    let own: Vec<PathBuf> = listed
        .lines()
        .filter(is_script)
        .map(|path| workspace.join(path))
        .collect();
    ensure!(own.len() >= 5, "only {own:?}");
    check(&["--severity=style"], &own)
}

fn check(options: &[&str], scripts: &[PathBuf]) -> Result<()> {
    let mut command = std::process::Command::new("shellcheck");
    process::run(command.args(options).args(scripts))?
        .ok()
        .map(drop)
        .context("shellcheck")
}
