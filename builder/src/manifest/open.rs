//! Opens an image for a comparison with another image.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use recipes::Sha256;

use super::error::ManifestError;
use super::format::{MANIFEST, Manifest, OVERLAY};
use super::overlay;
use crate::text_file;

/// The maximum size of a file whose content is compared. Larger files are compared by digest.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// An image that has been read.
#[derive(Debug)]
pub(crate) struct Image {
    /// The builder's description of the image.
    pub(crate) manifest: Manifest,
    /// The text of the image's kickstart.
    pub(crate) kickstart: String,
    /// The digest of the overlay.
    pub(crate) overlay: Sha256,
    /// The contents of the overlay's small files, by path.
    pub(crate) contents: BTreeMap<String, Vec<u8>>,
}

/// Returns the image folder inside an output folder. If `dir` is itself an image folder, returns
/// `dir`.
pub(super) fn folder(dir: &Path) -> Result<PathBuf, ManifestError> {
    for image in [dir.join("image"), dir.to_owned()] {
        let manifest = image.join(MANIFEST);
        if text_file::is_file(&manifest).map_err(ManifestError::io("read it", &manifest))? {
            return Ok(image);
        }
    }
    Err(ManifestError::NoImage {
        path: dir.to_owned(),
    })
}

/// Reads an output's image. Only `verify` checks that the image has not changed since the build.
pub(crate) fn open(dir: &Path) -> Result<Image, ManifestError> {
    let image = folder(dir)?;
    let read = |name: &str| {
        let path = image.join(name);
        fs::read(&path).map_err(ManifestError::io("read it", &path))
    };
    let manifest: Manifest = serde_json::from_slice(&read(MANIFEST)?).map_err(|error| {
        ManifestError::wrong(
            &image.join(MANIFEST),
            format!("it is not a manifest that this builder can read ({error})"),
        )
    })?;
    let overlay = manifest
        .outputs
        .iter()
        .find(|output| output.name == OVERLAY)
        .map(|output| output.sha256);
    let overlay = overlay.ok_or_else(|| {
        ManifestError::wrong(&image.join(MANIFEST), format!("it does not list {OVERLAY}"))
    })?;
    Ok(Image {
        kickstart: String::from_utf8_lossy(&read("centos7.ks")?).into_owned(),
        contents: overlay::read(&image.join(OVERLAY), |_, size| size <= MAX_TEXT_BYTES)?.contents,
        manifest,
        overlay,
    })
}
