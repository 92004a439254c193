//! Tests that other programs can read the SARIF output. Every finding in the corpus is checked
//! against OASIS's own schema, and with another vendor's tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::Value;
use tests::harness::long;
use tests::requirement::Requirement;
use tests::{cache, process, programs};

pub(crate) fn trials() -> Vec<Trial> {
    vec![long(
        "other_tools_read_a_sarif_log_of_the_whole_corpus",
        &[Requirement::Pip],
        read_by_others,
    )]
}

const TOOLS: [&str; 2] = ["sarif-tools==3.0.5", "jsonschema==4.25.1"];
/// The manifest of a crate that depends on serde-sarif. The source of serde-sarif contains the
/// schema. The test only downloads serde-sarif, and does not compile it.
const CARRIER: &str = "[package]\nname = \"carrier\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n\
                       [dependencies]\nserde-sarif = { version = \"=0.8.0\", default-features = false }\n[workspace]\n";

/// The content of a SARIF log, as the programs in [`TOOLS`] read it.
#[derive(Debug, Deserialize)]
struct ParsedLog {
    wrong: Vec<String>,
    tools: Vec<String>,
    errors: usize,
    warnings: usize,
    placed: usize,
}

/// Returns a folder that contains the programs in [`TOOLS`] and the schema, `schema.json`.
fn tools() -> Result<PathBuf> {
    cache::entry("sarif-tools-3.0.5", |folder| {
        let mut pip = Command::new("pip");
        pip.args([
            "install",
            "--quiet",
            "--no-compile",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
            "--target",
        ]);
        process::run(pip.arg(folder).args(TOOLS))?.ok()?;
        let carrier = tempfile::tempdir()?;
        fs::write(carrier.path().join("Cargo.toml"), CARRIER)?;
        fs::write(carrier.path().join("lib.rs"), "")?;
        let cargo = |arguments: &[&str]| {
            process::run(
                Command::new(env!("CARGO"))
                    .args(arguments)
                    .current_dir(carrier.path()),
            )?
            .ok()
        };
        let metadata: Value =
            serde_json::from_str(&cargo(&["metadata", "--format-version", "1"])?)?;
        let packages = metadata["packages"]
            .as_array()
            .context("cargo metadata lists no packages")?;
        let own = packages
            .iter()
            .find(|package| package["name"] == "serde-sarif")
            .context("the metadata does not list serde-sarif")?;
        let manifest = Path::new(own["manifest_path"].as_str().unwrap_or_default());
        fs::copy(
            manifest.with_file_name("src/schema.json"),
            folder.join("schema.json"),
        )
        .context("the crate contains no schema")?;
        Ok(())
    })
}

/// Writes every file of the corpus separately below `folder`.
fn corpus(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for kind in fs::read_dir(cache::workspace().join("builder/src/check/corpus"))? {
        for input in fs::read_dir(kind?.path())? {
            let input = input?.path();
            if input
                .extension()
                .is_none_or(|extension| extension != "input")
            {
                continue;
            }
            for (number, part) in fs::read_to_string(&input)?
                .split("==> ")
                .skip(1)
                .enumerate()
            {
                let (header, text) = part
                    .split_once(" <==\n")
                    .with_context(|| input.display().to_string())?;
                let place = header
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .trim_start_matches('/');
                // The path contains a blank and `é`, which must be escaped in a URI.
                let name = format!("{} é{number}", input.with_extension("").display());
                let path = folder.join(name.trim_start_matches('/')).join(place);
                fs::create_dir_all(path.parent().unwrap_or(folder))?;
                fs::write(&path, text)?;
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn seen(tools: &Path, log: &Path) -> Result<ParsedLog> {
    let script = cache::workspace().join("tests/tests/builder/read_sarif.py");
    let mut python = Command::new("python3");
    python
        .env("PYTHONPATH", tools)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let said = process::run(python.arg(script).arg(tools.join("schema.json")).arg(log))?;
    serde_json::from_str(&said.ok()?).context("read_sarif.py printed unexpected output")
}

fn read_by_others() -> Result<()> {
    let tools = tools()?;
    let folder = tempfile::tempdir()?;
    let (mut logs, mut results) = (Vec::new(), 0);
    // Each file is checked separately, because all files together would produce different findings
    // for the same file.
    for path in corpus(folder.path())? {
        let ran =
            programs::run_builder(&["check", "--format", "sarif", &path.display().to_string()])?;
        // If a file's name does not show the file's kind, the builder prints no log.
        if let Ok(log) = serde_json::from_str::<Value>(&ran.stdout) {
            results += log["runs"][0]["results"].as_array().map_or(0, Vec::len);
            logs.push(log);
        }
    }
    ensure!(
        logs.len() > 150 && results > 200,
        "only {} logs with {results} findings",
        logs.len()
    );
    let mut whole = logs[0].clone();
    whole["runs"] = logs.iter().map(|log| log["runs"][0].clone()).collect();
    let path = folder.path().join("log.sarif");
    fs::write(&path, whole.to_string())?;
    let seen = seen(&tools, &path)?;
    ensure!(
        seen.wrong.is_empty(),
        "the schema rejects a log: {:#?}",
        seen.wrong
    );
    ensure!(
        seen.tools == ["builder check"] && seen.errors > seen.warnings,
        "{seen:?}"
    );
    ensure!(
        (seen.errors + seen.warnings, seen.placed) == (results, results),
        "expected {results} findings, but the other programs read {seen:?}"
    );
    let mut sarif = Command::new("python3");
    sarif
        .env("PYTHONPATH", &tools)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-m", "sarif", "summary"]);
    let summary = process::run(sarif.arg(&path))?.ok()?;
    ensure!(
        summary.contains(&format!("error: {}", seen.errors)),
        "{summary}"
    );
    // If the schema accepted everything, the check would prove nothing.
    whole["runs"][0]["results"][0]["level"] = "wrong".into();
    fs::write(&path, whole.to_string())?;
    let wrong = self::seen(&tools, &path)?.wrong;
    ensure!(
        wrong.len() == 1 && wrong[0].contains("is not one of"),
        "the schema accepts a wrong level: {wrong:?}"
    );
    Ok(())
}
