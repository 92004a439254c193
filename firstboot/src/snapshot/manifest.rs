//! Defines the manifest of a snapshot: a JSON file that describes the snapshot's contents, its
//! origin and its checks.

use members::timestamp::rfc3339;
use recipes::{Label, Sha256};
use serde::{Deserialize, Serialize};

/// The suffix of a manifest's name. A snapshot `x.db` has the manifest `x.db.json`.
pub(crate) const SUFFIX: &str = ".json";
/// The text that identifies the file as a manifest of firstboot in this format.
const FORMAT: &str = "etcd-image snapshot 1";
/// The maximum size of a manifest in bytes.
pub(crate) const LIMIT: u64 = 64 << 10;

/// The manifest of a complete snapshot whose pages have all been checked. The manifests of earlier
/// versions have keys with underscores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Manifest {
    pub(crate) format: String,
    /// The name of the file or object.
    pub(crate) file: String,
    /// The digest of the stored file.
    pub(crate) sha256: Sha256,
    pub(crate) size: u64,
    /// The decoded snapshot, if the stored file is compressed or encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) plain: Option<Plain>,
    pub(crate) snapshot: Snapshot,
    pub(crate) cluster: Label,
    /// The cluster's and the member's ids in hexadecimal digits, as in etcdctl's output.
    #[serde(alias = "cluster_id")]
    pub(crate) cluster_id: String,
    #[serde(alias = "member_id")]
    pub(crate) member_id: String,
    /// The client URL of the member from which the snapshot was taken.
    pub(crate) endpoint: String,
    #[serde(alias = "etcd_version")]
    pub(crate) etcd_version: String,
    /// The storage version, which etcd 3.6 and later report.
    #[serde(
        alias = "storage_version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) storage_version: Option<String>,
    /// The time at which the snapshot was started (RFC 3339, UTC).
    #[serde(alias = "taken_at")]
    pub(crate) taken_at: String,
    /// The time at which the snapshot was started, in seconds since 1970.
    pub(crate) time: u64,
    /// The host that took the snapshot.
    pub(crate) host: String,
    /// The checks that were made before the snapshot received its name.
    pub(crate) checked: Vec<String>,
}

/// The snapshot before compression and encryption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plain {
    pub(crate) sha256: Sha256,
    pub(crate) size: u64,
}

/// Facts about the database in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Snapshot {
    pub(crate) revision: i64,
    /// The number of keys including their history, as in `etcdutl snapshot status`.
    pub(crate) keys: u64,
    #[serde(alias = "raft_term")]
    pub(crate) raft_term: u64,
    #[serde(alias = "raft_index")]
    pub(crate) raft_index: u64,
}

impl Manifest {
    /// Returns the format of the manifests that this version writes.
    pub(crate) fn format() -> String {
        FORMAT.to_owned()
    }

    /// Parses a manifest. Returns `None` for any other content.
    pub(crate) fn parse(content: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(content)
            .ok()
            .filter(|manifest| manifest.format == FORMAT)
    }

    /// Returns the text of the manifest.
    pub(crate) fn text(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

/// Returns the default name of a snapshot. The names sort in the order in which the snapshots were
/// taken. Each name contains the host, so that two hosts can write to the same folder or bucket at
/// the same time.
pub(crate) fn name(cluster: &Label, host: &str, time: u64, revision: i64) -> String {
    format!(
        "{}-{cluster}-{host}-r{revision}.db",
        rfc3339(time).replace(['-', ':'], "")
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::documentation::{documented, keys};

    /// Returns a sample manifest.
    pub(crate) fn some(time: u64, size: u64) -> Manifest {
        let cluster: Label = "demo".parse().unwrap();
        let sha256 = Sha256::of(b"");
        Manifest {
            format: Manifest::format(),
            file: name(&cluster, "etcd-1", time, 7),
            sha256,
            size,
            plain: None,
            snapshot: Snapshot {
                revision: 7,
                keys: 6,
                raft_term: 2,
                raft_index: 9,
            },
            cluster,
            cluster_id: "cdf818194e3a8c32".into(),
            member_id: "8e9e05c52164694d".into(),
            endpoint: "https://127.0.0.1:2379".into(),
            etcd_version: "3.5.1".into(),
            storage_version: None,
            taken_at: rfc3339(time),
            time,
            host: "etcd-1".into(),
            checked: vec!["pages".into()],
        }
    }

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_manifest() {
        let manifest = Manifest {
            plain: Some(Plain {
                sha256: Sha256::of(b""),
                size: 5,
            }),
            storage_version: Some("3.6.0".into()),
            ..some(1_795_312_800, 5)
        };
        assert_eq!(
            documented("json.md", "The manifest of a snapshot"),
            keys(&manifest)
        );
    }

    #[test]
    fn names_sort_in_the_order_in_which_the_snapshots_were_taken() {
        let label: Label = "demo".parse().unwrap();
        assert_eq!(
            name(&label, "etcd-1", 1_795_312_800, 42),
            "20261122T020000Z-demo-etcd-1-r42.db"
        );
        assert!(name(&label, "b", 999_999_999, 9) < name(&label, "a", 1_000_000_000, 1));
    }

    #[test]
    fn only_firstboots_own_manifests_are_accepted() {
        let own = some(1_795_312_800, 5);
        assert_eq!(Manifest::parse(&own.text().unwrap()), Some(own.clone()));
        let other = String::from_utf8(own.text().unwrap())
            .unwrap()
            .replace(FORMAT, "other");
        assert_eq!(Manifest::parse(other.as_bytes()), None);
        assert_eq!(Manifest::parse(b"{}"), None);
    }

    #[test]
    fn a_manifest_of_an_earlier_version_is_read() {
        let own = some(1_795_312_800, 5);
        let new = String::from_utf8(own.text().unwrap()).unwrap();
        assert!(
            new.contains("\"taken-at\"") && new.contains("\"raft-index\""),
            "{new}"
        );
        let keys = [
            "cluster-id",
            "member-id",
            "etcd-version",
            "taken-at",
            "raft-term",
            "raft-index",
        ];
        let old = keys
            .iter()
            .fold(new, |text, key| text.replace(key, &key.replace('-', "_")));
        assert!(
            !old.contains("raft-index") && old.contains("raft_index"),
            "{old}"
        );
        assert_eq!(Manifest::parse(old.as_bytes()), Some(own));
    }

    proptest! {
        #[test]
        fn an_altered_manifest_is_read_without_a_panic(
            at: prop::sample::Index,
            piece in "[]{}\\[\",:a-z0-9-]{0,8}|18446744073709551615",
        ) {
            let mut altered = some(1_795_312_800, 5).text().unwrap();
            let at = at.index(altered.len());
            let end = (at + piece.len()).min(altered.len());
            altered.splice(at..end, piece.bytes());
            if let Some(manifest) = Manifest::parse(&altered) {
                prop_assert_eq!(manifest.format, FORMAT);
            }
        }
    }
}
