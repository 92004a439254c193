//! Mutations that bbolt accepts, but that etcd rejects or reads with a different meaning.

use super::base::{base, bytes, number, record, revision};
use super::mutations::Cases;
use crate::contents::Contents;

impl Cases {
    pub(super) fn auth(&mut self) {
        self.auth_settings();
        self.auth_roles();
        self.auth_users();
    }

    fn auth_settings(&mut self) {
        for value in [&[0][..], &[2], &[3], &[1, 1], &[0x31]] {
            self.set("auth", b"authEnabled", value, &format!("{value:?}"));
        }
        for value in [0, 1, u64::MAX] {
            self.set(
                "auth",
                b"authRevision",
                &value.to_be_bytes(),
                &value.to_string(),
            );
        }
    }

    fn auth_roles(&mut self) {
        let permission =
            |fields: &[Vec<u8>]| [bytes(1, b"reader"), bytes(2, &fields.concat())].concat();
        for (what, fields) in [
            ("of type 3", vec![number(1, 3), bytes(2, b"a")]),
            ("of type 2^40", vec![number(1, 1 << 40), bytes(2, b"a")]),
            ("with an empty key", vec![number(1, 1)]),
            (
                "whose end is before its key",
                vec![bytes(2, b"k"), bytes(3, b"a")],
            ),
            ("whose end is its key", vec![bytes(2, b"k"), bytes(3, b"k")]),
        ] {
            self.set(
                "authRoles",
                b"reader",
                &permission(&fields),
                &format!("a permission {what}"),
            );
        }
        let unordered = [
            bytes(1, b"writer"),
            bytes(2, &bytes(2, b"t")),
            bytes(2, &bytes(2, b"k")),
        ]
        .concat();
        self.set(
            "authRoles",
            b"writer",
            &unordered,
            "permissions out of order",
        );
    }

    fn auth_users(&mut self) {
        let root = |roles: &[&str]| {
            let roles: Vec<u8> = roles
                .iter()
                .flat_map(|role| bytes(3, role.as_bytes()))
                .collect();
            let user = base().bucket("authUsers")[&b"root"[..]].clone();
            [&user[..user.len() - 8], &roles, &bytes(4, b"")].concat()
        };
        for roles in [
            &[][..],
            &["reader"],
            &["root", "reader"],
            &["writer", "root", "reader"],
            &["no-such-role", "root"],
        ] {
            self.set(
                "authUsers",
                b"root",
                &root(roles),
                &format!("the roles {roles:?}"),
            );
        }
        let strange = [
            bytes(1, b"cn"),
            bytes(3, &[0xFF, 0xFE]),
            bytes(4, &number(1, 1)),
        ]
        .concat();
        self.set("authUsers", b"cn", &strange, "a role that is not UTF-8");
        self.set(
            "authUsers",
            b"cn",
            &[bytes(1, b"cn"), bytes(9, b"more")].concat(),
            "a field that etcd does not have",
        );
        self.set(
            "authUsers",
            b"joe",
            &[bytes(1, b"joe"), bytes(2, b"secret"), bytes(4, b"")].concat(),
            "an open password",
        );
        self.set(
            "authUsers",
            b"root",
            &[bytes(1, b"root"), bytes(2, b"secret"), bytes(3, b"root")].concat(),
            "an open password",
        );
    }

    pub(super) fn cluster(&mut self) {
        for version in [
            "3.5.0",
            "3.7.0",
            "3.8.0",
            "4.0.0",
            "2.6.0",
            "3.6",
            "3.6.1",
            "",
            "3.6.0-rc.1",
            "3.06.0",
        ] {
            self.set("cluster", b"clusterVersion", version.as_bytes(), version);
            self.set("meta", b"storageVersion", version.as_bytes(), version);
            self.add(format!("cluster and storage {version}"), |contents| {
                contents
                    .bucket("cluster")
                    .insert(b"clusterVersion".to_vec(), version.as_bytes().to_vec());
                contents
                    .bucket("meta")
                    .insert(b"storageVersion".to_vec(), version.as_bytes().to_vec());
            });
        }
        for value in [
            r#"{"target-version":"3.5.0","enabled":true}"#,
            r#"{"target-version":"3.6.0","enabled":true}"#,
            r#"{"target-version":"","enabled":true}"#,
            r#"{"target-version":"x","enabled":true}"#,
            r#"{"target-version":"x","enabled":false}"#,
            r#"{"target-version":"3.5.0","enabled":1}"#,
            "{}",
            "null",
        ] {
            self.set("cluster", b"downgrade", value.as_bytes(), value);
        }
        for key in [
            "0",
            "xyz",
            "1E54D73227F9A88E",
            "01e54d73227f9a88e",
            "11e54d73227f9a88e0",
        ] {
            self.set(
                "members",
                key.as_bytes(),
                br#"{"id":1,"peerURLs":["http://a:1"]}"#,
                "another member",
            );
            self.set("members_removed", key.as_bytes(), b"removed", "removed");
        }
        for value in [
            r#"{"id":2185608329600542862}"#,
            r#"{"id":1,"peerURLs":["http://a:1"]}"#,
            "[]",
            "null",
        ] {
            self.set("members", b"1e54d73227f9a88e", value.as_bytes(), value);
        }
    }

    pub(super) fn key(&mut self) {
        self.missing_revisions();
        self.misplaced_records();
        self.wrong_records();
        self.wrong_deletions();
    }

    fn missing_revisions(&mut self) {
        let gone = |mains: std::ops::Range<u64>| {
            move |contents: &mut Contents| {
                contents.bucket("key").retain(|key, _| {
                    let main = key
                        .get(..8)
                        .and_then(|main| main.try_into().ok())
                        .map_or(0, u64::from_be_bytes);
                    !mains.contains(&main)
                });
            }
        };
        for range in [
            4..10,
            4..16,
            10..20,
            16..17,
            20..26,
            30..35,
            34..35,
            0..100,
            16..100,
        ] {
            self.add(format!("key: revisions {range:?} gone"), gone(range));
        }
        self.add("key: a change of a transaction gone", |contents| {
            drop(contents.bucket("key").remove(&revision(34, 2, false)));
        });
        self.add("key: the first change of a transaction gone", |contents| {
            drop(contents.bucket("key").remove(&revision(34, 0, false)));
        });
    }

    fn misplaced_records(&mut self) {
        for (main, sub) in [
            (0, 0),
            (1, 0),
            (36, 0),
            (34, 9),
            (1 << 62, 0),
            (1 << 63, 0),
            (35, 1 << 63),
        ] {
            self.add(format!("key: a record at {main}.{sub}"), |contents| {
                contents.bucket("key").insert(
                    revision(main, sub, false),
                    record("new", main.max(1), main.max(1), 1, "v"),
                );
            });
        }
    }

    fn wrong_records(&mut self) {
        for (what, value) in [
            ("empty", Vec::new()),
            ("without a key", record("", 35, 35, 1, "v")),
            (
                "created after it was modified",
                record("new", 36, 35, 1, "v"),
            ),
            (
                "with a version that is too high",
                record("new", 34, 35, 9, "v"),
            ),
            ("with the version 0", bytes(1, b"new")),
            ("of another mod_revision", record("new", 34, 34, 1, "v")),
            (
                "with a lease that is not there",
                [record("new", 35, 35, 1, "v"), number(6, 77)].concat(),
            ),
            (
                "with a field that etcd does not have",
                [record("new", 35, 35, 1, "v"), bytes(9, b"x")].concat(),
            ),
            (
                "with a field of another type",
                [bytes(1, b"new"), bytes(2, b"x")].concat(),
            ),
            (
                "whose fields are out of order",
                [number(2, 35), bytes(1, b"new"), number(3, 35), number(4, 1)].concat(),
            ),
        ] {
            self.add(format!("key: a new record {what}"), |contents| {
                drop(contents.bucket("key").insert(revision(35, 0, false), value));
            });
        }
    }

    fn wrong_deletions(&mut self) {
        self.add("key: a deletion of what is not there", |contents| {
            contents
                .bucket("key")
                .insert(revision(35, 0, true), bytes(1, b"none"));
        });
        self.add("key: a deletion with a value", |contents| {
            contents
                .bucket("key")
                .insert(revision(35, 0, true), record("k2", 4, 28, 3, "x"));
        });
    }

    pub(super) fn meta(&mut self) {
        for main in [0, 1, 14, 34, 35, 1 << 40, 1 << 63] {
            self.set(
                "meta",
                b"scheduledCompactRev",
                &revision(main, 0, false),
                &main.to_string(),
            );
            self.set(
                "meta",
                b"finishedCompactRev",
                &revision(main, 0, false),
                &main.to_string(),
            );
            self.add(format!("meta: compacted up to {main}"), |contents| {
                for name in ["scheduledCompactRev", "finishedCompactRev"] {
                    contents
                        .bucket("meta")
                        .insert(name.as_bytes().to_vec(), revision(main, 0, false));
                }
            });
        }
        self.set(
            "meta",
            b"scheduledCompactRev",
            &revision(20, 3, true),
            "20.3 deleted",
        );
        for name in ["consistent_index", "term"] {
            for value in [0, 1, u64::MAX] {
                self.set(
                    "meta",
                    name.as_bytes(),
                    &value.to_be_bytes(),
                    &value.to_string(),
                );
            }
        }
        for value in [
            r#"{"voters":[1],"auto_leave":false}"#,
            r#"{"auto_leave":false}"#,
            "{}",
            "[]",
            "null",
            r#"{"voters":["x"]}"#,
        ] {
            self.set("meta", b"confState", value.as_bytes(), value);
        }
    }

    pub(super) fn leases(&mut self) {
        for (what, id, value) in [
            ("of no time", 5_i64, number(1, 5)),
            (
                "of less than no time",
                5,
                [number(1, 5), number(2, u64::MAX)].concat(),
            ),
            (
                "of all time",
                5,
                [number(1, 5), number(2, 1 << 62)].concat(),
            ),
            (
                "with more time left than it has",
                5,
                [number(1, 5), number(2, 9), number(3, 99)].concat(),
            ),
            ("without an ID", 5, number(2, 60)),
            ("with the ID 0", 0, number(2, 60)),
            (
                "with an ID below 0",
                -5,
                [number(1, u64::MAX - 4), number(2, 60)].concat(),
            ),
        ] {
            self.set("lease", &id.to_be_bytes(), &value, what);
        }
        self.set(
            "lease",
            &[1, 2, 3],
            &[number(1, 5), number(2, 60)].concat(),
            "a key of 3 bytes",
        );
        for (what, key) in [
            ("NOSPACE", [number(1, 5), number(2, 1)].concat()),
            ("CORRUPT", [number(1, 5), number(2, 2)].concat()),
            ("none", number(1, 5)),
            (
                "a kind that etcd does not have",
                [number(1, 5), number(2, 7)].concat(),
            ),
            ("garbage", b"garbage".to_vec()),
        ] {
            self.add(format!("alarm: {what}"), |contents| {
                drop(contents.bucket("alarm").insert(key.clone(), Vec::new()));
            });
            self.add(format!("alarm: {what}, with a value"), |contents| {
                drop(contents.bucket("alarm").insert(key, b"x".to_vec()));
            });
        }
    }
}
