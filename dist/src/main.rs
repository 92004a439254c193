//! Lays out the contents of the programs' packages as a folder tree. `packages.sh` runs this
//! program and packs the tree.
//!
//! `tree` copies the programs and the documents, `manual` writes manual pages and shell completions
//! from the programs' own command lines, and `licences` collects the licences of everything that is
//! linked into the programs.

mod licences;
mod manual;
mod tree;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [programs, root, date] = arguments.as_slice() else {
        eprintln!("usage: dist PROGRAMS ROOT DATE\n");
        eprintln!(
            "PROGRAMS contains builder and firstboot, ROOT is a new folder, and DATE is the date \
             of the manual pages (YYYY-MM-DD)."
        );
        return ExitCode::from(2);
    };
    match lay_out(Path::new(programs), Path::new(root), date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dist: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn lay_out(programs: &Path, root: &Path, date: &str) -> Result<()> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let workspace = workspace
        .canonicalize()
        .with_context(|| format!("cannot find {}", workspace.display()))?;
    let tree = tree::Tree::new(root.to_owned())?;
    tree.programs(programs)?;
    tree.documents(&workspace)?;
    manual::write(&tree, builder::command(), "1", date)?;
    manual::write(&tree, firstboot::command(), "8", date)?;
    licences::write(&tree, &workspace)
}
