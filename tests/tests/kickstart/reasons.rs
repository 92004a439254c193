//! Tests that the reason for a failed installation contains the error itself. The installer's logs
//! are lost when the machine switches off.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::installer::Kind;
use tests::requirement::Requirement;
use tests::{process, programs};

use crate::planned::Planned;

/// A stand-in for systemctl, which ends the script when it stops the monitor.
const STAND_INS: &str = "systemctl() { if [ \"$1\" = stop ]; then exit 1; fi; }\n";

pub(crate) fn trials() -> Vec<Trial> {
    let none: &[Requirement] = &[];
    vec![trial(
        "the_reason_for_a_failed_installation_contains_the_programs_error",
        none,
        reasons,
    )]
}

fn reasons() -> Result<()> {
    let certificate = "curl() { printf '%s\\n' 'curl: (60) certificate is not yet valid' 'More details' >&2; return 60; }";
    let why = reason(certificate)?;
    ensure!(
        why.starts_with("%pre failed: the installation tree is not available from http")
            && why.contains(
                ": curl: (60) certificate is not yet valid (this machine's clock shows 20"
            )
            && !why.contains("More details"),
        "{why}"
    );
    let why = reason("curl() { return 6; }")?;
    ensure!(why.contains(": curl ended with exit code 6"), "{why}");
    // A command of the script fails.
    let why = reason(
        "sha256sum() { echo 'sha256sum: no memory' >> \"$folder/etcd-image-pre.log\"; return 1; }",
    )?;
    ensure!(
        why.contains("line ") && why.contains("(exit 1): sha256sum: no memory"),
        "{why}"
    );
    Ok(())
}

/// Runs `%pre` with these stand-ins, and returns the reason for the failure.
fn reason(stand_ins: &str) -> Result<String> {
    let work = tempfile::tempdir()?;
    let recipe = programs::recipe("single-node");
    let planned =
        Planned::new(work.path(), "planned", &recipe, "sda")?.context("the recipe is refused")?;
    let scripts = planned.scripts()?;
    let pre = scripts.iter().find(|(kind, _)| *kind == Kind::Pre);
    let (_, pre) = pre.context("no %pre")?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = work.path().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let folder = work.path().join("installer");
    fs::create_dir_all(&folder)?;
    process::run(
        Command::new("bash")
            .args(["-c", include_str!("pre.sh"), "pre.sh"])
            .arg(file("pre", pre)?)
            .arg(&folder)
            .arg("sda")
            .arg(file("stand-ins.sh", &format!("{STAND_INS}{stand_ins}\n"))?),
    )?;
    let why = read(&folder.join("run/etcd-image/why"))?;
    ensure!(!why.contains("Its log is"), "{why}");
    Ok(why)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
