//! Finds requests of etcd's v2 API in the part of the write-ahead log that etcd reads at its next
//! start.
//!
//! Up to etcd 3.5, a member publishes its name with a v2 request at each start
//! (server/etcdserver/server.go, publish). etcd 3.7 cannot decode a v2 request and panics
//! (server/etcdserver/apply/apply.go, Apply; observed with 3.7.3). A start reads only the log's
//! entries after the newest snapshot, so the requests are harmless after etcd has written its next
//! snapshot.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result};
use prost::Message;

use super::observe;
use super::wal::{ENTRY, Record, SNAPSHOT, Snapshot, next};

/// `raftpb.Entry`.
#[derive(Clone, PartialEq, Eq, Message)]
struct Entry {
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

/// The fields of `etcdserverpb.Request` that distinguish it from an `InternalRaftRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
struct V2Request {
    #[prost(bytes = "vec", tag = "2")]
    method: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    path: Vec<u8>,
}

/// Returns whether the next start of etcd on this data directory reads a request of the v2 API. The
/// function also works while etcd is running.
pub(crate) fn reads_v2_requests(folder: &Path) -> Result<bool> {
    let look = || -> io::Result<bool> {
        let mut found = Found::default();
        for file in observe::wal_files(folder)? {
            found.read(file)?;
        }
        Ok(found.request > found.snapshot)
    };
    look().with_context(|| format!("cannot read the WAL in {}", folder.display()))
}

/// The indexes of the newest snapshot and of the newest request of the v2 API.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    snapshot: u64,
    request: u64,
}

impl Found {
    fn read(&mut self, file: File) -> io::Result<()> {
        let mut left = file.metadata()?.len();
        let mut file = BufReader::with_capacity(256 << 10, file);
        while let Some(record) = next(&mut file, &mut left)? {
            self.take(&record);
        }
        Ok(())
    }

    fn take(&mut self, record: &Record) {
        let data = record.data.as_slice();
        match record.kind {
            SNAPSHOT => {
                let index = Snapshot::decode(data).map_or(0, |snapshot| snapshot.index);
                self.snapshot = self.snapshot.max(index);
            }
            ENTRY => {
                if let Ok(entry) = Entry::decode(data)
                    && is_v2(&entry.data)
                {
                    self.request = self.request.max(entry.index);
                }
            }
            _ => {}
        }
    }
}

/// Returns whether an entry is a request of the v2 API. The path in a v2 request begins with a
/// slash. In an `InternalRaftRequest`, the same field contains a protobuf message, which never
/// begins with a slash.
fn is_v2(data: &[u8]) -> bool {
    V2Request::decode(data)
        .is_ok_and(|request| !request.method.is_empty() && request.path.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the request with which etcd 3.5 publishes a member.
    fn published() -> Vec<u8> {
        V2Request {
            method: b"PUT".to_vec(),
            path: b"/0/members/8e9e05c52164694d/attributes".to_vec(),
        }
        .encode_to_vec()
    }

    /// Returns a put request of the v3 API: the header, and a `PutRequest` in field 4.
    fn put() -> Vec<u8> {
        #[derive(Clone, PartialEq, Eq, Message)]
        struct Internal {
            #[prost(uint64, tag = "1")]
            id: u64,
            #[prost(bytes = "vec", tag = "3")]
            range: Vec<u8>,
            #[prost(bytes = "vec", tag = "4")]
            put: Vec<u8>,
        }
        Internal {
            id: 7,
            range: Vec::new(),
            put: b"\x0a\x01/\x12\x01/".to_vec(),
        }
        .encode_to_vec()
    }

    fn found(records: &[(i64, u64, Vec<u8>)]) -> Found {
        let mut found = Found::default();
        for (kind, index, data) in records {
            let data = if *kind == SNAPSHOT {
                Snapshot { index: *index }.encode_to_vec()
            } else {
                Entry {
                    index: *index,
                    data: data.clone(),
                }
                .encode_to_vec()
            };
            found.take(&Record {
                kind: *kind,
                checksum: 0,
                data,
            });
        }
        found
    }

    #[test]
    fn a_request_after_the_newest_snapshot_is_found() {
        let nothing = Vec::new;
        for (records, snapshot, request) in [
            (vec![(ENTRY, 4, published()), (ENTRY, 5, put())], 0, 4),
            (
                vec![(ENTRY, 4, published()), (SNAPSHOT, 5, nothing())],
                5,
                4,
            ),
            (vec![(ENTRY, 5, put()), (ENTRY, 6, nothing())], 0, 0),
            (
                vec![(SNAPSHOT, 5, nothing()), (ENTRY, 6, published())],
                5,
                6,
            ),
        ] {
            assert_eq!(found(&records), Found { snapshot, request });
        }
    }

    proptest! {
        #[test]
        fn no_record_causes_a_panic(kind in -1..7_i64, data in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut found = Found::default();
            found.take(&Record { kind, checksum: 0, data: data.clone() });
            let entry = Entry { index: 5, data }.encode_to_vec();
            found.take(&Record { kind: ENTRY, checksum: 0, data: entry });
        }
    }
}
