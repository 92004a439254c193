//! The reason why an output cannot be written.

use std::io;
use std::path::{Path, PathBuf};

/// The reason why the output cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// The operating system refused an operation.
    #[error("{path}: cannot {doing}: {source}", path = path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// An output is not allowed at this path.
    #[error("{path}: {found}; {remedy}", path = path.display())]
    Refused {
        path: PathBuf,
        found: String,
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
