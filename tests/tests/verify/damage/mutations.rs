//! The mutations that change bits, whole keys or whole buckets without regard to their meaning.
//! [`super::semantic`] contains the mutations that depend on the meaning of the contents to etcd.

use super::base::base;
use crate::contents::Contents;
use crate::random::Random;

/// A damaged database.
#[derive(Debug)]
pub(crate) struct Case {
    /// The name of the mutation, which is unique and the same in every run.
    pub(crate) name: String,
    pub(crate) contents: Contents,
}

/// Returns all cases, in the same order in every run.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    cases.bits();
    cases.keys();
    cases.buckets();
    cases.auth();
    cases.cluster();
    cases.key();
    cases.meta();
    cases.leases();
    cases.0
}

/// The cases made so far.
pub(super) struct Cases(Vec<Case>);

fn shown(key: &[u8]) -> String {
    key.escape_ascii().to_string().replace("\\x00", "0")
}

impl Cases {
    pub(super) fn add(&mut self, name: impl Into<String>, harm: impl FnOnce(&mut Contents)) {
        let mut contents = base();
        harm(&mut contents);
        let name = name.into();
        if contents != base() && self.0.iter().all(|case| case.name != name) {
            self.0.push(Case { name, contents });
        }
    }

    pub(super) fn set(&mut self, bucket: &str, key: &[u8], value: &[u8], what: &str) {
        self.add(format!("{bucket}: {} = {what}", shown(key)), |contents| {
            contents.bucket(bucket).insert(key.to_vec(), value.to_vec());
        });
    }

    /// Returns the keys of all buckets, but only a selection from the bucket `key`, which has many
    /// keys.
    fn entries() -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        for (name, bucket) in base().0 {
            let step = if name == b"key" { 7 } else { 1 };
            for (key, value) in bucket.into_iter().step_by(step) {
                all.push((String::from_utf8_lossy(&name).into_owned(), key, value));
            }
        }
        all
    }

    /// Flips one bit of a key, of a value or of a bucket's name.
    fn bits(&mut self) {
        let mut random = Random(17);
        for (bucket, key, value) in Self::entries() {
            for nth in 0..7 {
                let in_key = nth < 2 || value.is_empty();
                let target = if in_key { &key } else { &value };
                let (at, bit) = (random.below(target.len()), random.below(8));
                let part = if in_key { "key" } else { "value" };
                self.add(
                    format!(
                        "{bucket}: {}: bit {bit} of byte {at} of the {part}",
                        shown(&key)
                    ),
                    |contents| {
                        let bucket = contents.bucket(&bucket);
                        let (mut key, mut value) =
                            (key.clone(), bucket.remove(&key).unwrap_or_default());
                        if in_key {
                            key[at] ^= 1 << bit;
                        } else {
                            value[at] ^= 1 << bit;
                        }
                        bucket.insert(key, value);
                    },
                );
            }
        }
        for name in base().0.keys() {
            for at in [0, name.len() - 1] {
                self.add(
                    format!("bucket {}: bit 0 of byte {at} of its name", shown(name)),
                    |contents| {
                        let bucket = contents.0.remove(name).unwrap_or_default();
                        let mut name = name.clone();
                        name[at] ^= 1;
                        contents.0.insert(name, bucket);
                    },
                );
            }
        }
    }

    /// Adds cases that remove a key, that empty, truncate, extend or overwrite a value, or that
    /// swap two values.
    fn keys(&mut self) {
        let entries = Self::entries();
        for (bucket, key, value) in &entries {
            let name = |what: &str| format!("{bucket}: {}: {what}", shown(key));
            let set = |value: Vec<u8>| {
                move |contents: &mut Contents| {
                    drop(contents.bucket(bucket).insert(key.clone(), value));
                }
            };
            self.add(name("gone"), |contents| {
                drop(contents.bucket(bucket).remove(key));
            });
            self.add(name("emptied"), set(Vec::new()));
            self.add(
                name("its last byte gone"),
                set(value[..value.len().saturating_sub(1)].to_vec()),
            );
            self.add(name("a byte more"), set([&value[..], &[0]].concat()));
            self.add(name("zeros"), set(vec![0; value.len()]));
            self.add(name("ones"), set(vec![0xFF; value.len()]));
            self.add(name("garbage"), set(b"these are twenty byte".to_vec()));
        }
        for pair in entries
            .windows(2)
            .filter(|pair| pair[0].0 == pair[1].0 && pair[0].2 != pair[1].2)
        {
            let [(bucket, one, first), (_, two, second)] = pair else {
                continue;
            };
            self.add(
                format!("{bucket}: {} and {} exchanged", shown(one), shown(two)),
                |contents| {
                    contents
                        .bucket(bucket)
                        .extend([(one.clone(), second.clone()), (two.clone(), first.clone())]);
                },
            );
        }
    }

    /// Adds cases that remove or empty a bucket, or that add a key or a bucket that etcd does not
    /// have.
    fn buckets(&mut self) {
        for name in base().0.keys() {
            self.add(format!("bucket {}: gone", shown(name)), |contents| {
                drop(contents.0.remove(name));
            });
            self.add(format!("bucket {}: empty", shown(name)), |contents| {
                contents
                    .0
                    .insert(name.clone(), std::collections::BTreeMap::new());
            });
            self.add(
                format!("bucket {}: a key of another kind", shown(name)),
                |contents| {
                    contents
                        .0
                        .entry(name.clone())
                        .or_default()
                        .insert(b"surprise".to_vec(), b"x".to_vec());
                },
            );
        }
        self.add("bucket surprise", |contents| {
            drop(
                contents
                    .bucket("surprise")
                    .insert(b"a".to_vec(), b"b".to_vec()),
            );
        });
    }
}
