//! Collects the licences of everything that is linked into the programs: crates, Rust's standard
//! library and glibc.
//!
//! Cargo names the crates. The licence texts are from the sources of each crate. For a crate whose
//! sources contain no licence text, this module adds MIT's standard text. If such a crate is not
//! available under MIT, the build of the packages stops.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::tree::Tree;

/// The target of the programs. The target determines which crates are linked.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The prefixes of the names of licence files, in capital letters.
const LICENCE_FILES: [&str; 6] = [
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];

const GLIBC: &str = "/usr/share/doc/libc6-dev/copyright";
const LGPL: &str = "/usr/share/common-licenses/LGPL-2.1";

/// The part of `cargo metadata`'s output that this program needs.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// One crate of the dependency graph.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    authors: Vec<String>,
    manifest_path: PathBuf,
    /// The source of the crate, or `None` for the crates of this repository.
    source: Option<String>,
}

/// Writes the licences into the `licences` folder of the documents.
pub(crate) fn write(tree: &Tree, workspace: &Path) -> Result<()> {
    let rust = PathBuf::from(run(workspace, "rustc", &["--print", "sysroot"])?.trim())
        .join("share/doc/rust");
    let mit = read(&rust.join("licenses/MIT.txt"))?;
    tree.document(
        "licences/crates.txt",
        crates(&linked(workspace)?, &mit)?.as_bytes(),
    )?;
    tree.document(
        "licences/rust-library.html",
        read(&rust.join("COPYRIGHT-library.html"))?.as_bytes(),
    )?;
    tree.document("licences/glibc.txt", glibc(workspace)?.as_bytes())
}

/// Returns the third-party crates that are linked into the programs. Procedural macros and build
/// scripts are not included.
fn linked(workspace: &Path) -> Result<Vec<Package>> {
    let tree = [
        "tree",
        "--locked",
        "-p",
        "builder",
        "-p",
        "firstboot",
        "--target",
        TARGET,
    ]
    .into_iter()
    .chain([
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    let linked = run(workspace, "cargo", &tree.collect::<Vec<_>>())?;
    let names: BTreeSet<(&str, &str)> = linked.lines().filter_map(name_and_version).collect();
    let metadata = [
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        TARGET,
    ];
    let metadata: Metadata = serde_json::from_str(&run(workspace, "cargo", &metadata)?)
        .context("the output of cargo metadata has an unexpected format")?;
    let mut crates = metadata.packages;
    crates.retain(|package| names.contains(&(package.name.as_str(), package.version.as_str())));
    ensure!(
        crates.len() == names.len(),
        "cargo tree names {} crates, but cargo metadata names {}",
        names.len(),
        crates.len()
    );
    crates.retain(|package| package.source.is_some());
    crates.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    Ok(crates)
}

/// Returns the name and the version in a line of `cargo tree`, such as `ring v0.17.14` or `bolt
/// v0.1.0 (/src/firstboot/bolt)`.
fn name_and_version(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_whitespace();
    Some((words.next()?, words.next()?.strip_prefix('v')?))
}

/// Lists the crates, and then each licence text once, with the crates to which the text applies.
fn crates(crates: &[Package], mit: &str) -> Result<String> {
    let mut text = String::from(
        "The crates that are linked into builder and firstboot, and their licences.\n\
         The texts follow, each with the crates that contain it.\n\n",
    );
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in crates {
        let name = format!("{} {}", package.name, package.version);
        let expression = package.license.as_deref().unwrap_or("see the text");
        writeln!(text, "{name:<40} {expression}")?;
        for licence in licence_texts(package, mit)? {
            texts.entry(licence).or_default().insert(name.clone());
        }
    }
    for (licence, names) in texts {
        let names: Vec<String> = names.into_iter().collect();
        write!(
            text,
            "\n{}\n{}\n\n{licence}\n",
            "=".repeat(80),
            names.join(", ")
        )?;
    }
    Ok(text)
}

/// Returns the licence texts of one crate, from its sources.
fn licence_texts(package: &Package, mit: &str) -> Result<BTreeSet<String>> {
    let folder = package.manifest_path.parent().unwrap_or(Path::new("/"));
    let mut texts = BTreeSet::new();
    collect(folder, &mut texts)?;
    if texts.is_empty() {
        let (name, version) = (&package.name, &package.version);
        let expression = package.license.as_deref().unwrap_or_default();
        let offers_mit = expression
            .split([' ', '/', '(', ')'])
            .any(|word| word == "MIT");
        ensure!(
            offers_mit && !expression.contains(" AND "),
            "{name} {version} ({expression}) has no licence file in {}. Add its licence text to \
             dist/src/licences.rs",
            folder.display()
        );
        let authors = if package.authors.is_empty() {
            "its authors".to_owned()
        } else {
            package.authors.join(", ")
        };
        texts.insert(mit.trim().replacen(
            "<year> <copyright holders>",
            &format!("{name}: {authors}"),
            1,
        ));
    }
    Ok(texts)
}

/// Collects the licence files in a crate's folder and in all folders below it, which may contain
/// sources that were copied from other projects.
fn collect(folder: &Path, texts: &mut BTreeSet<String>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry
            .with_context(|| format!("cannot list {}", folder.display()))?
            .path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_uppercase();
        if path.is_dir() {
            collect(&path, texts)?;
        } else if LICENCE_FILES.iter().any(|start| name.starts_with(start))
            && path.extension() != Some("rs".as_ref())
        {
            texts.insert(read(&path)?.trim().to_owned());
        }
    }
    Ok(())
}

/// Returns the notice for glibc. glibc is linked statically, so its licence (LGPL 2.1, section 6)
/// requires more than a copy of the licence text.
fn glibc(workspace: &Path) -> Result<String> {
    let version = run(workspace, "getconf", &["GNU_LIBC_VERSION"])?;
    Ok(format!(
        "builder and firstboot contain the GNU C library ({}), linked statically, under the GNU Lesser General Public\n\
         License, version 2.1. Its source is Debian's source package `glibc`. To link the programs with another version of\n\
         the library, run `make build` in the source of etcd-image, at the commit that `builder --version` names.\n\n\
         {}\n{}\n\n{}\n{}",
        version.trim(),
        "=".repeat(80),
        read(Path::new(GLIBC))?,
        "=".repeat(80),
        read(Path::new(LGPL))?
    ))
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<String> {
    let line = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!(
            "`{line}` failed: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of `{line}` is not UTF-8"))
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| {
        format!(
            "cannot read {}, from which the packages' licences are taken",
            path.display()
        )
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
