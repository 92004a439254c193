//! What etcd keeps in its database: which buckets, what their keys and values look like (etcd's server/storage/schema
//! and mvcc), and what a snapshot's contents come to.

pub(super) mod record;

use bolt::{Entry, Faults, Path, Visit};
use serde::Serialize;

use record::{Record, Revision};

/// What a database holds, counted while it is walked.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Contents {
    /// The revision at which a member stands that starts from it.
    pub(crate) revision: i64,
    /// The revision up to which history was compacted; 0 if it never was.
    pub(crate) compacted: i64,
    /// Entries of all buckets, as `etcdutl snapshot status` counts them: old revisions of keys and deletions too.
    pub(crate) keys: u64,
    /// CRC-32C over all buckets, names, keys and values, as `etcdutl snapshot status` shows it.
    pub(crate) hash: u32,
    /// The last raft entry that is in it; 0 where etcd had not written it yet.
    pub(crate) index: u64,
    /// That entry's raft term; 0 where it was not written (3.4).
    pub(crate) term: u64,
    /// From 3.6 on.
    pub(crate) storage_version: Option<String>,
    /// The members of the cluster it was taken from, learners too.
    pub(crate) members: Vec<Member>,
    /// Whether clients must authenticate.
    pub(crate) auth_enabled: bool,
    /// Users and roles.
    pub(crate) users: u64,
    pub(crate) roles: u64,
    /// Leases that were alive.
    pub(crate) leases: u64,
    /// Alarms that were raised.
    pub(crate) alarms: u64,
    /// Whether a compaction was under way: etcd ends it when it starts.
    pub(crate) compacting: bool,
}

/// A member as etcd stored it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<String>,
    pub(crate) client_urls: Vec<String>,
    pub(crate) learner: bool,
}

/// Looks at every key on the walk.
pub(crate) struct Reader<'a> {
    contents: Contents,
    seen: Seen,
    scheduled: i64,
    finished: i64,
    progress: &'a mut dyn FnMut(u64),
}

/// The buckets without which it is not etcd's.
#[derive(Debug, Default)]
struct Seen {
    key: bool,
    meta: bool,
}

impl<'a> Reader<'a> {
    /// A reader that tells how many bytes it has behind it.
    pub(crate) fn new(progress: &'a mut dyn FnMut(u64)) -> Self {
        Self { contents: Contents::default(), seen: Seen::default(), scheduled: 0, finished: 0, progress }
    }

    /// What it comes to, once all was seen.
    pub(crate) fn finish(mut self, faults: &mut Faults) -> Contents {
        for (name, seen) in [("key", self.seen.key), ("meta", self.seen.meta)] {
            if !seen {
                faults.add(None, 0, format!("etcd's bucket `{name}`"), "no such bucket");
            }
        }
        let Contents { revision, compacted, compacting, .. } = &mut self.contents;
        *compacted = self.scheduled.max(self.finished);
        *compacting = self.scheduled > self.finished;
        // As etcd does: the first revision is 1, and history that was compacted away has been.
        *revision = (*revision).max(*compacted).max(1);
        self.contents
    }

    fn meta(&mut self, entry: &Entry<'_>, wrong: &mut Wrong<'_>) {
        let number = || <[u8; 8]>::try_from(entry.value).ok().map(u64::from_be_bytes);
        match entry.key {
            b"consistent_index" => match number() {
                Some(index) => self.contents.index = index,
                None => wrong.value("consistent_index of 8 bytes"),
            },
            b"term" => match number() {
                Some(term) => self.contents.term = term,
                None => wrong.value("term of 8 bytes"),
            },
            b"scheduledCompactRev" | b"finishedCompactRev" => match Revision::parse(entry.value) {
                Some(revision) if !revision.deletion => {
                    let to = if entry.key[0] == b's' { &mut self.scheduled } else { &mut self.finished };
                    *to = revision.main;
                }
                _ => wrong.value("a compacted revision of 17 bytes"),
            },
            b"storageVersion" => match std::str::from_utf8(entry.value) {
                Ok(version) => self.contents.storage_version = Some(version.to_owned()),
                Err(_) => wrong.value("a storage version in text"),
            },
            b"confState" if serde_json::from_slice::<serde_json::Value>(entry.value).is_err() => {
                wrong.value("raft's confState in JSON");
            }
            _ => {}
        }
    }

    fn revision(&mut self, entry: &Entry<'_>, wrong: &mut Wrong<'_>) {
        let Some(revision) = Revision::parse(entry.key) else {
            return wrong.key("a revision: 17 bytes, or 18 for a deletion");
        };
        self.contents.revision = revision.main;
        // `etcdutl snapshot restore --bump-revision` puts a revision with nothing in it.
        if entry.value.is_empty() && !revision.deletion {
            return;
        }
        let Some(record) = Record::parse(entry.value) else {
            return wrong.value("a key with its value, as etcd encodes it");
        };
        if record.key.is_empty() {
            return wrong.value("a key that is not empty");
        }
        if revision.deletion {
            if record != (Record { key: record.key, ..Record::default() }) {
                wrong.value("nothing but the key, for it was deleted");
            }
        } else if record.modified != revision.main {
            wrong.value(&format!("mod_revision {}, as the entry's key says", revision.main));
        } else if !(1..=record.modified).contains(&record.created) || record.version < 1 {
            wrong.value("a create_revision from 1 to the mod_revision, and a version of 1 or more");
        }
    }

    fn member(&mut self, entry: &Entry<'_>, wrong: &mut Wrong<'_>) {
        #[derive(serde::Deserialize)]
        struct Stored {
            id: u64,
            #[serde(default)]
            name: String,
            #[serde(default, rename = "peerURLs")]
            peer_urls: Option<Vec<String>>,
            #[serde(default, rename = "clientURLs")]
            client_urls: Option<Vec<String>>,
            #[serde(default, rename = "isLearner")]
            learner: bool,
        }
        let id = std::str::from_utf8(entry.key).ok().and_then(|key| u64::from_str_radix(key, 16).ok());
        let Ok(stored) = serde_json::from_slice::<Stored>(entry.value) else {
            return wrong.value("a member in JSON");
        };
        if id != Some(stored.id) {
            return wrong.key(&format!("the member's ID, {:x}", stored.id));
        }
        self.contents.members.push(Member {
            id: stored.id,
            name: stored.name,
            peer_urls: stored.peer_urls.unwrap_or_default(),
            client_urls: stored.client_urls.unwrap_or_default(),
            learner: stored.learner,
        });
    }
}

impl Visit for Reader<'_> {
    fn bucket(&mut self, bucket: &Path<'_>) {
        if bucket.parent.is_some() {
            return;
        }
        self.contents.hash = crc32c::crc32c_append(self.contents.hash, bucket.name);
        self.seen.key |= bucket.name == b"key";
        self.seen.meta |= bucket.name == b"meta";
    }

    fn entry(&mut self, entry: &Entry<'_>, faults: &mut Faults) {
        let wrong = &mut Wrong { entry, faults };
        if entry.bucket.parent.is_some() {
            return wrong.key("no bucket within a bucket");
        }
        self.contents.keys += 1;
        self.contents.hash = crc32c::crc32c_append(self.contents.hash, entry.key);
        self.contents.hash = crc32c::crc32c_append(self.contents.hash, entry.value);
        match entry.bucket.name {
            b"key" => self.revision(entry, wrong),
            b"meta" => self.meta(entry, wrong),
            b"members" => self.member(entry, wrong),
            b"auth" if entry.key == b"authEnabled" => self.contents.auth_enabled = entry.value == [1],
            b"authUsers" => self.contents.users += 1,
            b"authRoles" => self.contents.roles += 1,
            b"alarm" => self.contents.alarms += 1,
            b"lease" => {
                self.contents.leases += 1;
                let id = <[u8; 8]>::try_from(entry.key).ok().map(i64::from_be_bytes);
                if id.is_none() || record::lease(entry.value) != id {
                    wrong.value("a lease with the ID that its key says");
                }
            }
            _ => {}
        }
    }

    fn progress(&mut self, bytes: u64) {
        (self.progress)(bytes);
    }
}

/// Where a fault is noted that the pages' own rules do not know.
struct Wrong<'a> {
    entry: &'a Entry<'a>,
    faults: &'a mut Faults,
}

impl Wrong<'_> {
    fn key(&mut self, expected: &str) {
        self.note(0, expected, self.entry.key);
    }

    fn value(&mut self, expected: &str) {
        self.note(self.entry.key.len(), expected, self.entry.value);
    }

    // The contents may be secret: of a value no more than its length is shown.
    fn note(&mut self, after: usize, expected: &str, found: &[u8]) {
        let Entry { bucket, place, .. } = self.entry;
        let bucket = String::from_utf8_lossy(bucket.name);
        let expected = format!("{expected} (bucket `{bucket}`)");
        self.faults.add(
            Some(place.page),
            place.offset + after as u64,
            expected,
            format!("{} other bytes", found.len()),
        );
    }
}

#[cfg(test)]
mod tests;
