//! The project's own programs, as `make build` left them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::{cache, process};

/// The folder with both, static and ready to be given to somebody.
fn folder() -> PathBuf {
    cache::workspace().join("target/dist")
}

/// The builder.
pub fn builder() -> Result<PathBuf> {
    existing(folder().join("builder"))
}

/// The firstboot that goes into an image.
pub fn firstboot() -> Result<PathBuf> {
    existing(folder().join("firstboot"))
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    ensure!(path.is_file(), "{} is not there: run `make build`", path.display());
    Ok(path)
}

/// Runs the builder with these arguments, whatever its exit code.
pub fn run_builder(arguments: &[&str]) -> Result<process::Ran> {
    process::run(Command::new(builder()?).args(arguments))
}

/// A ready recipe.
pub fn recipe(name: &str) -> PathBuf {
    cache::workspace().join("recipes").join(Path::new(name).with_extension("toml"))
}
