//! Downloads the etcd release of a mirror, and verifies the release as `builder build` does.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::{Recipe, Sha256};
use serde::{Deserialize, Serialize};

use super::folder::{Folder, Status};
use super::metadata::ListedFile;
use super::path::RelativePath;
use crate::release::{self, Fetch, ReleaseRequest, SUMS_FILE};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MirroredRelease {
    pub(super) version: String,
    pub(super) sha256: Sha256,
    /// The path of the tarball, relative to the mirror's folder.
    pub(super) path: String,
}

/// Downloads the release and its SHA256SUMS into the mirror, unless the mirror already contains
/// them. Returns the release, and the tarball's size if it was downloaded.
pub(super) fn mirror(
    recipe: &Recipe,
    folder: &Folder,
    cache: &Path,
    fetch: Fetch<'_>,
) -> Result<(MirroredRelease, Option<u64>)> {
    let (version, sha256) = (recipe.etcd.settings.version, recipe.etcd.sha256);
    let name = release::tarball(version);
    let area: RelativePath = parse(&format!("etcd/v{version}"))?;
    let (tarball, sums) = (parse(&name)?, parse(SUMS_FILE)?);
    let wanted = ReleaseRequest {
        version,
        sha256,
        mirrors: &recipe.etcd.mirrors,
        cache,
        offline: false,
        file: None,
    };
    let listed = ListedFile {
        path: tarball.clone(),
        sha256,
        size: None,
    };
    let mut downloaded = None;
    if !matches!(folder.status(&area, &listed)?, Status::Present(_)) {
        let release = release::obtain(&wanted, fetch.progress)?;
        fetch.progress.say(&release.evidence.to_string());
        let bytes = fs::read(&release.tarball)
            .with_context(|| format!("cannot read {}", release.tarball.display()))?;
        folder.write(&area, &tarball, &bytes)?;
        downloaded = Some(release.size);
    }
    let text = fs::read_to_string(folder.path(&area, &sums)?).unwrap_or_default();
    if release::find_sum(&text, &name) != Some(sha256) {
        let text = upstream_sums(&wanted, fetch, &name)?;
        folder.write(&area, &sums, text.as_bytes())?;
    }
    let release = MirroredRelease {
        version: version.to_string(),
        sha256,
        path: format!("{area}/{name}"),
    };
    Ok((release, downloaded))
}

/// Returns upstream's SHA256SUMS. If no etcd mirror has that file, returns a generated SHA256SUMS
/// that contains only the digest that the recipe pins.
fn upstream_sums(wanted: &ReleaseRequest<'_>, fetch: Fetch<'_>, name: &str) -> Result<String> {
    if let Some(text) = release::upstream_sums(wanted, fetch)? {
        return Ok(text);
    }
    fetch.progress.say(&format!(
        "note: no etcd mirror has {SUMS_FILE}: this mirror will contain a {SUMS_FILE} with only \
         the recipe's digest"
    ));
    Ok(release::write_sums([(wanted.sha256, name)]))
}

fn parse(path: &str) -> Result<RelativePath> {
    path.parse().map_err(anyhow::Error::msg)
}
