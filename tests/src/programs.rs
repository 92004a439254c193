//! The project's own programs, as `make build` left them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{cache, process, run};

/// The folder with both programs, static and ready to hand out.
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
    ensure!(
        path.is_file(),
        "{} is not there: run `make build`",
        path.display()
    );
    Ok(path)
}

/// Runs the builder with these arguments, whatever its exit code.
pub fn run_builder(arguments: &[&str]) -> Result<process::Output> {
    process::run(Command::new(builder()?).args(arguments))
}

/// Returns the path of a ready recipe.
pub fn recipe(name: &str) -> PathBuf {
    cache::workspace()
        .join("recipes")
        .join(Path::new(name).with_extension("toml"))
}

/// Returns the demo's recipe with its first so many nodes, with these lines at the end of `[etcd]`
/// and these at the end of the file.
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
