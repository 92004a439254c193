//! Reads the files that a kickstart includes.

use std::fs;
use std::path::{Component, Path};

use anyhow::{Context as _, Result, bail};

/// Returns the text of an included file in the installer's root file system. The path must be
/// absolute and without `..`.
pub(super) fn included(root: &Path, file: &str) -> Result<String> {
    let path = Path::new(file);
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        bail!("the stand-in includes files with an absolute path, not {file}");
    }
    let real = root.join(file.trim_start_matches('/'));
    fs::read_to_string(&real).with_context(|| format!("the installer has no file {file}"))
}
