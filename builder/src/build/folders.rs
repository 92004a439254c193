//! The default folders of a build.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::output;

pub(crate) fn default_cache() -> Result<PathBuf> {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
    cache
        .map(|cache| cache.join("etcd-image"))
        .context("neither XDG_CACHE_HOME nor HOME is set; name a folder with --cache")
}

/// Returns the default folder of the server's records, such as `out.state` next to `out.pki`.
pub(super) fn default_state(pki: &Path) -> PathBuf {
    let name = pki.file_name().unwrap_or_default().to_string_lossy();
    pki.with_file_name(format!(
        "{}.state",
        name.strip_suffix(".pki").unwrap_or(&name)
    ))
}

/// Refuses a folder that is the output or is inside any output, because each build replaces its
/// output completely.
pub(super) fn check_outside(folder: &Path, out: &Path, option: &str) -> Result<()> {
    let real = folder
        .canonicalize()
        .or_else(|_| std::path::absolute(folder))
        .unwrap_or_default();
    let place = folder.display();
    ensure!(
        !real.starts_with(out),
        "{place} is inside the output, which each build replaces completely; name another {option}"
    );
    if let Some(outer) = output::enclosing_output(&real) {
        bail!(
            "{place} is inside the output {}, which each build replaces completely; name another {option}",
            outer.display()
        );
    }
    Ok(())
}
