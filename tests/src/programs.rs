//! The project's own programs, as `make build` makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{cache, process, run};

/// Returns the folder with both programs, which are static and ready for use.
fn folder() -> PathBuf {
    cache::workspace().join("target/dist")
}

/// Returns the path of the builder.
pub fn builder() -> Result<PathBuf> {
    existing(folder().join("builder"))
}

/// Returns the path of the firstboot that the builder packs into images.
pub fn firstboot() -> Result<PathBuf> {
    existing(folder().join("firstboot"))
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    ensure!(
        path.is_file(),
        "{} does not exist: run `make build`",
        path.display()
    );
    Ok(path)
}

/// Runs the builder with these arguments, and accepts any exit code.
pub fn run_builder(arguments: &[&str]) -> Result<process::Output> {
    process::run(Command::new(builder()?).args(arguments))
}

/// Returns the path of one of the project's recipes.
pub fn recipe(name: &str) -> PathBuf {
    cache::workspace()
        .join("recipes")
        .join(Path::new(name).with_extension("toml"))
}

/// Copies the demo's recipe, and returns the path of the copy. The copy has only the first `nodes`
/// nodes. The lines in `etcd` are inserted at the end of `[etcd]`, and the lines in `more` at the
/// end of the file.
pub fn demo(nodes: usize, etcd: &str, more: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(recipe("demo"))?;
    let (head, rest) = text
        .split_once("[network]")
        .context("the demo has no [network]")?;
    let head: Vec<&str> = head.split("[[node]]").take(nodes + 1).collect();
    let rest = rest.replacen("[install]", &format!("{etcd}\n[install]"), 1);
    let path = run::current()?.folder("recipe")?.join("recipe.toml");
    fs::write(
        &path,
        format!("{}[network]{rest}\n{more}\n", head.join("[[node]]")),
    )
    .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
