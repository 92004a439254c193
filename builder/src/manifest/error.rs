//! The reason why a manifest cannot be written or verified.

use std::io;
use std::path::{Path, PathBuf};

/// The reason why a manifest cannot be written, or why an image cannot be verified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    /// The operating system refused an operation.
    #[error("{path}: cannot {doing}: {source}", path = path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A file or folder of an image does not have the expected content.
    #[error("{path}: {found}", path = path.display())]
    Wrong {
        path: PathBuf,
        /// A description of the fault and of the expected content.
        found: String,
    },
    /// The folder contains no image.
    #[error("{path}: it contains neither image/manifest.json nor manifest.json; name the folder \
        that `builder build --out` has written", path = path.display())]
    NoImage { path: PathBuf },
}

impl ManifestError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    pub(super) fn wrong(path: &Path, found: impl Into<String>) -> Self {
        Self::Wrong {
            path: path.to_owned(),
            found: found.into(),
        }
    }
}
