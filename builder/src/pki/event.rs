//! The events that a command reports to the operator while it works on a PKI folder.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// An event for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// A file was created.
    Made {
        #[serde(serialize_with = "crate::path_text::serialize")]
        path: PathBuf,
    },
    /// A certificate was replaced by a newer certificate for the same key. The old certificate is
    /// not kept.
    Renewed {
        #[serde(serialize_with = "crate::path_text::serialize")]
        path: PathBuf,
    },
    /// A file was replaced.
    Replaced {
        #[serde(serialize_with = "crate::path_text::serialize")]
        path: PathBuf,
        why: String,
        #[serde(serialize_with = "crate::path_text::serialize")]
        kept: PathBuf,
    },
    /// A folder was moved to another name, and nothing replaced it.
    Archived {
        #[serde(serialize_with = "crate::path_text::serialize")]
        path: PathBuf,
        why: String,
        #[serde(serialize_with = "crate::path_text::serialize")]
        kept: PathBuf,
    },
    /// A problem that does not prevent the use of the file.
    Warning {
        #[serde(serialize_with = "crate::path_text::serialize")]
        path: PathBuf,
        text: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made { path } => write!(f, "{}: made", path.display()),
            Self::Renewed { path } => write!(f, "{}: renewed", path.display()),
            Self::Replaced { path, why, kept } => {
                write!(
                    f,
                    "{}: replaced, because {why}; the old file is {}",
                    path.display(),
                    kept.display()
                )
            }
            Self::Archived { path, why, kept } => {
                write!(
                    f,
                    "{}: moved to {}, because {why}",
                    path.display(),
                    kept.display()
                )
            }
            Self::Warning { path, text } => write!(f, "{}: {text}", path.display()),
        }
    }
}
