//! Checks that the release next to an image is signed and belongs to this image.

use std::fs;
use std::io;
use std::path::Path;

use recipes::image_release::{RELEASE_FILE, RELEASE_TYPE};
use recipes::{Envelope, PublicKey, ReleaseDocument, Sha256};

use super::error::ManifestError;
use super::files;
use super::format::{FileDigest, Manifest, OVERLAY};
use super::report::Problem;

impl Manifest {
    /// Returns the digest of the image, computed from the names and digests of all its files except
    /// the manifest, the manifest's signature and `SHA256SUMS`. The manifest is excluded because it
    /// contains the recipe's digest and the builder's version. These two values can change while
    /// every file on a node stays the same.
    pub(crate) fn image(&self) -> Sha256 {
        Sha256::of(files::sums(&self.outputs).as_bytes())
    }

    /// Returns the overlay's entry in the list of the image's files.
    pub(crate) fn overlay_file(&self) -> Option<&FileDigest> {
        self.outputs.iter().find(|file| file.name == OVERLAY)
    }
}

/// Checks the release in an output. Skips the check if there is no key. The release may be missing
/// only if the output has no node documents, for example because only the image was copied.
pub(super) fn check(
    output: &Path,
    key: Option<&PublicKey>,
    manifest: &Manifest,
) -> Result<Option<Problem>, ManifestError> {
    let path = output.join(RELEASE_FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_missing = output.join("nodes").is_dir();
            let missing = || {
                Problem::new(
                    RELEASE_FILE,
                    "it is missing, so running nodes cannot find the image",
                )
            };
            return Ok(is_missing.then(missing));
        }
        Err(error) => return Err(ManifestError::io("read it", &path)(error)),
    };
    let Some(key) = key else { return Ok(None) };
    Ok(fault(&text, key, manifest).map(|why| Problem::new(RELEASE_FILE, why)))
}

fn fault(text: &[u8], key: &PublicKey, manifest: &Manifest) -> Option<String> {
    // The manifest does not name the image's cluster, so this check accepts a release for any
    // cluster.
    let named = || {
        let envelope: Envelope = serde_json::from_slice(text)
            .map_err(|error| format!("it is not a signed document ({error})"))?;
        let payload = envelope
            .open(RELEASE_TYPE, key)
            .map_err(|error| error.to_string())?;
        let release: ReleaseDocument = serde_json::from_slice(&payload)
            .map_err(|error| format!("it cannot be parsed ({error})"))?;
        ReleaseDocument::open(text, key, &release.cluster).map_err(|error| error.to_string())
    };
    let release = match named() {
        Ok(release) => release,
        Err(why) => return Some(why),
    };
    let overlay = manifest.overlay_file().map(|file| (file.size, file.sha256));
    let same = release.image == manifest.image()
        && release.etcd == manifest.etcd
        && overlay == Some((release.overlay.size, release.overlay.sha256));
    (!same).then(|| {
        format!(
            "it is the release of another image, with serial {}",
            release.serial
        )
    })
}
