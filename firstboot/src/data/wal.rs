//! Reads the member id, the cluster id and the end of etcd's write-ahead log. firstboot reads only
//! the last file, because each file begins with the ids and the hard state
//! (server/storage/wal/wal.go, cut). etcd itself reads all files.
//!
//! A record consists of its length (8 bytes), a protocol buffer, and padding to a multiple of 8
//! bytes. The highest byte of the length contains the size of the padding. The protocol buffer
//! contains a checksum over all records since the beginning of the WAL. Each file begins with the
//! checksum over the previous files. The format is the same from etcd 3.4 to 3.7 (encoder.go,
//! decoder.go).

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};

use prost::Message;
use serde::{Deserialize, Serialize};

/// The state at the end of the WAL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WalEnd {
    /// The member's id, as etcd reports it.
    pub(crate) member: u64,
    /// The cluster's id.
    pub(crate) cluster: u64,
    /// The newest term, which never decreases.
    pub(crate) term: u64,
    /// The member for which this member voted in the newest term, or 0 if it has not voted in this
    /// term.
    pub(crate) vote: u64,
    /// The index of the last committed entry, which never decreases.
    pub(crate) commit: u64,
    /// The index of the last entry.
    pub(crate) last: u64,
    /// The checksum over all records of the WAL.
    pub(crate) checksum: u32,
}

/// `walpb.Record`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Record {
    #[prost(int64, tag = "1")]
    pub(super) kind: i64,
    #[prost(uint32, tag = "2")]
    pub(super) checksum: u32,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) data: Vec<u8>,
}

/// `etcdserverpb.Metadata`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Metadata {
    #[prost(uint64, tag = "1")]
    member: u64,
    #[prost(uint64, tag = "2")]
    cluster: u64,
}

/// `raftpb.Entry`, without its content.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Entry {
    #[prost(uint64, tag = "3")]
    index: u64,
}

/// `raftpb.HardState`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct HardState {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    vote: u64,
    #[prost(uint64, tag = "3")]
    commit: u64,
}

/// `walpb.Snapshot`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Snapshot {
    #[prost(uint64, tag = "1")]
    pub(super) index: u64,
}

/// The maximum length of a record. Real records are far shorter, because a record contains one
/// request, whose maximum size is 1.5 MiB by default, and etcd itself advises against a limit above
/// 10 MiB (server/embed/config.go, recommendedMaxRequestBytes). Without this limit, an attacker
/// could create a huge sparse file at no cost, and firstboot would read the whole file into memory.
const LONGEST: u64 = 256 << 20;

const METADATA: i64 = 1;
pub(super) const ENTRY: i64 = 2;
const STATE: i64 = 3;
const CHECKSUM: i64 = 4;
pub(super) const SNAPSHOT: i64 = 5;

/// Parses the number of a WAL file and the index of its first entry from the file's name
/// (`walName`).
pub(super) fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (number, index) = name.strip_suffix(".wal")?.split_once('-')?;
    let hex = |digits: &str| {
        (digits.len() == 16)
            .then(|| u64::from_str_radix(digits, 16).ok())
            .flatten()
    };
    Some((hex(number)?, hex(index)?))
}

impl WalEnd {
    /// Reads the last file of a WAL. `first` is the index of the file's first entry. The function
    /// ignores the first truncated or damaged record and everything after it.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or if the file does not begin like an etcd WAL.
    pub(super) fn read(file: File, first: u64) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut file = BufReader::with_capacity(256 << 10, file);
        file.seek(SeekFrom::Start(0))?;
        let mut wal = Self {
            last: first.saturating_sub(1),
            ..Self::default()
        };
        let (mut begun, mut left) = (false, length);
        while let Some(record) = next(&mut file, &mut left)? {
            if record.kind == CHECKSUM {
                if begun && record.checksum != wal.checksum {
                    break;
                }
                wal.checksum = record.checksum;
                continue;
            }
            let checksum = crc32c::crc32c_append(wal.checksum, &record.data);
            if checksum != record.checksum || wal.take(&record).is_none() {
                break;
            }
            wal.checksum = checksum;
            begun |= record.kind == METADATA;
        }
        if begun {
            Ok(wal)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file does not begin like an etcd WAL",
            ))
        }
    }

    fn take(&mut self, record: &Record) -> Option<()> {
        let data = record.data.as_slice();
        match record.kind {
            METADATA => {
                let Metadata { member, cluster } = Metadata::decode(data).ok()?;
                (self.member, self.cluster) = (member, cluster);
            }
            // An entry replaces all earlier entries that have the same or a higher index.
            ENTRY => self.last = Entry::decode(data).ok()?.index,
            STATE => {
                let HardState { term, vote, commit } = HardState::decode(data).ok()?;
                (self.term, self.vote, self.commit) = (term, vote, commit);
            }
            SNAPSHOT => self.last = self.last.max(Snapshot::decode(data).ok()?.index),
            _ => return None,
        }
        Some(())
    }
}

/// Reads the next record. Returns `None` if there is no further complete record.
pub(super) fn next(file: &mut impl Read, left: &mut u64) -> io::Result<Option<Record>> {
    let mut head = [0; 8];
    if *left < 8 {
        return Ok(None);
    }
    file.read_exact(&mut head)?;
    let head = u64::from_le_bytes(head);
    let bytes = head & !(0xff << 56);
    let filling = if head >> 63 == 1 { head >> 56 & 7 } else { 0 };
    *left -= 8;
    // etcd preallocates the file, so zeros follow the last record.
    if head == 0 || bytes + filling > *left || bytes > LONGEST {
        return Ok(None);
    }
    let mut data = vec![0; usize::try_from(bytes + filling).unwrap_or(usize::MAX)];
    file.read_exact(&mut data)?;
    *left -= bytes + filling;
    data.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
    Ok(Record::decode(data.as_slice()).ok())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// Writes a WAL in etcd's format.
    pub(crate) struct Writer {
        pub(crate) bytes: Vec<u8>,
        checksum: u32,
    }

    impl Writer {
        pub(crate) fn new(member: u64, cluster: u64) -> Self {
            let mut writer = Self {
                bytes: Vec::new(),
                checksum: 0,
            };
            writer.record(CHECKSUM, &[]);
            writer.record(METADATA, &Metadata { member, cluster }.encode_to_vec());
            writer.record(SNAPSHOT, &Snapshot { index: 0 }.encode_to_vec());
            writer
        }

        fn record(&mut self, kind: i64, data: &[u8]) {
            self.checksum = crc32c::crc32c_append(self.checksum, data);
            let record = Record {
                kind,
                checksum: self.checksum,
                data: data.to_vec(),
            }
            .encode_to_vec();
            let filling = (8 - record.len() % 8) % 8;
            let mut head = record.len() as u64;
            if filling != 0 {
                head |= (0x80 | filling as u64) << 56;
            }
            self.bytes.extend(head.to_le_bytes());
            self.bytes.extend(record);
            self.bytes.resize(self.bytes.len() + filling, 0);
        }

        pub(crate) fn entry(&mut self, index: u64) -> &mut Self {
            self.record(ENTRY, &Entry { index }.encode_to_vec());
            self
        }

        pub(crate) fn state(&mut self, term: u64, vote: u64, commit: u64) -> &mut Self {
            self.record(STATE, &HardState { term, vote, commit }.encode_to_vec());
            self
        }

        /// Returns the content of a preallocated file, in which this number of zero bytes follows
        /// the WAL.
        pub(crate) fn file(&self, ahead: usize) -> Vec<u8> {
            let mut bytes = self.bytes.clone();
            bytes.resize(bytes.len() + ahead, 0);
            bytes
        }
    }

    fn read(bytes: &[u8], first: u64) -> io::Result<WalEnd> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        WalEnd::read(file, first)
    }

    #[test]
    fn the_end_of_a_log_is_read() {
        let mut writer = Writer::new(7, 9);
        writer
            .entry(1)
            .entry(2)
            .state(2, 7, 1)
            .entry(3)
            .entry(4)
            .entry(3)
            .state(3, 8, 2);
        let wal = read(&writer.file(1000), 0).unwrap();
        let expected = WalEnd {
            member: 7,
            cluster: 9,
            term: 3,
            vote: 8,
            commit: 2,
            last: 3,
            checksum: writer.checksum,
        };
        assert_eq!(wal, expected, "the second entry 3 replaces entries 3 and 4");
        assert_eq!(
            read(&Writer::new(7, 9).file(64), 50).unwrap().last,
            49,
            "the index continues from the previous file"
        );
    }

    /// The file in this test is sparse: it is long, but does not occupy space on the disk.
    #[test]
    fn a_record_of_a_terabyte_uses_no_memory() {
        let mut writer = Writer::new(7, 9);
        writer.entry(1).state(2, 7, 1);
        let mut bytes = writer.bytes.clone();
        bytes.extend((1_u64 << 40).to_le_bytes());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file.set_len(1 << 41).unwrap();
        let wal = WalEnd::read(file, 0).unwrap();
        assert_eq!((wal.last, wal.commit), (1, 1));
    }

    #[test]
    fn records_before_a_truncation_or_damage_are_read() {
        let mut writer = Writer::new(7, 9);
        let begun = writer.bytes.len();
        let mut ends = vec![(begun, 0)];
        for index in 1..20 {
            writer.entry(index).state(1, 7, index);
            ends.push((writer.bytes.len(), index));
        }
        for cut in 0..=writer.bytes.len() {
            let commit = ends
                .iter()
                .rev()
                .find(|(end, _)| *end <= cut)
                .map_or(0, |(_, commit)| *commit);
            // In a preallocated file, zeros follow the point at which the file was cut, and may
            // complete a record.
            let torn = [&writer.bytes[..cut], &[0; 512]].concat();
            for (bytes, most) in [(&torn[..cut], commit), (&torn, commit + 1)] {
                match read(bytes, 0) {
                    Ok(wal) => assert!(
                        (commit..=most).contains(&wal.commit),
                        "cut at {cut}: {wal:?}"
                    ),
                    Err(_) => assert!(cut < begun, "cut at {cut}"),
                }
            }
        }
        for at in begun..writer.bytes.len() {
            let mut damaged = writer.bytes.clone();
            damaged[at] ^= 1;
            let wal = read(&damaged, 0).unwrap();
            assert!(
                wal.commit < 19 || wal.checksum != writer.checksum || wal.last <= 19,
                "damaged at {at}"
            );
        }
    }

    #[test]
    fn no_bytes_cause_a_panic() {
        for bytes in [
            &[][..],
            &[0xff; 64],
            &[1, 0, 0, 0, 0, 0, 0, 0x87],
            b"another file",
        ] {
            assert!(read(bytes, 0).is_err());
        }
        assert_eq!(
            parse_name("0000000000000001-00000000000000ff.wal"),
            Some((1, 255))
        );
        for name in [
            "1-2.wal",
            "0.tmp",
            "0000000000000001-00000000000000ff.wal.broken",
            ".wal",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn an_altered_log_is_read_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            harm in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            name in "[0-9a-f]{0,17}-?[0-9a-fé]{0,17}(\\.wal)?",
        ) {
            let mut writer = Writer::new(7, 9);
            for index in 1..9 {
                writer.entry(index).state(1, 7, index);
            }
            let mut altered = writer.file(64);
            for (at, byte) in harm {
                let at = at.index(altered.len());
                altered[at] = byte;
            }
            if let Ok(wal) = read(&altered, 0) {
                prop_assert!(wal.commit <= 8, "{wal:?}");
            }
            let _ = read(&bytes, 0);
            let _ = read(&[&writer.bytes[..], &bytes].concat(), u64::MAX);
            let _ = parse_name(&name);
        }
    }
}
