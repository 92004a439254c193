//! The manifest: the digests of an image's inputs, and of the image's files except the manifest,
//! its signature and `SHA256SUMS`. The manifest contains no time and no path of the build machine,
//! so that the same inputs and the same signing key produce the same manifest on every machine.
//!
//! ```text
//! image/manifest.json       the manifest
//! image/manifest.json.sig   a signed envelope that contains the same bytes
//! image/SHA256SUMS          the digests of all other files in image/, for `sha256sum -c`
//! ```

mod error;
mod files;
mod format;
mod open;
mod overlay;
mod release;
mod report;
#[cfg(test)]
mod tests;
mod verify;

use std::path::Path;

use recipes::{EtcdVersion, PublicKey, Sha256, SigningKey};

use crate::newfile;

use format::{FORMAT, MANIFEST, SIGNATURE, SUMS, json};

pub(crate) use error::ManifestError;
pub(crate) use format::{FileDigest, Kind, MANIFEST_TYPE, Manifest, Mode, OVERLAY, OverlayEntry};
pub(crate) use open::{Image, open};
pub(crate) use report::SignatureState;
pub(crate) use verify::verify;

/// The parts of a manifest that `write` does not read from the image's files.
#[derive(Debug, Clone)]
pub(crate) struct ManifestInputs {
    /// The recipe's file name without folders, its size and its digest.
    pub recipe: FileDigest,
    /// The version of etcd in the image.
    pub etcd: EtcdVersion,
    /// The key that the image trusts.
    pub trust: PublicKey,
    /// The input files, which are the release's tarball and firstboot, in any order.
    pub inputs: Vec<FileDigest>,
    /// The overlay, with the digest that was computed while it was written. The overlay is by far
    /// the largest file, so it is not read again.
    pub packed: Option<FileDigest>,
    /// The entries that were packed into the overlay, in any order.
    pub overlay: Vec<OverlayEntry>,
}

/// Writes `manifest.json`, its signature (if a key is given) and `SHA256SUMS` into a finished image
/// folder.
pub(crate) fn write(
    image: &Path,
    inputs: ManifestInputs,
    key: Option<&SigningKey>,
) -> Result<Manifest, ManifestError> {
    let files::Listing {
        files: mut digests,
        strange,
    } = files::list(image, inputs.packed.as_ref())?;
    if let Some((name, what)) = strange.first() {
        return Err(ManifestError::wrong(&image.join(name), *what));
    }
    let mut manifest = Manifest {
        format: FORMAT,
        builder: env!("CARGO_PKG_VERSION").to_owned(),
        recipe: inputs.recipe,
        etcd: inputs.etcd,
        trust: inputs.trust.id(),
        inputs: inputs.inputs,
        outputs: digests.clone(),
        overlay: inputs.overlay,
    };
    manifest.inputs.sort();
    manifest.overlay.sort();
    let text = json(&manifest, &image.join(MANIFEST))?;
    let mut add = |name: &str, bytes: &[u8]| {
        digests.push(FileDigest {
            name: name.to_owned(),
            size: bytes.len() as u64,
            sha256: Sha256::of(bytes),
        });
        put(&image.join(name), bytes)
    };
    add(MANIFEST, &text)?;
    if let Some(key) = key {
        add(
            SIGNATURE,
            &json(&key.sign(MANIFEST_TYPE, &text), &image.join(SIGNATURE))?,
        )?;
    }
    digests.sort();
    put(&image.join(SUMS), files::sums(&digests).as_bytes())?;
    Ok(manifest)
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), ManifestError> {
    newfile::write(path, bytes, newfile::PUBLIC).map_err(ManifestError::io("write it", path))
}
