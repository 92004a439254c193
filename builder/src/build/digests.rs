//! The digests of a build's inputs and outputs, for the manifest.

use std::path::Path;

use recipes::{Recipe, Sha256};

use crate::manifest::{self, FileDigest};
use crate::overlay::PackedOverlay;
use crate::release;

/// Returns the recipe as an input of the image, with its file name and digest.
pub(super) fn recipe_input(path: &Path, text: &str) -> FileDigest {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    input(&name, text.as_bytes())
}

/// Returns the overlay as an output of the image.
pub(super) fn packed_overlay(packed: &PackedOverlay) -> FileDigest {
    FileDigest {
        name: manifest::OVERLAY.to_owned(),
        size: packed.size,
        sha256: packed.sha256,
    }
}

pub(super) fn input(name: &str, bytes: &[u8]) -> FileDigest {
    FileDigest {
        name: name.to_owned(),
        size: bytes.len() as u64,
        sha256: Sha256::of(bytes),
    }
}

pub(super) fn release_input(recipe: &Recipe, release: &release::Release) -> FileDigest {
    let name = format!("etcd-v{}-linux-amd64.tar.gz", recipe.etcd.settings.version);
    FileDigest {
        name,
        size: release.size,
        sha256: release.sha256,
    }
}
