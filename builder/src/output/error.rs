//! The reason why an output cannot be written.

use std::io;
use std::path::{Path, PathBuf};

/// The reason why the output cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// The operating system refused an operation.
    #[error("{path}: cannot {doing}: {source}", path = path.display())]
    Io {
        /// The operation that failed.
        doing: &'static str,
        /// The file or folder of the operation.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The folder must not be replaced.
    #[error("{path}: {found}; {remedy}", path = path.display())]
    Refused {
        /// The folder that must not be replaced.
        path: PathBuf,
        /// The reason for the refusal.
        found: String,
        /// The remedy for the refusal.
        remedy: &'static str,
    },
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OutputError {
    let path = path.to_owned();
    move |source| OutputError::Io {
        doing,
        path,
        source,
    }
}
