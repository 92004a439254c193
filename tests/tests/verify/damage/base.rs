//! The contents to damage, as etcd 3.6.16 stored them in a cluster with users, leases, deletions
//! and a compaction. The password of `root` is `pw`, and the password of `joe` is `pw2`.

use crate::contents::Contents;

/// The lease of one of the keys.
const LEASE: i64 = 0x288e_a21f_ff1d_1622;
const ROOT: &str = "$2a$10$C3J38Rhshuo6boGOvWmcSO0NUQONy1z8Ffxz5RSqTIGuiideCdB1C";
const JOE: &str = "$2a$10$FD4McffBMXmZjWfVrwuH/O8VXcaIK.FaaPGueoVgehAMIQP0.zwvS";

/// Returns a key of the bucket `key`.
pub(crate) fn revision(main: u64, sub: u64, deletion: bool) -> Vec<u8> {
    [
        &main.to_be_bytes()[..],
        b"_",
        &sub.to_be_bytes(),
        if deletion { b"t" } else { b"" },
    ]
    .concat()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

/// Encodes a protobuf field whose value is a byte string.
pub(crate) fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2], &varint(value.len() as u64)[..], value].concat()
}

/// Encodes a protobuf field whose value is an integer.
pub(crate) fn number(field: u8, value: u64) -> Vec<u8> {
    [&[field << 3], &varint(value)[..]].concat()
}

/// Encodes a key's record, with the key's create and mod revisions and its version.
pub(crate) fn record(key: &str, created: u64, modified: u64, version: u64, value: &str) -> Vec<u8> {
    let numbers = [number(2, created), number(3, modified), number(4, version)].concat();
    [
        bytes(1, key.as_bytes()),
        numbers,
        bytes(5, value.as_bytes()),
    ]
    .concat()
}

fn permission(kind: u64, key: &str, end: &str) -> Vec<u8> {
    let kind = if kind == 0 {
        Vec::new()
    } else {
        number(1, kind)
    };
    let end = if end.is_empty() {
        Vec::new()
    } else {
        bytes(3, end.as_bytes())
    };
    bytes(2, &[kind, bytes(2, key.as_bytes()), end].concat())
}

fn user(name: &str, password: &str, roles: &[&str]) -> Vec<u8> {
    let password = if password.is_empty() {
        Vec::new()
    } else {
        bytes(2, password.as_bytes())
    };
    let options = if password.is_empty() {
        number(1, 1)
    } else {
        Vec::new()
    };
    let roles: Vec<u8> = roles
        .iter()
        .flat_map(|role| bytes(3, role.as_bytes()))
        .collect();
    [
        bytes(1, name.as_bytes()),
        password,
        roles,
        bytes(4, &options),
    ]
    .concat()
}

/// Adds twelve keys. Each key was put twice, and some keys were put a third time. The keys are
/// compacted up to revision 15. One key has a lease, three were deleted in one transaction, and
/// five were put in one transaction.
fn keys(contents: &mut Contents) {
    let keys = contents.bucket("key");
    // At revision 15, the compaction keeps only the newest version of each key, so it removes the
    // first versions of k0 and k1.
    for round in 0..30_u64 {
        let (key, main) = (round % 12, 2 + round);
        if main >= 4 {
            let record = record(
                &format!("k{key}"),
                2 + key,
                main,
                round / 12 + 1,
                &format!("v{round}"),
            );
            keys.insert(revision(main, 0, false), record);
        }
    }
    let leased = [
        record("leased", 32, 32, 1, "x"),
        number(6, LEASE.cast_unsigned()),
    ]
    .concat();
    keys.insert(revision(32, 0, false), leased);
    for (sub, key) in (0..).zip(["k1", "k10", "k11"]) {
        keys.insert(revision(33, sub, true), bytes(1, key.as_bytes()));
    }
    for sub in 0..5 {
        keys.insert(
            revision(34, sub, false),
            record(&format!("t{sub}"), 34, 34, 1, "y"),
        );
    }
}

pub(crate) fn base() -> Contents {
    let mut contents = Contents::default();
    keys(&mut contents);
    contents.bucket("alarm");
    contents.bucket("auth").extend([
        (b"authEnabled".to_vec(), vec![1]),
        (b"authRevision".to_vec(), 15_u64.to_be_bytes().to_vec()),
    ]);
    let reader = [
        bytes(1, b"reader"),
        permission(0, "a", ""),
        permission(0, "k", "l"),
    ]
    .concat();
    let writer = [
        bytes(1, b"writer"),
        permission(2, "k", "l"),
        permission(1, "t", "\0"),
    ]
    .concat();
    contents.bucket("authRoles").extend([
        (b"reader".to_vec(), reader),
        (b"root".to_vec(), bytes(1, b"root")),
        (b"writer".to_vec(), writer),
    ]);
    contents.bucket("authUsers").extend([
        (b"cn".to_vec(), user("cn", "", &["reader"])),
        (b"joe".to_vec(), user("joe", JOE, &["reader", "writer"])),
        (b"root".to_vec(), user("root", ROOT, &["root"])),
    ]);
    let downgrade = br#"{"target-version":"","enabled":false}"#.to_vec();
    contents.bucket("cluster").extend([
        (b"clusterVersion".to_vec(), b"3.6.0".to_vec()),
        (b"downgrade".to_vec(), downgrade),
    ]);
    for (id, ttl) in [(LEASE, 3600), (LEASE + 3, 7200)] {
        let lease = [number(1, id.cast_unsigned()), number(2, ttl)].concat();
        contents
            .bucket("lease")
            .insert(id.to_be_bytes().to_vec(), lease);
    }
    let member = br#"{"id":2185608329600542862,"peerURLs":["unix://localhost:2"],"name":"a","clientURLs":["unix://localhost:1"]}"#;
    contents
        .bucket("members")
        .insert(b"1e54d73227f9a88e".to_vec(), member.to_vec());
    contents
        .bucket("members_removed")
        .insert(b"8e9e05c52164694d".to_vec(), b"removed".to_vec());
    let compacted = revision(15, 0, false);
    contents.bucket("meta").extend([
        (
            b"confState".to_vec(),
            br#"{"voters":[2185608329600542862],"auto_leave":false}"#.to_vec(),
        ),
        (b"consistent_index".to_vec(), 57_u64.to_be_bytes().to_vec()),
        (b"finishedCompactRev".to_vec(), compacted.clone()),
        (b"scheduledCompactRev".to_vec(), compacted),
        (b"storageVersion".to_vec(), b"3.6.0".to_vec()),
        (b"term".to_vec(), 2_u64.to_be_bytes().to_vec()),
    ]);
    contents
}
