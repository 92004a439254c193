//! `release.json`: the signed document through which running nodes find a newer image. The same
//! recipe must always produce the same image, but the release contains a serial that can differ.
//! The release is therefore stored next to `image/` and not inside it.
//!
//! The module `release` is about upstream's etcd release, whereas this module is about the
//! operator's release of an image.

mod base;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::image_release::{RELEASE_FILE, RELEASE_TYPE};
use recipes::{Envelope, Label, ReleaseDocument, ReleasedFile, SigningKey};

use crate::manifest::Manifest;
use crate::{newfile, text_file};

pub(crate) use base::base;

/// Returns the release of the image with this manifest.
pub(crate) fn document(
    cluster: &Label,
    serial: u64,
    manifest: &Manifest,
    base: recipes::ImageBase,
) -> Result<ReleaseDocument> {
    let overlay = manifest
        .overlay_file()
        .context("the image has no overlay")?;
    let overlay = ReleasedFile {
        size: overlay.size,
        sha256: overlay.sha256,
    };
    Ok(ReleaseDocument::new(
        cluster.clone(),
        serial,
        manifest.image(),
        overlay,
        manifest.etcd,
        base,
    ))
}

/// Returns the release of an output, or `None` if the output has no release. This function does not
/// check the signature, because the nodes check it.
pub(crate) fn read(output: &Path) -> Result<Option<ReleaseDocument>> {
    let path = output.join(RELEASE_FILE);
    let is_file = text_file::is_file(&path);
    if !is_file.with_context(|| format!("cannot read {}", path.display()))? {
        return Ok(None);
    }
    let text = text_file::read(&path, "the release of an image")?;
    let wrong = || format!("{} is not a release", path.display());
    let envelope: Envelope = serde_json::from_str(&text).with_context(wrong)?;
    let payload = envelope.unverified().with_context(wrong)?;
    serde_json::from_slice(&payload)
        .map(Some)
        .with_context(wrong)
}

/// Signs a release, and writes it into an output.
pub(crate) fn write(output: &Path, release: &ReleaseDocument, key: &SigningKey) -> Result<()> {
    let path = output.join(RELEASE_FILE);
    let mut text =
        serde_json::to_vec_pretty(&key.sign(RELEASE_TYPE, &serde_json::to_vec(release)?))?;
    text.push(b'\n');
    newfile::write(&path, &text, newfile::PUBLIC)
        .with_context(|| format!("cannot write {}", path.display()))
}
