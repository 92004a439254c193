//! The manifest: everything that went into an image and everything that is in it, by digest. It has no time
//! and no path of the machine it was built on, so that the same recipe gives the same manifest everywhere.
//!
//! ```text
//! image/manifest.json       this
//! image/manifest.json.sig   a signed envelope with the same bytes in it
//! image/SHA256SUMS          all files of image/ but itself, for `sha256sum -c`
//! ```

mod files;
mod open;
mod overlay;
mod report;
#[cfg(test)]
mod tests;
mod verify;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use recipes::{EtcdVersion, PublicKey, Sha256, SigningKey};
use serde::{Deserialize, Serialize};

use crate::newfile;

pub(crate) use open::{Image, open};
pub(crate) use report::SignatureState;
pub(crate) use verify::verify;

/// The payload type of a signed manifest.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.etcd-image.manifest+json";

const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.json.sig";
const SUMS: &str = "SHA256SUMS";
/// The overlay in an image.
pub(crate) const OVERLAY: &str = "overlay.tar.gz";

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Manifest {
    /// The manifest's own format: 1.
    pub format: u32,
    /// The version of the builder.
    pub builder: String,
    /// The recipe: its file name, without folders, and digest.
    pub recipe: FileDigest,
    /// The etcd in the image.
    pub etcd: EtcdVersion,
    /// The id of the key that the image trusts.
    pub trust: String,
    /// The files that went in, by name.
    pub inputs: Vec<FileDigest>,
    /// The files of the image, by path, without the manifest's own three.
    pub outputs: Vec<FileDigest>,
    /// What is in the overlay, by path.
    pub overlay: Vec<OverlayEntry>,
}

/// A file by name and content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FileDigest {
    /// Its name, or its path below the image.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
}

/// Something in the overlay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct OverlayEntry {
    /// Where it will lie on the node, without the leading `/`.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Its permissions.
    pub mode: Mode,
    /// Its owner's number.
    pub uid: u64,
    /// Its group's number.
    pub gid: u64,
    /// A file's size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// A file's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
}

/// What an entry of the overlay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
}

/// Permissions. Their text is octal, as in `0644`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(pub u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

impl TryFrom<String> for Mode {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o7777);
        mode.map(Self).ok_or_else(|| format!("`{text}` are no permissions, expected octal ones as in 0644"))
    }
}

/// Why a manifest cannot be written, or an image not be verified at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    /// The system refused an operation.
    #[error("{path}: cannot {doing}: {source}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in an image or an overlay that has no place there.
    #[error("{path}: {found}", path = path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        found: String,
    },
    /// There is nothing to verify.
    #[error("{path}: no image/manifest.json and no manifest.json in it; name the folder that \
        `builder build --out` has written", path = path.display())]
    NoImage {
        /// The folder.
        path: PathBuf,
    },
}

impl ManifestError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    fn wrong(path: &Path, found: impl Into<String>) -> Self {
        Self::Wrong { path: path.to_owned(), found: found.into() }
    }
}

/// What only the builder knows of an image; the rest is read from its files.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// The recipe: its file name without folders, its size and digest.
    pub recipe: FileDigest,
    /// The etcd in the image.
    pub etcd: EtcdVersion,
    /// The key that the image trusts.
    pub trust: PublicKey,
    /// The files that went in, in any order: the release's tarball, firstboot.
    pub inputs: Vec<FileDigest>,
    /// The overlay, as it was measured when it was written: it is by far the largest file, and not read again.
    pub packed: Option<FileDigest>,
    /// What was packed into the overlay, in any order.
    pub overlay: Vec<OverlayEntry>,
}

/// Writes `manifest.json`, its signature where the key is there, and `SHA256SUMS` into a finished image folder.
pub(crate) fn write(image: &Path, about: About, key: Option<&SigningKey>) -> Result<Manifest, ManifestError> {
    let files::Listing { files: mut digests, strange } = files::list(image, about.packed.as_ref())?;
    if let Some((name, what)) = strange.first() {
        return Err(ManifestError::wrong(&image.join(name), *what));
    }
    let mut manifest = Manifest {
        format: FORMAT,
        builder: env!("CARGO_PKG_VERSION").to_owned(),
        recipe: about.recipe,
        etcd: about.etcd,
        trust: about.trust.id(),
        inputs: about.inputs,
        outputs: digests.clone(),
        overlay: about.overlay,
    };
    manifest.inputs.sort();
    manifest.overlay.sort();
    let text = json(&manifest, &image.join(MANIFEST))?;
    let mut add = |name: &str, bytes: &[u8]| {
        digests.push(FileDigest { name: name.to_owned(), size: bytes.len() as u64, sha256: Sha256::of(bytes) });
        put(&image.join(name), bytes)
    };
    add(MANIFEST, &text)?;
    if let Some(key) = key {
        add(SIGNATURE, &json(&key.sign(MANIFEST_TYPE, &text), &image.join(SIGNATURE))?)?;
    }
    digests.sort();
    put(&image.join(SUMS), files::sums(&digests).as_bytes())?;
    Ok(manifest)
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), ManifestError> {
    newfile::write(path, bytes, newfile::PUBLIC).map_err(ManifestError::io("write it", path))
}

fn json<T: Serialize>(value: &T, path: &Path) -> Result<Vec<u8>, ManifestError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| ManifestError::wrong(path, error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}
