//! Preserves the halt of updates and the records of failed releases during a restore. The members
//! share this state in etcd. A restore replaces all keys in etcd, including these keys, so the
//! command writes the missing keys again as soon as etcd is healthy.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use members::etcd::KeyValue;
use members::keys::{
    FAILED_PREFIX, FailedRelease, HALT, NEWEST_RELEASE, NewestRelease, TURN, UPDATE_PREFIX,
    UpdateHalt, UpdateTurn, failed_key,
};
use recipes::ClusterDocument;
use recipes::cluster::Member;
use serde::{Serialize, Serializer};

use super::answers;
use crate::etcd::{Client, installed_credentials};
use crate::identity::Identity;
use crate::output::say;
use crate::paths;
use crate::runtime::block_on;
use crate::update::summary::own_serial;

/// The state of the cluster's updates. A restore keeps the halt and the records of failed releases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct UpdateRecords {
    halt: Option<UpdateHalt>,
    /// The records of failed releases, by the serial of the release. JSON contains only the
    /// serials.
    #[serde(serialize_with = "serials")]
    failed: BTreeMap<u64, FailedRelease>,
    /// The turn of the member that updates itself. A restore does not keep the turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) turn: Option<UpdateTurn>,
    /// The serial of the newest release that a member has started to install. A restore does not
    /// keep the serial.
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<u64>,
}

fn serials<S: Serializer>(
    failed: &BTreeMap<u64, FailedRelease>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(failed.keys())
}

impl UpdateRecords {
    /// Reads the records of the cluster. A member answers even without a quorum, so its answer may
    /// be outdated. Therefore, the answer with the newest revision counts. Returns `None` if no
    /// member answers or the records cannot be read, because neither problem may prevent a restore.
    pub(super) fn of_cluster(cluster: &ClusterDocument) -> Option<Self> {
        Self::read(cluster.members.iter().map(Member::client_url))
    }

    /// Reads the records of this node's own member.
    fn of_own_member() -> Option<Self> {
        Self::read([paths::OWN_CLIENT_URL.to_owned()])
    }

    fn read(urls: impl IntoIterator<Item = String>) -> Option<Self> {
        let list = |client: Client| async move { client.list_local(UPDATE_PREFIX).await };
        let answers = answers::of_members(urls, list).ok()?;
        let (_, keys) = answers.into_iter().max_by_key(|(revision, _)| *revision)?;
        Self::parse(&keys)
    }

    fn parse(keys: &[KeyValue]) -> Option<Self> {
        let mut records = Self::default();
        for KeyValue { key, value, .. } in keys {
            let key = String::from_utf8_lossy(key);
            if key == HALT {
                records.halt = serde_json::from_slice(value).ok()?;
            } else if key == TURN {
                records.turn = serde_json::from_slice(value).ok();
            } else if key == NEWEST_RELEASE {
                let newest = serde_json::from_slice(value).ok();
                records.newest = newest.map(|newest: NewestRelease| newest.serial);
            } else if let Some(Ok(serial)) = key.strip_prefix(FAILED_PREFIX).map(str::parse) {
                let failed = serde_json::from_slice(value).ok()?;
                records.failed.insert(serial, failed);
            }
        }
        Some(records)
    }

    /// Returns the keys and values of the records that `other` does not contain. A halt in `other`
    /// counts as the same mark, even if it has another reason.
    fn missing_from(&self, other: &Self) -> Result<Vec<(String, Vec<u8>)>> {
        let halt = self.halt.iter().filter(|_| other.halt.is_none());
        let halt = halt.map(|halt| Ok((HALT.to_owned(), serde_json::to_vec(halt)?)));
        let failed = self.failed.iter();
        let failed = failed
            .filter(|(serial, _)| !other.failed.contains_key(serial))
            .map(|(serial, failed)| Ok((failed_key(*serial), serde_json::to_vec(failed)?)));
        halt.chain(failed).collect()
    }
}

impl fmt::Display for UpdateRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.halt {
            Some(halt) => write!(f, "halted by {} ({})", halt.node, halt.why)?,
            None => f.write_str("not halted")?,
        }
        let failed: Vec<String> = self.failed.keys().map(u64::to_string).collect();
        match &failed[..] {
            [] => f.write_str(", no release is marked as failed"),
            _ => write!(f, ", releases marked as failed: {}", failed.join(", ")),
        }
    }
}

/// Describes the records. `records` is `None` if no member answered, or if the records cannot be
/// read.
pub(super) fn describe(records: Option<&UpdateRecords>) -> String {
    records.map_or_else(
        || "unknown, because no member answered or the records cannot be read".to_owned(),
        UpdateRecords::to_string,
    )
}

/// Writes the records that the restore removed. Afterwards, warns the operator if the records
/// differ from the records before the restore, or if the records are unknown. Also warns if the
/// restored data makes the nodes refuse the next images of this cluster.
pub(super) fn keep(before: Option<&UpdateRecords>, identity: &Identity) {
    let restored = UpdateRecords::of_own_member();
    if let (Some(before), Some(restored)) = (before, &restored)
        && let Err(error) = write_missing(before, restored)
    {
        say(format!(
            "cannot write back the halt of updates or the records of failed releases: {error:#}"
        ));
    }
    let after = UpdateRecords::of_own_member();
    if let Some(warning) = warning(before, after.as_ref()) {
        say(warning);
    }
    let own = own_serial().unwrap_or_default();
    let known = own.max(identity.node.release);
    if let Some(warning) = newer_release(before, after.as_ref(), known) {
        say(warning);
    }
}

/// Returns a warning if the newest serial in the restored data is higher than both the newest
/// serial before the restore and `known`. `known` is the newest serial that this node knows from
/// its image and its node document.
fn newer_release(
    before: Option<&UpdateRecords>,
    after: Option<&UpdateRecords>,
    known: Option<u64>,
) -> Option<String> {
    let newest = after?.newest?;
    let known = known.max(before.and_then(|before| before.newest));
    known.is_none_or(|known| known < newest).then(|| {
        format!(
            "warning: according to the restored data, a member has started to install image {newest}, so the nodes \
             refuse older images with [update-older]. If the serials of this cluster's images are lower, set `serial` in \
             `serial.json` of the PKI folder to {newest} before the next build"
        )
    })
}

/// Writes the records that are missing from `restored`. Several nodes run the restore at the same
/// time, so another node may have written a mark in the meantime.
fn write_missing(before: &UpdateRecords, restored: &UpdateRecords) -> Result<()> {
    let missing = before.missing_from(restored)?;
    if missing.is_empty() {
        return Ok(());
    }
    let credentials = installed_credentials()?;
    block_on(async {
        let client = Client::connect(paths::OWN_CLIENT_URL, &credentials).await?;
        for (key, value) in missing {
            let seen = [(key.as_str(), 0)];
            client.transact(&seen, &[(&key, Some(value))]).await?;
        }
        Ok(())
    })
}

fn warning(before: Option<&UpdateRecords>, after: Option<&UpdateRecords>) -> Option<String> {
    let kept = |records: &UpdateRecords| (records.halt.clone(), records.failed.clone());
    if before.is_some() && before.map(kept) == after.map(kept) {
        return None;
    }
    Some(format!(
        "warning: the restore changed the halt of updates or the records of failed releases. Before: {}. Now: {}. \
         `firstboot update --halt WHY` halts the updates, and `firstboot update --resume` ends the halt",
        describe(before),
        describe(after)
    ))
}

#[cfg(test)]
mod tests {
    use members::keys::failed_key;

    use super::*;
    use crate::documentation::{documented, keys};

    fn records(halted: bool, failed: &[u64]) -> UpdateRecords {
        let halt = r#"{"why":"freeze","node":"etcd-1","since":7}"#;
        let key = |key: String, value: &str| KeyValue {
            key: key.into_bytes(),
            value: value.as_bytes().to_vec(),
            ..KeyValue::default()
        };
        let mark = r#"{"node":"etcd-2","why":"etcd died","at":7}"#;
        let mut keys: Vec<KeyValue> = failed
            .iter()
            .map(|serial| key(failed_key(*serial), mark))
            .collect();
        keys.extend(halted.then(|| key(HALT.to_owned(), halt)));
        keys.push(key(format!("{UPDATE_PREFIX}turn"), "{}"));
        UpdateRecords::parse(&keys).unwrap()
    }

    #[test]
    fn the_plan_names_the_halt_and_the_failed_releases() {
        for (records, text) in [
            (
                records(true, &[9, 10]),
                "halted by etcd-1 (freeze), releases marked as failed: 9, 10",
            ),
            (
                records(false, &[]),
                "not halted, no release is marked as failed",
            ),
        ] {
            assert_eq!(describe(Some(&records)), text);
        }
        assert!(describe(None).starts_with("unknown"));
        let json = serde_json::to_value(records(true, &[9])).unwrap();
        assert_eq!(
            (&json["halt"]["why"], &json["failed"][0]),
            (&"freeze".into(), &9.into())
        );
    }

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_the_update_records() {
        let records = UpdateRecords {
            turn: Some(UpdateTurn {
                node: "etcd-1".parse().unwrap(),
                serial: 7,
                since: 0,
            }),
            newest: Some(7),
            ..UpdateRecords::default()
        };
        assert_eq!(
            documented("json.md", "The state of updates before a restore"),
            keys(&records)
        );
    }

    #[test]
    fn the_turn_is_not_a_mark_that_a_restore_keeps() {
        let turn = KeyValue {
            key: TURN.as_bytes().to_vec(),
            value: br#"{"node":"etcd-3","serial":7,"since":0}"#.to_vec(),
            ..KeyValue::default()
        };
        let updating = UpdateRecords::parse(&[turn]).unwrap();
        assert_eq!(updating.turn.as_ref().unwrap().node.as_str(), "etcd-3");
        assert_eq!(updating.missing_from(&records(false, &[])).unwrap(), []);
        assert_eq!(warning(Some(&updating), Some(&records(false, &[]))), None);
    }

    #[test]
    fn the_command_warns_if_the_restored_data_is_from_newer_images() {
        let newest = |serial: Option<u64>| {
            let key = serial.map(|serial| KeyValue {
                key: NEWEST_RELEASE.as_bytes().to_vec(),
                value: format!(r#"{{"serial":{serial}}}"#).into_bytes(),
                ..KeyValue::default()
            });
            UpdateRecords::parse(key.as_slice()).unwrap()
        };
        for (before, known) in [(Some(41), None), (None, Some(41)), (None, None)] {
            let before = newest(before);
            let warning = newer_release(Some(&before), Some(&newest(Some(42))), known).unwrap();
            assert!(
                warning.contains("`serial.json` of the PKI folder to 42"),
                "{warning}"
            );
        }
        assert!(newer_release(None, Some(&newest(Some(42))), Some(41)).is_some());
        for (before, after, known) in [
            (Some(42), Some(42), None),
            (None, Some(42), Some(42)),
            (Some(42), None, None),
        ] {
            let (before, after) = (newest(before), newest(after));
            assert_eq!(newer_release(Some(&before), Some(&after), known), None);
        }
        assert_eq!(newer_release(None, None, Some(1)), None);
    }

    #[test]
    fn a_halt_that_cannot_be_read_is_unknown() {
        let stop = KeyValue {
            key: HALT.as_bytes().to_vec(),
            value: b"stop".to_vec(),
            ..KeyValue::default()
        };
        assert_eq!(UpdateRecords::parse(&[stop]), None);
    }

    #[test]
    fn the_marks_that_the_restore_removed_are_written_again() {
        let (before, restored) = (records(true, &[7, 9]), records(false, &[7]));
        let missing = before.missing_from(&restored).unwrap();
        let keys: Vec<&str> = missing.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, [HALT, &failed_key(9)]);
        let written = missing.into_iter().map(|(key, value)| KeyValue {
            key: key.into_bytes(),
            value,
            ..KeyValue::default()
        });
        let written = UpdateRecords::parse(&written.collect::<Vec<_>>()).unwrap();
        assert_eq!(
            written,
            records(true, &[9]),
            "the values are those of before"
        );
        assert_eq!(restored.missing_from(&before).unwrap(), []);
    }

    #[test]
    fn the_command_warns_if_the_restore_has_changed_the_halt_or_a_mark() {
        let (halted, free) = (records(true, &[]), records(false, &[]));
        for (before, after) in [
            (&halted, &free),
            (&free, &halted),
            (&records(false, &[7]), &free),
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
