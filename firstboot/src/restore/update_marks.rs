//! Shows how a restore changes the state of updates that the members share in etcd: the halt, and
//! the marks of failed releases. A restore replaces all keys in etcd, including the keys of the
//! halt and of the marks.

use std::collections::BTreeSet;
use std::fmt;

use members::etcd::KeyValue;
use members::keys::{FAILED_PREFIX, HALT, UPDATE_PREFIX, UpdateHalt};
use recipes::ClusterDocument;
use recipes::cluster::Member;
use serde::Serialize;

use super::answers;
use crate::etcd::Client;
use crate::output::say;
use crate::paths;

/// The halt, and the marks of failed releases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct UpdateMarks {
    halt: Option<UpdateHalt>,
    /// The serials of the releases that are marked as failed.
    failed: BTreeSet<u64>,
}

impl UpdateMarks {
    /// Reads the marks of the cluster. A member also answers without a quorum, so the answer with
    /// the newest revision counts. Returns `None` if no member answers or the marks cannot be read,
    /// because neither must prevent a restore.
    pub(super) fn of_cluster(cluster: &ClusterDocument) -> Option<Self> {
        Self::read(cluster.members.iter().map(Member::client_url))
    }

    fn read(urls: impl IntoIterator<Item = String>) -> Option<Self> {
        let list = |client: Client| async move { client.list_local(UPDATE_PREFIX).await };
        let answers = answers::of_members(urls, list).ok()?;
        let (_, keys) = answers.into_iter().max_by_key(|(revision, _)| *revision)?;
        Self::parse(&keys)
    }

    fn parse(keys: &[KeyValue]) -> Option<Self> {
        let mut marks = Self::default();
        for KeyValue { key, value, .. } in keys {
            let key = String::from_utf8_lossy(key);
            if key == HALT {
                marks.halt = serde_json::from_slice(value).ok()?;
            } else if let Some(serial) = key.strip_prefix(FAILED_PREFIX) {
                marks.failed.extend(serial.parse::<u64>());
            }
        }
        Some(marks)
    }
}

impl fmt::Display for UpdateMarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.halt {
            Some(halt) => write!(f, "halted by {} ({})", halt.node, halt.why)?,
            None => f.write_str("not halted")?,
        }
        let failed: Vec<String> = self.failed.iter().map(u64::to_string).collect();
        match &failed[..] {
            [] => f.write_str(", no release is marked as failed"),
            _ => write!(f, ", releases marked as failed: {}", failed.join(", ")),
        }
    }
}

/// Describes the marks. `marks` is `None` if no member answered, or if the marks cannot be read.
pub(super) fn describe(marks: Option<&UpdateMarks>) -> String {
    marks.map_or_else(
        || "unknown, because no member answered or the marks cannot be read".to_owned(),
        UpdateMarks::to_string,
    )
}

/// Warns the operator if the restore changed the marks, or if the marks before or after the restore
/// are unknown.
pub(super) fn warn_of_changes(before: Option<&UpdateMarks>) {
    let after = UpdateMarks::read([paths::OWN_CLIENT_URL.to_owned()]);
    if let Some(warning) = warning(before, after.as_ref()) {
        say(warning);
    }
}

fn warning(before: Option<&UpdateMarks>, after: Option<&UpdateMarks>) -> Option<String> {
    if before.is_some() && before == after {
        return None;
    }
    Some(format!(
        "warning: the restore replaced the halt of updates and the marks of failed releases. Before: {}. Now: {}. \
         `firstboot update --halt WHY` halts the updates, and `firstboot update --resume` ends the halt",
        describe(before),
        describe(after)
    ))
}

#[cfg(test)]
mod tests {
    use members::keys::failed_key;

    use super::*;

    fn marks(halted: bool, failed: &[u64]) -> UpdateMarks {
        let halt = r#"{"why":"freeze","node":"etcd-1","since":7}"#;
        let key = |key: String, value: &str| KeyValue {
            key: key.into_bytes(),
            value: value.as_bytes().to_vec(),
            ..KeyValue::default()
        };
        let mut keys: Vec<KeyValue> = failed
            .iter()
            .map(|serial| key(failed_key(*serial), "{}"))
            .collect();
        keys.extend(halted.then(|| key(HALT.to_owned(), halt)));
        keys.push(key(format!("{UPDATE_PREFIX}turn"), "{}"));
        UpdateMarks::parse(&keys).unwrap()
    }

    #[test]
    fn the_plan_names_the_halt_and_the_failed_releases() {
        for (marks, text) in [
            (
                marks(true, &[9, 10]),
                "halted by etcd-1 (freeze), releases marked as failed: 9, 10",
            ),
            (
                marks(false, &[]),
                "not halted, no release is marked as failed",
            ),
        ] {
            assert_eq!(describe(Some(&marks)), text);
        }
        assert!(describe(None).starts_with("unknown"));
        let json = serde_json::to_value(marks(true, &[9])).unwrap();
        assert_eq!(
            (&json["halt"]["why"], &json["failed"][0]),
            (&"freeze".into(), &9.into())
        );
    }

    #[test]
    fn a_halt_that_cannot_be_read_is_unknown() {
        let stop = KeyValue {
            key: HALT.as_bytes().to_vec(),
            value: b"stop".to_vec(),
            ..KeyValue::default()
        };
        assert_eq!(UpdateMarks::parse(&[stop]), None);
    }

    #[test]
    fn the_command_warns_if_the_restore_has_changed_the_halt_or_a_mark() {
        let (halted, free) = (marks(true, &[]), marks(false, &[]));
        for (before, after) in [
            (&halted, &free),
            (&free, &halted),
            (&marks(false, &[7]), &free),
        ] {
            let warning = warning(Some(before), Some(after)).unwrap();
            let states = format!("Before: {before}. Now: {after}.");
            assert!(warning.contains(&states), "{warning}");
            assert_eq!(super::warning(Some(before), Some(before)), None);
        }
        let unknown = warning(None, Some(&halted)).unwrap();
        assert!(unknown.contains("Before: unknown"), "{unknown}");
        assert!(warning(Some(&halted), None).is_some());
    }
}
