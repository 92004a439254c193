//! Compares the data of voters. The comparison uses etcd's own hash over all keys and
//! their history, at one revision. etcd itself compares the hashes only if certain checks are
//! enabled.
//!
//! While a member computes the hash, it blocks writes (3.5 and 3.6, mvcc/kvstore.go: hashByRev
//! holds the lock that a commit needs). For 0.5 GiB, the computation took 1.3 s, and a client's
//! write was delayed by 1.0 s. Therefore, firstboot queries the members one after the other, and
//! compares large databases only on request.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::etcd::{Client, Credentials, HashKv};
use crate::reason::{Reason, ReasonId};

/// The size, in bytes, of the largest database that is compared by default.
const SMALL: i64 = 256 << 20;
/// The time limit for one member to compute its hash.
const HASH_TIMEOUT: Duration = Duration::from_secs(120);
/// The number of attempts to compare the hashes. One attempt is not enough, because a compaction
/// may happen between the answers of two members.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// A voter that answers through raft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// The member's name.
    pub name: String,
    /// The member's client URL.
    pub endpoint: String,
    /// The member's newest revision.
    pub revision: i64,
    /// The size of the member's database in bytes.
    pub size: i64,
}

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashComparison {
    /// All compared members have the same data.
    Same,
    /// The data of the members differs. Members with the same hash form a group. The largest group
    /// is first.
    Differ {
        /// The revision of the compared hashes.
        revision: i64,
        /// Each group's hash and members.
        groups: Vec<(u32, Vec<String>)>,
    },
    /// The members were not compared; the text states why.
    Unknown(String),
}

impl HashComparison {
    /// Returns a reason not to rely on this member's data, or `None` if there is no such reason.
    /// The reason is that the data differs from the majority's data, or that there is no majority.
    pub fn apart(&self, name: &str) -> Option<Reason> {
        let Self::Differ { revision, groups } = self else {
            return None;
        };
        let all: usize = groups.iter().map(|(_, members)| members.len()).sum();
        let majority = groups
            .first()
            .filter(|(_, members)| members.len() > all / 2);
        if majority.is_some_and(|(_, members)| members.iter().any(|member| member == name)) {
            return None;
        }
        let own = groups
            .iter()
            .find(|(_, members)| members.iter().any(|member| member == name));
        let hash = own.map_or(0, |(hash, _)| *hash);
        let others: Vec<String> = groups
            .iter()
            .filter(|(other, _)| *other != hash)
            .map(|(hash, members)| format!("{hash:08x} of {}", members.join(", ")))
            .collect();
        Some(ReasonId::MembersDiffer.because(format!(
            "its data differs from that of the other members: at revision {revision}, its hash is \
             {hash:08x}, not {}",
            others.join(" or ")
        )))
    }
}

/// Compares the data of the voters. With `any_size`, also compares a large database, although the
/// comparison blocks writes for a long time.
pub async fn compare(
    voters: &[Voter],
    credentials: &Credentials,
    any_size: bool,
) -> HashComparison {
    if voters.len() < 2 {
        return HashComparison::Same;
    }
    let largest = voters
        .iter()
        .map(|voter| voter.size)
        .max()
        .unwrap_or_default();
    if largest > SMALL && !any_size {
        return HashComparison::Unknown(format!(
            "the database size is {} MiB; run with `--compare` to compare a database of any size",
            largest >> 20
        ));
    }
    let mut last = HashComparison::Unknown("no member was queried".to_owned());
    for again in 0..TRIES {
        if again > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        // Each voter has reported its newest revision, so every voter has the lowest of these
        // revisions.
        let revision = voters
            .iter()
            .map(|voter| voter.revision)
            .min()
            .unwrap_or_default();
        let revision = if again == 0 {
            revision
        } else {
            newest(voters, credentials).await.unwrap_or(revision)
        };
        last = match query_all(voters, credentials, revision).await {
            Ok(answers) => compare_hashes(revision, &answers),
            Err(error) => HashComparison::Unknown(format!("{error:#}")),
        };
        if last == HashComparison::Same {
            break;
        }
    }
    last
}

/// Returns the newest revision that all voters have.
async fn newest(voters: &[Voter], credentials: &Credentials) -> Result<i64> {
    let mut newest = i64::MAX;
    for voter in voters {
        let status = Client::connect(&voter.endpoint, credentials)
            .await?
            .status()
            .await?;
        newest = newest.min(status.header.unwrap_or_default().revision);
    }
    Ok(newest)
}

async fn query_all(
    voters: &[Voter],
    credentials: &Credentials,
    revision: i64,
) -> Result<Vec<(String, HashKv)>> {
    let mut answers = Vec::new();
    for voter in voters {
        let asked = async {
            Client::connect_bulk(&voter.endpoint, credentials)
                .await?
                .hash_kv(revision, HASH_TIMEOUT)
                .await
        };
        let answer = asked
            .await
            .map_err(|error| anyhow::anyhow!("{}: {error:#}", voter.name))?;
        answers.push((voter.name.clone(), answer));
    }
    Ok(answers)
}

/// Compares the hashes, unless the members were compacted at different revisions.
fn compare_hashes(revision: i64, answers: &[(String, HashKv)]) -> HashComparison {
    let compacted = |answer: &HashKv| answer.compact_revision.max(0);
    let mut answered = answers.iter().map(|(_, answer)| compacted(answer));
    let first = answered.next();
    if answered.any(|other| Some(other) != first) {
        return HashComparison::Unknown("a compaction is in progress".to_owned());
    }
    let mut by_hash: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (name, answer) in answers {
        by_hash.entry(answer.hash).or_default().push(name.clone());
    }
    if by_hash.len() < 2 {
        return HashComparison::Same;
    }
    let mut groups: Vec<(u32, Vec<String>)> = by_hash.into_iter().collect();
    groups.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    HashComparison::Differ { revision, groups }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(hashes: &[(&str, u32, i64)]) -> Vec<(String, HashKv)> {
        let answer = |hash, compact_revision| HashKv {
            hash,
            compact_revision,
            ..HashKv::default()
        };
        hashes
            .iter()
            .map(|(name, hash, compacted)| ((*name).to_owned(), answer(*hash, *compacted)))
            .collect()
    }

    #[test]
    fn a_member_whose_data_differs_from_the_majority_is_reported() {
        assert_eq!(
            compare_hashes(9, &answers(&[("a", 1, -1), ("b", 1, 0), ("c", 1, 0)])),
            HashComparison::Same
        );
        let differ = compare_hashes(9, &answers(&[("a", 1, 3), ("b", 2, 3), ("c", 1, 3)]));
        assert_eq!(differ.apart("a"), None);
        let why = differ.apart("b").unwrap().text;
        assert!(
            why.contains("at revision 9, its hash is 00000002, not 00000001 of a, c"),
            "{why}"
        );
        let none = compare_hashes(9, &answers(&[("a", 1, 3), ("b", 2, 3)]));
        assert!(
            none.apart("a").is_some() && none.apart("b").is_some(),
            "neither of two members is a majority"
        );
        let three = compare_hashes(9, &answers(&[("a", 1, 3), ("b", 2, 3), ("c", 3, 3)]));
        assert!(
            three
                .apart("c")
                .unwrap()
                .text
                .contains("00000001 of a or 00000002 of b")
        );
    }

    #[test]
    fn hashes_after_different_compactions_are_not_compared() {
        assert!(matches!(
            compare_hashes(9, &answers(&[("a", 1, 3), ("b", 2, 4)])),
            HashComparison::Unknown(_)
        ));
        assert_eq!(HashComparison::Unknown("x".into()).apart("a"), None);
    }
}
