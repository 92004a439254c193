//! The findings of a verification, as text and as JSON.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::console::counted;

/// The outcome of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    /// The verified image folder.
    #[serde(serialize_with = "crate::path_text::serialize")]
    pub image: PathBuf,
    /// The number of checked files in the image.
    pub files: usize,
    /// The number of compared entries of the overlay.
    pub overlay: usize,
    /// The number of nodes whose documents were checked.
    pub nodes: usize,
    /// The state of the manifest's signature.
    pub signature: SignatureState,
    /// All problems of the output. The list of problems is empty if the output is good.
    pub problems: Vec<Problem>,
}

/// The state of the manifest's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(crate) enum SignatureState {
    /// The manifest is signed by the given key.
    Good {
        /// The id of the given key.
        key: String,
    },
    /// The manifest is signed by the key in the image itself. The image is consistent, but nothing
    /// proves who built it.
    OwnKey {
        /// The id of the image's key.
        key: String,
    },
    /// The manifest is signed by the image's own key, but a different key was given. The image is
    /// consistent, but does not come from the expected builder.
    OtherKey {
        /// The id of the signing key.
        key: String,
        /// The id of the given key.
        given: String,
    },
    /// The manifest has no signature.
    Unsigned,
    /// The signature is not valid. The report's list of problems contains the reason.
    Bad,
    /// The signature cannot be checked, because neither the user nor the image provides a key.
    NoKey,
}

impl fmt::Display for SignatureState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good { key } => write!(f, "good, made with the given key {key}"),
            Self::OwnKey { key } => write!(
                f,
                "good, made with the key {key} in the image (use --key to check who made the image)"
            ),
            Self::OtherKey { key, given } => write!(
                f,
                "made with the key {key} in the image, not with the given key {given}"
            ),
            Self::Unsigned => f.write_str("none"),
            Self::Bad => f.write_str("BAD"),
            Self::NoKey => f.write_str("not checked, because there is no key"),
        }
    }
}

/// A problem that the verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Problem {
    /// The file's path, relative to the image. For the release and for a node's files, the path is
    /// relative to the output. A file in the overlay is written as `overlay.tar.gz: etc/fstab`.
    pub path: String,
    /// The fault of the file.
    pub what: String,
    /// The expected value, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The actual value, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl Problem {
    pub(super) fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            what: what.into(),
            expected: None,
            found: None,
        }
    }

    pub(super) fn differs(
        path: impl Into<String>,
        what: impl Into<String>,
        expected: &impl ToString,
        found: &impl ToString,
    ) -> Self {
        let (expected, found) = (Some(expected.to_string()), Some(found.to_string()));
        Self {
            expected,
            found,
            ..Self::new(path, what)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)?;
        if let Some(expected) = &self.expected {
            write!(f, "\n    expected {expected}")?;
        }
        if let Some(found) = &self.found {
            write!(f, "\n    found    {found}")?;
        }
        Ok(())
    }
}

impl Report {
    /// Returns whether the verification found neither a problem nor a signature by another key.
    pub(crate) fn is_good(&self) -> bool {
        self.problems.is_empty() && !matches!(self.signature, SignatureState::OtherKey { .. })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "image      {}", self.image.display())?;
        writeln!(f, "files      {}", self.files)?;
        writeln!(f, "overlay    {} entries", self.overlay)?;
        writeln!(f, "nodes      {}", self.nodes)?;
        writeln!(f, "signature  {}", self.signature)?;
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        match (self.problems.len(), &self.signature) {
            (0, SignatureState::OtherKey { .. }) => f.write_str(
                "NOT verified: every digest matches the manifest, but another key signed it\n",
            ),
            (0, _) => f.write_str("verified: every digest matches the manifest\n"),
            (count, _) => writeln!(f, "NOT verified: {}", counted(count, "problem")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_verification() {
        let report = Report {
            image: PathBuf::from("out/image"),
            files: 5,
            overlay: 90,
            nodes: 3,
            signature: SignatureState::OtherKey {
                key: "a".to_owned(),
                given: "b".to_owned(),
            },
            problems: vec![Problem::differs("a", "its size is wrong", &1, &2)],
        };
        assert_eq!(documented("json.md", "builder verify"), keys(&report));
        assert_eq!(
            documented("json.md", "A signature"),
            keys(&report.signature)
        );
        assert_eq!(
            documented("json.md", "A problem"),
            keys(&report.problems[0])
        );
    }
}
