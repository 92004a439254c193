//! What stands beside each snapshot: what it is, where it came from, and how it was checked.

use recipes::{Label, Sha256};
use serde::{Deserialize, Serialize};

/// The name's end: a snapshot `x.db` has the manifest `x.db.json`.
pub(crate) const SUFFIX: &str = ".json";
/// By this a manifest is known as firstboot's own.
const FORMAT: &str = "etcd-image snapshot 1";
/// No manifest is as large; what is read from outside has a limit.
pub(crate) const LIMIT: u64 = 64 << 10;

/// The manifest of a snapshot that is whole, and whose every page was walked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// That it is one of firstboot's.
    pub(crate) format: String,
    /// The file or object beside it.
    pub(crate) file: String,
    /// Of the whole file as it is stored.
    pub(crate) sha256: Sha256,
    pub(crate) size: u64,
    /// Of the snapshot, the database and the digest at its end, where it is stored compressed or encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) plain: Option<Plain>,
    /// What is in it.
    pub(crate) snapshot: Snapshot,
    /// The cluster's name.
    pub(crate) cluster: Label,
    /// Hexadecimal, as etcdctl shows them.
    pub(crate) cluster_id: String,
    pub(crate) member_id: String,
    /// Where it was taken from.
    pub(crate) endpoint: String,
    pub(crate) etcd_version: String,
    /// From 3.6 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) storage_version: Option<String>,
    /// When it was begun: RFC 3339, UTC.
    pub(crate) taken_at: String,
    /// The same in seconds since 1970.
    pub(crate) time: u64,
    /// The host that took it.
    pub(crate) host: String,
    /// What was checked before the snapshot got its name.
    pub(crate) checked: Vec<String>,
}

/// A snapshot before anything was done to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plain {
    pub(crate) sha256: Sha256,
    pub(crate) size: u64,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) revision: i64,
    /// With their history, as `etcdutl snapshot status` counts them.
    pub(crate) keys: u64,
    pub(crate) raft_term: u64,
    pub(crate) raft_index: u64,
}

impl Manifest {
    /// The mark of firstboot's own.
    pub(crate) fn format() -> String {
        FORMAT.to_owned()
    }

    /// The manifest in a file's content; `None` where it is something else.
    pub(crate) fn parse(content: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(content).ok().filter(|manifest| manifest.format == FORMAT)
    }

    /// As it is written.
    pub(crate) fn text(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

/// The name that a snapshot gets by itself: names sort as the snapshots were taken, and two hosts that write to one place
/// at one time do not meet.
pub(crate) fn name(cluster: &Label, host: &str, time: u64, revision: i64) -> String {
    format!("{}-{cluster}-{host}-r{revision}.db", stamp(time).replace(['-', ':'], ""))
}

/// RFC 3339 in UTC, to the second.
pub(crate) fn stamp(time: u64) -> String {
    let form = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let moment = i64::try_from(time).ok().and_then(|time| time::OffsetDateTime::from_unix_timestamp(time).ok());
    moment.and_then(|moment| moment.format(form).ok()).unwrap_or_else(|| time.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A manifest of some snapshot.
    pub(crate) fn some(time: u64, size: u64) -> Manifest {
        let cluster: Label = "demo".parse().unwrap();
        let sha256 = Sha256::of(b"");
        Manifest {
            format: Manifest::format(),
            file: name(&cluster, "etcd-1", time, 7),
            sha256,
            size,
            plain: None,
            snapshot: Snapshot { revision: 7, keys: 6, raft_term: 2, raft_index: 9 },
            cluster,
            cluster_id: "cdf818194e3a8c32".into(),
            member_id: "8e9e05c52164694d".into(),
            endpoint: "https://127.0.0.1:2379".into(),
            etcd_version: "3.5.1".into(),
            storage_version: None,
            taken_at: stamp(time),
            time,
            host: "etcd-1".into(),
            checked: vec!["pages".into()],
        }
    }

    #[test]
    fn names_sort_as_the_snapshots_were_taken() {
        let label: Label = "demo".parse().unwrap();
        assert_eq!(name(&label, "etcd-1", 1_795_312_800, 42), "20261122T020000Z-demo-etcd-1-r42.db");
        assert!(name(&label, "b", 999_999_999, 9) < name(&label, "a", 1_000_000_000, 1));
    }

    #[test]
    fn only_firstboots_own_manifests_count() {
        let own = some(1_795_312_800, 5);
        assert_eq!(Manifest::parse(&own.text().unwrap()), Some(own.clone()));
        let other = String::from_utf8(own.text().unwrap()).unwrap().replace(FORMAT, "other");
        assert_eq!(Manifest::parse(other.as_bytes()), None);
        assert_eq!(Manifest::parse(b"{}"), None);
    }
}
