//! Checks the source tree for faults that neither rustc nor clippy reports.
//!
//! - Imports point in one direction: no files of a crate import each other in a cycle.
//! - No Rust file has more than [`LONGEST_FILE`] lines.
//!
//! Usage: `lint WORKSPACE`. Prints each fault, and exits with 1 if there is a fault.

mod cycles;
mod imports;
mod modules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::modules::CrateMap;

/// The maximum number of lines in a file. A longer file usually covers a second subject.
const LONGEST_FILE: usize = 400;

fn main() -> Result<ExitCode> {
    let workspace = PathBuf::from(
        env::args_os()
            .nth(1)
            .context("usage: lint WORKSPACE, the folder with the workspace's Cargo.toml")?,
    );
    let mut faults = Vec::new();
    for root in crate_roots(&workspace)? {
        let map = CrateMap::load(&root)?;
        faults.extend(
            cycles::find(&map)
                .iter()
                .map(|cycle| cycle.describe(&workspace)),
        );
    }
    faults.extend(long_files(&workspace, &workspace)?);
    for fault in &faults {
        println!("{fault}");
    }
    Ok(if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Returns the root files of all libraries, programs and test programs in the workspace.
fn crate_roots(workspace: &Path) -> Result<Vec<PathBuf>> {
    let manifest = workspace.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    let table: toml::Table =
        toml::from_str(&text).with_context(|| format!("cannot parse {}", manifest.display()))?;
    let members = table
        .get("workspace")
        .and_then(|workspace| workspace.get("members"));
    let members = members
        .and_then(toml::Value::as_array)
        .context("Cargo.toml has no list [workspace] members")?;
    let mut roots = Vec::new();
    for member in members.iter().filter_map(toml::Value::as_str) {
        let member = workspace.join(member);
        roots.extend(["src/lib.rs", "src/main.rs"].map(|name| member.join(name)));
        roots.extend(entries(&member.join("src/bin"))?);
        roots.extend(
            entries(&member.join("tests"))?
                .into_iter()
                .map(|folder| folder.join("main.rs")),
        );
    }
    roots.retain(|path| path.is_file());
    roots.sort();
    Ok(roots)
}

/// Lists a folder; returns nothing if the folder does not exist.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Describes the overlong Rust files below a folder, including test files, which [`CrateMap`]
/// leaves out.
fn long_files(folder: &Path, workspace: &Path) -> Result<BTreeSet<String>> {
    let mut faults = BTreeSet::new();
    for path in entries(folder)? {
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name != "target" && !name.starts_with('.') {
                faults.extend(long_files(&path, workspace)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let lines = text.lines().count();
            let shown = path.strip_prefix(workspace).unwrap_or(&path).display();
            if lines > LONGEST_FILE {
                faults.insert(format!("{shown}: {lines} lines, but at most {LONGEST_FILE} are allowed: move a part to another file"));
            }
        }
    }
    Ok(faults)
}
