//! The reason why an overlay cannot be packed.

use std::io;
use std::path::{Path, PathBuf};

use recipes::Sha256;

use super::NodePath;

/// The reason why an overlay cannot be packed. Each reason names the entry or the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OverlayError {
    /// Two entries have the same path.
    #[error("the overlay contains {0} twice: remove one of the two")]
    Twice(NodePath),
    /// An entry is below an entry that is not a folder.
    #[error("{below} is below {above}, which is a file in the overlay: move one of the two")]
    BelowFile {
        /// The path of the misplaced entry, which is below `above`.
        below: NodePath,
        /// The path of the entry that is not a folder.
        above: String,
    },
    /// A path does not fit into a tar header.
    #[error("{0}: this path is too long for a ustar header: shorten it")]
    TooLong(NodePath),
    /// A number does not fit into a tar header.
    #[error(
        "{path}: {what} {value:o} (octal) is larger than the maximum in a ustar header ({most:o})"
    )]
    TooBig {
        /// The entry to which the number belongs.
        path: NodePath,
        /// The kind of number: `mode`, `uid`, `gid`, `size` or `time`.
        what: &'static str,
        /// The value of the number.
        value: u64,
        /// The largest possible number.
        most: u64,
    },
    /// A file has changed since it was verified.
    #[error("{} changed after it was verified\n  {expected}  verified\n  {found}  found now; build \
        again", .path.display())]
    Changed {
        path: PathBuf,
        /// The digest that was verified.
        expected: Sha256,
        /// The file's current digest.
        found: Sha256,
    },
    /// A file could not be read or written.
    #[error("cannot {what} {}: {source}{}", .path.display(), remedy(.source))]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl OverlayError {
    /// Wraps the operating system's error about a file.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space there, or name another folder"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; give this user access to it"
        }
        _ => "",
    }
}
