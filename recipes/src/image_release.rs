//! A release: a small signed document that describes one image. Before a node downloads the image,
//! it reads the release to determine whether the image is newer than the node's own image.
//!
//! The *base* is everything that only an installation can change: partitions, packages,
//! repositories, kernel arguments, users, and the loaded SELinux module. A node compares the base
//! of a release with its own base. An update installs everything else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Envelope, EnvelopeError, EtcdVersion, Label, PublicKey, Sha256};

/// The payload type of a signed release.
pub const RELEASE_TYPE: &str = "application/vnd.etcd-image.release+json";

/// The file name of a release. The file is in the builder's output, next to `image/`.
pub const RELEASE_FILE: &str = "release.json";

/// The path of a release's overlay, relative to the folder that contains the release.
pub const RELEASE_OVERLAY: &str = "image/overlay.tar.gz";

/// The maximum length of a release, in bytes.
pub const RELEASE_LIMIT: u64 = 256 << 10;

/// The version of the format that this program writes and reads.
const FORMAT: u32 = 1;

/// A release of a cluster's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReleaseDocument {
    format: u32,
    /// The name of the cluster that the image is for.
    pub cluster: Label,
    /// The serial of the image. The first image has serial 1. The builder increases the serial
    /// by one for each image that differs from the previous one.
    pub serial: u64,
    /// The digest of the image, computed over the names and digests of the image's files.
    pub image: Sha256,
    /// The overlay, which a node unpacks.
    pub overlay: ReleasedFile,
    /// The version of etcd in the image.
    pub etcd: EtcdVersion,
    /// The digest of the parts of the base.
    pub base: Sha256,
    /// The parts of the base, which only an installation can change.
    pub base_parts: ImageBase,
}

/// A file of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReleasedFile {
    /// The file's size in bytes.
    pub size: u64,
    /// The file's digest.
    pub sha256: Sha256,
}

/// The reason why a release is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The text is not a signed document.
    #[error("it is not a signed document ({0})")]
    Syntax(String),
    /// The trusted key did not sign the document, or did not sign it as a release.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The release has a format that this program does not read.
    #[error(
        "its format is {0}, but this program reads format {FORMAT}: reinstall the node from the \
         new image"
    )]
    Format(u32),
    /// The payload is signed, but it cannot be parsed.
    #[error("it cannot be parsed ({0})")]
    Content(String),
    /// The digest of the base does not match the base's parts, or the serial is 0.
    #[error("it contradicts itself: {0}")]
    Contradiction(&'static str),
    /// The release is for a different cluster.
    #[error("it is for the cluster {found}, but this node belongs to {expected}")]
    Cluster {
        /// The cluster of the node.
        expected: Label,
        /// The cluster of the release.
        found: Label,
    },
}

impl ReleaseDocument {
    /// Creates the release that describes an image.
    pub fn new(
        cluster: Label,
        serial: u64,
        image: Sha256,
        overlay: ReleasedFile,
        etcd: EtcdVersion,
        base_parts: ImageBase,
    ) -> Self {
        Self {
            format: FORMAT,
            cluster,
            serial,
            image,
            overlay,
            etcd,
            base: base_parts.digest(),
            base_parts,
        }
    }

    /// Reads a signed release. The release must be signed with this key and be for this cluster.
    pub fn open(text: &[u8], key: &PublicKey, cluster: &Label) -> Result<Self, ReleaseError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let envelope: Envelope = serde_json::from_slice(text)
            .map_err(|error| ReleaseError::Syntax(error.to_string()))?;
        let payload = envelope.open(RELEASE_TYPE, key)?;
        let content = |error: serde_json::Error| ReleaseError::Content(error.to_string());
        let Format { format } = serde_json::from_slice(&payload).map_err(content)?;
        if format != FORMAT {
            return Err(ReleaseError::Format(format));
        }
        let release: Self = serde_json::from_slice(&payload).map_err(content)?;
        if release.base != release.base_parts.digest() {
            return Err(ReleaseError::Contradiction(
                "the digest of its base does not match the base's parts",
            ));
        }
        if release.serial == 0 {
            return Err(ReleaseError::Contradiction("its serial is 0"));
        }
        if release.cluster != *cluster {
            return Err(ReleaseError::Cluster {
                expected: cluster.clone(),
                found: release.cluster,
            });
        }
        Ok(release)
    }
}

/// The base of an image: the lines of each part, keyed by the name of the part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageBase(BTreeMap<String, Vec<String>>);

impl ImageBase {
    /// Adds a part.
    pub fn add(&mut self, part: &str, lines: impl IntoIterator<Item = String>) {
        self.0.insert(part.to_owned(), lines.into_iter().collect());
    }

    /// Computes the digest of all parts.
    pub fn digest(&self) -> Sha256 {
        // Each name and line is preceded by its length, so that the digest also changes if a
        // character moves from one name or line to the next.
        let mut text = String::new();
        let mut add = |word: &str| {
            text.push_str(&word.len().to_string());
            text.push(' ');
            text.push_str(word);
        };
        for (part, lines) in &self.0 {
            add(part);
            add(&lines.len().to_string());
            for line in lines {
                add(line);
            }
        }
        Sha256::of(text.as_bytes())
    }

    /// Describes how another base differs from this one, with a line for each part that differs.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let none = Vec::new();
        let parts = self
            .0
            .keys()
            .chain(other.0.keys().filter(|part| !self.0.contains_key(*part)));
        let difference = |part: &String| {
            let (old, new) = (
                self.0.get(part).unwrap_or(&none),
                other.0.get(part).unwrap_or(&none),
            );
            if old == new {
                return None;
            }
            let gone = old
                .iter()
                .filter(|line| !new.contains(line))
                .map(|line| format!("-`{line}`"));
            let come = new
                .iter()
                .filter(|line| !old.contains(line))
                .map(|line| format!("+`{line}`"));
            let mut lines: Vec<String> = gone.chain(come).collect();
            if lines.is_empty() {
                lines.push("the same lines in a different order".to_owned());
            }
            Some(format!("{part}: {}", lines.join(" ")))
        };
        parts.filter_map(difference).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SigningKey;

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
    }

    fn base(parts: &[(&str, &[&str])]) -> ImageBase {
        let mut base = ImageBase::default();
        for (part, lines) in parts {
            base.add(part, lines.iter().map(ToString::to_string));
        }
        base
    }

    fn release() -> ReleaseDocument {
        let overlay = ReleasedFile {
            size: 7,
            sha256: Sha256::of(b"overlay"),
        };
        let base = base(&[("packages", &["@core", "tar"])]);
        ReleaseDocument::new(
            "etcd".parse().unwrap(),
            3,
            Sha256::of(b"image"),
            overlay,
            "3.5.33".parse().unwrap(),
            base,
        )
    }

    fn signed(key: &SigningKey, payload: &serde_json::Value) -> Vec<u8> {
        serde_json::to_vec(&key.sign(RELEASE_TYPE, payload.to_string().as_bytes())).unwrap()
    }

    fn open(text: &[u8], key: &SigningKey) -> Result<ReleaseDocument, ReleaseError> {
        ReleaseDocument::open(text, &key.public(), &"etcd".parse().unwrap())
    }

    #[test]
    fn a_signed_release_is_read_back_and_each_fault_has_its_own_error() {
        let (key, release) = (key(), release());
        let good = serde_json::to_value(&release).unwrap();
        assert_eq!(open(&signed(&key, &good), &key).unwrap(), release);

        let with = |field: &str, value: serde_json::Value| {
            let mut changed = good.clone();
            changed[field] = value;
            open(&signed(&key, &changed), &key).unwrap_err()
        };
        assert!(matches!(
            with("cluster", "other".into()),
            ReleaseError::Cluster { .. }
        ));
        assert!(matches!(
            with("serial", 0.into()),
            ReleaseError::Contradiction(_)
        ));
        assert!(matches!(
            with("base-parts", serde_json::json!({})),
            ReleaseError::Contradiction(_)
        ));
        assert_eq!(with("format", 2.into()), ReleaseError::Format(2));
        assert!(matches!(
            with("strange", 1.into()),
            ReleaseError::Content(_)
        ));
        let other = self::key();
        let untrusted = open(&signed(&other, &good), &key).unwrap_err();
        assert!(
            matches!(
                untrusted,
                ReleaseError::Envelope(EnvelopeError::Untrusted { .. })
            ),
            "{untrusted}"
        );
        let node =
            serde_json::to_vec(&key.sign(crate::node::NODE_TYPE, good.to_string().as_bytes()))
                .unwrap();
        assert!(matches!(
            open(&node, &key),
            Err(ReleaseError::Envelope(EnvelopeError::Type { .. }))
        ));
        assert!(matches!(
            open(b"<html>", &key),
            Err(ReleaseError::Syntax(_))
        ));
    }

    #[test]
    fn the_differences_between_bases_are_listed_by_part() {
        let old = base(&[
            ("packages", &["@core", "tar"]),
            ("users", &["a"]),
            ("kernel", &["x", "y"]),
        ]);
        let new = base(&[
            ("packages", &["@core", "vim"]),
            ("users", &["a"]),
            ("kernel", &["y", "x"]),
            ("disk", &["sda"]),
        ]);
        assert_eq!(
            old.differences(&new),
            [
                "kernel: the same lines in a different order",
                "packages: -`tar` +`vim`",
                "disk: +`sda`"
            ]
        );
        assert!(old.differences(&old).is_empty());
        assert_ne!(old.digest(), new.digest());
    }

    #[test]
    fn lines_that_move_between_parts_change_the_digest() {
        let one = base(&[("a", &["b", "c"])]);
        for other in [
            base(&[("a", &["bc"])]),
            base(&[("a", &["b"]), ("c", &[])]),
            base(&[("ab", &["c"])]),
        ] {
            assert_ne!(one.digest(), other.digest(), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = open(&bytes, &key());
        }

        /// If the text of a signed release is changed, the reader returns either the original
        /// release or an error.
        #[test]
        fn changed_text_is_never_read_as_another_release(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let key = key();
            let mut text = signed(&key, &serde_json::to_value(release()).unwrap());
            let at = at.index(text.len());
            if cut { text.truncate(at) } else { text[at] = byte }
            if let Ok(read) = open(&text, &key) {
                prop_assert_eq!(read, release());
            }
        }
    }
}
