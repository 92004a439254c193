//! Checks a snapshot against the schema of etcd's database, which defines the buckets and the
//! format of their keys and values (etcd's server/storage/schema and mvcc). Counts the contents of
//! the snapshot.

mod auth;
mod cluster;
mod history;
mod lease;
mod meta;
pub(super) mod record;
mod wire;

use bolt::{Entry, Faults, Offset, Path, Visitor};
use recipes::EtcdVersion;
use serde::Serialize;

use auth::Auth;
use cluster::Cluster;
pub(crate) use cluster::Member;
use history::History;
use meta::Meta;
use record::{Record, Revision};

/// etcd's buckets. etcd creates all of its buckets when it starts. `etcdutl snapshot restore` of
/// etcd 3.5 does not create the bucket `cluster`, so the check does not require this bucket.
const BUCKETS: [&[u8]; 10] = [
    b"alarm",
    b"auth",
    b"authRoles",
    b"authUsers",
    b"cluster",
    b"key",
    b"lease",
    b"members",
    b"members_removed",
    b"meta",
];
/// The maximum number of members. Real clusters have far fewer members.
const MEMBERS: usize = 1000;

/// The facts and counts that the check collects from a database.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DatabaseContents {
    /// The revision of a member that starts from this database.
    pub(crate) revision: i64,
    /// The revision up to which the history was compacted, or 0 if it was not compacted.
    pub(crate) compacted: i64,
    /// The number of entries in all buckets, including old revisions and deletions, as in `etcdutl
    /// snapshot status`.
    pub(crate) keys: u64,
    /// The CRC-32C of all buckets, including their names, keys and values, as in `etcdutl snapshot
    /// status`.
    pub(crate) hash: u32,
    /// The index of the last applied raft entry, or 0 if etcd has not written it yet.
    pub(crate) index: u64,
    /// The raft term of the last applied entry, or 0 if etcd does not write the term (3.4).
    pub(crate) term: u64,
    /// The storage version, which etcd 3.6 and later write.
    pub(crate) storage_version: Option<String>,
    /// The cluster version, which is normally the lowest minor version among the members.
    pub(crate) cluster_version: Option<String>,
    /// The target version of a downgrade in progress.
    pub(crate) downgrade: Option<String>,
    /// The members of the cluster, including learners.
    pub(crate) members: Vec<Member>,
    /// Whether clients must authenticate.
    pub(crate) auth_enabled: bool,
    pub(crate) users: u64,
    pub(crate) roles: u64,
    pub(crate) leases: u64,
    /// The number of raised alarms.
    pub(crate) alarms: u64,
    /// Whether a compaction was in progress. etcd finishes the compaction at its next start.
    pub(crate) compacting: bool,
}

impl DatabaseContents {
    /// Returns why an etcd of this version does not start from these contents, or `None` if it
    /// starts.
    ///
    /// etcd 3.6 and 3.7 refuse data of a later minor version, and from 3.4.31 on, etcd 3.4 refuses
    /// data of 3.6 and later. etcd 3.5 refuses the data of a cluster that is being downgraded to a
    /// different minor version. With every other combination, etcd starts. Each minor version was
    /// tested with the data of every other minor version.
    pub(crate) fn version_obstacle(&self, etcd: EtcdVersion) -> Option<String> {
        let minor = |version: &Option<String>| cluster::minor(version.as_deref()?.as_bytes());
        if etcd.minor == 5
            && let Some(target) = minor(&self.downgrade).filter(|target| *target != 5)
        {
            return Some(format!(
                "its cluster was being downgraded to etcd 3.{target}, but etcd {etcd} does not \
                 start from such data. Take a snapshot after the downgrade"
            ));
        }
        let wrote = minor(&self.storage_version)
            .max(minor(&self.cluster_version).filter(|minor| *minor >= 6))?;
        let reads = match (etcd.minor, etcd.patch) {
            (4, patch) if patch >= 31 => 5,
            (4 | 5, _) => u64::MAX,
            (minor, _) => minor,
        };
        (wrote > reads).then(|| {
            format!(
                "etcd 3.{wrote} wrote the snapshot, but etcd {etcd} does not start from it. \
                 Restore the snapshot with an image that has etcd 3.{wrote}, and then downgrade \
                 the cluster"
            )
        })
    }
}

/// A reader that checks all entries of a database.
pub(crate) struct Reader<'a> {
    contents: DatabaseContents,
    /// Whether each of [`BUCKETS`] exists.
    seen: [bool; BUCKETS.len()],
    auth: Auth,
    cluster: Cluster,
    history: History,
    meta: Meta,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Reader<'a> {
    /// Creates a reader that reports the number of checked bytes.
    pub(crate) fn new(progress: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            contents: DatabaseContents::default(),
            seen: [false; BUCKETS.len()],
            auth: Auth::default(),
            cluster: Cluster::default(),
            history: History::default(),
            meta: Meta::default(),
            progress,
        }
    }

    /// Adds the faults that can only be found after the last entry, and returns the contents.
    pub(crate) fn finish(mut self, faults: &mut Faults) -> DatabaseContents {
        for (name, _) in BUCKETS
            .iter()
            .zip(self.seen)
            .filter(|(name, seen)| !seen && **name != b"cluster")
        {
            faults.add(
                None,
                0,
                format!("etcd's bucket `{}`", String::from_utf8_lossy(name)),
                "no such bucket",
            );
        }
        let compacted = self.meta.compacted();
        self.history.check(compacted, faults);
        self.auth.finish(faults);
        for expected in [
            self.meta.fault(self.history.newest()),
            self.versions_fault(),
        ]
        .into_iter()
        .flatten()
        {
            faults.add(
                None,
                0,
                format!("{expected} (bucket `meta`)"),
                "something else",
            );
        }
        let version = |minor| format!("3.{minor}.0");
        let contents = &mut self.contents;
        contents.compacted = compacted;
        contents.compacting = self.meta.compacting();
        // As in etcd, the revision is at least 1. The revision is never below the compacted
        // revision, even if no entry with the compacted revision remains.
        contents.revision = self.history.newest().max(compacted).max(1);
        contents.index = self.meta.index.unwrap_or(0);
        contents.term = self.meta.term.unwrap_or(0);
        contents.storage_version = self.meta.storage.map(version);
        contents.cluster_version = self.cluster.minor.map(version);
        contents.downgrade = self.cluster.downgrade.map(version);
        contents.auth_enabled = self.auth.enabled;
        self.contents
    }

    /// Compares the storage version with the cluster version. Returns the expected content if the
    /// two versions contradict each other. From 3.6 on, etcd migrates the storage as soon as the
    /// cluster version changes (etcdserver/version/monitor.go). etcd 3.6 does not start if either
    /// version is higher than the version of etcd itself.
    fn versions_fault(&self) -> Option<&'static str> {
        let cluster = self.cluster.minor.filter(|minor| *minor >= 6);
        let differ =
            cluster.is_some() && self.meta.storage != cluster && self.cluster.downgrade.is_none();
        differ.then_some("`storageVersion` to equal `clusterVersion` (if the snapshot was taken while etcd was upgraded, take another snapshot)")
    }

    fn revision(&mut self, entry: &Entry<'_>) -> Result<(), &'static str> {
        let revision = Revision::parse(entry.key).filter(|revision| revision.main > 0);
        let revision = revision.ok_or("a revision of 17 bytes, or of 18 bytes for a deletion")?;
        self.history.next(revision, entry.place);
        if entry.value.is_empty() && !revision.deletion {
            self.history.empty(revision, entry.place);
            return Ok(());
        }
        let record =
            Record::parse(entry.value).ok_or("a key with its value, as etcd encodes it")?;
        record.fault(revision).map_or(Ok(()), Err)
    }

    fn member(&mut self, entry: &Entry<'_>) -> Result<(), &'static str> {
        let member = cluster::member(entry.key, entry.value)?;
        if self.contents.members.len() == MEMBERS {
            return Err("no more than 1000 members");
        }
        self.contents.members.push(member);
        Ok(())
    }

    /// Checks an entry. Returns the expected content if the entry is invalid.
    fn entry_fault(&mut self, entry: &Entry<'_>) -> Option<&'static str> {
        let Entry { key, value, .. } = *entry;
        let count = match entry.bucket.name {
            b"key" => return self.revision(entry).err(),
            b"members" => return self.member(entry).err(),
            b"members_removed" => return cluster::removed_fault(key, value),
            b"meta" => return self.meta.setting(key, value),
            b"cluster" => return self.cluster.setting(key, value),
            b"auth" => return self.auth.setting(key, value),
            b"authUsers" => &mut self.contents.users,
            b"authRoles" => &mut self.contents.roles,
            b"alarm" => &mut self.contents.alarms,
            b"lease" => &mut self.contents.leases,
            _ => return Some("one of the buckets that etcd 3.4 to 3.7 uses"),
        };
        *count += 1;
        match entry.bucket.name {
            b"authUsers" => self.auth.user(key, value),
            b"authRoles" => self.auth.role(key, value),
            b"alarm" => lease::alarm_fault(key, value),
            _ => lease::lease_fault(key, value),
        }
    }
}

impl Visitor for Reader<'_> {
    fn bucket(&mut self, bucket: &Path<'_>, place: Offset, faults: &mut Faults) {
        if bucket.parent.is_some() {
            return;
        }
        self.contents.hash = crc32c::crc32c_append(self.contents.hash, bucket.name);
        match BUCKETS.iter().position(|name| *name == bucket.name) {
            Some(at) => self.seen[at] = true,
            None => faults.add(
                Some(place.page),
                place.offset,
                "a bucket that etcd 3.4 to 3.7 uses",
                format!("a bucket with a name of {} bytes", bucket.name.len()),
            ),
        }
    }

    fn data(&mut self, bucket: &Path<'_>, bytes: &[u8]) {
        if bucket.parent.is_none() {
            self.contents.hash = crc32c::crc32c_append(self.contents.hash, bytes);
        }
    }

    fn entry(&mut self, entry: &Entry<'_>, faults: &mut Faults) {
        let fault = if entry.bucket.parent.is_some() {
            Some("no bucket within a bucket")
        } else {
            self.contents.keys += 1;
            self.entry_fault(entry)
        };
        if let Some(expected) = fault {
            note(entry, expected, faults);
        }
    }

    fn progress(&mut self, bytes: u64) {
        (self.progress)(bytes);
    }
}

/// Reports an invalid entry. The entry may be secret, so the report contains only the lengths of
/// the key and the value.
fn note(entry: &Entry<'_>, expected: &str, faults: &mut Faults) {
    let Entry {
        bucket,
        key,
        value,
        place,
    } = entry;
    let bucket = String::from_utf8_lossy(bucket.name);
    let found = format!(
        "a key of {} bytes with {} bytes of value",
        key.len(),
        value.len()
    );
    faults.add(
        Some(place.page),
        place.offset,
        format!("{expected} (bucket `{bucket}`)"),
        found,
    );
}

#[cfg(test)]
mod tests;
