//! Checks the buckets `auth`, `authUsers` and `authRoles` (auth/store.go; api/authpb/auth.proto).
//!
//! etcd enables authentication only if `auth` contains exactly the bytes that etcd expects. With
//! any other content, the cluster runs without authentication. Therefore, this module checks the
//! three buckets against the rules that etcd follows when it writes these buckets.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use bolt::Faults;

use super::wire::{Fields, Malformed, Value};

/// The user and the role with this name must exist before etcd enables authentication.
const ROOT: &[u8] = b"root";
/// The maximum number of roles that the reader remembers, each as a hash. If the database has this
/// many roles or more, the reader does not check whether the users' roles exist.
const REMEMBERED: usize = 1 << 17;

/// The state of the check. The reader reads `authRoles` before `authUsers`.
#[derive(Debug, Default)]
pub(super) struct Auth {
    pub(super) enabled: bool,
    revision: bool,
    /// Whether the user `root` has the role `root`.
    root: bool,
    hasher: RandomState,
    roles: HashSet<u64>,
}

/// The number of permission types: READ, WRITE, READWRITE.
const TYPES: u64 = 3;

impl Auth {
    /// Checks an entry of `auth`. Returns the expected content if the entry is invalid.
    pub(super) fn setting(&mut self, key: &[u8], value: &[u8]) -> Option<&'static str> {
        match (key, value) {
            (b"authEnabled", [0 | 1]) => self.enabled = value == [1],
            (b"authEnabled", _) => return Some("`authEnabled` as one byte, 0 or 1"),
            (b"authRevision", value) => {
                self.revision = true;
                let revision = <[u8; 8]>::try_from(value).map_or(0, u64::from_be_bytes);
                return (revision == 0)
                    .then_some("`authRevision` as a number of 8 bytes that is at least 1");
            }
            _ => return Some("`authEnabled` or `authRevision`"),
        }
        None
    }

    /// Checks an entry of `authRoles`. Returns the expected content if the entry is invalid.
    pub(super) fn role(&mut self, key: &[u8], value: &[u8]) -> Option<&'static str> {
        if self.roles.len() < REMEMBERED {
            self.roles.insert(self.hasher.hash_one(key));
        }
        let Ok((name, ordered)) = role(value) else {
            return Some("a role, as etcd encodes it");
        };
        match () {
            () if name != key => Some("a role whose name equals its key"),
            () if !ordered => Some("a role's permissions in the order of their keys"),
            () => None,
        }
    }

    /// Checks an entry of `authUsers`. Returns the expected content if the entry is invalid.
    pub(super) fn user(&mut self, key: &[u8], value: &[u8]) -> Option<&'static str> {
        let user = User::read(value);
        // Do not report `root` as missing if its entry cannot be parsed, so that one cause produces
        // one fault.
        self.root |= key == ROOT
            && user
                .as_ref()
                .map_or(true, |user| user.roles.contains(&ROOT));
        let Ok(user) = user else {
            return Some("a user, as etcd encodes it");
        };
        let known =
            |role: &&[u8]| *role == ROOT || self.roles.contains(&self.hasher.hash_one(*role));
        match () {
            () if user.name != key => Some("a user whose name equals its key"),
            () if !user.password.is_empty() && !is_bcrypt(user.password) => {
                Some("a bcrypt hash of the user's password")
            }
            // The roles must be in ascending order, because etcd finds a role by binary search.
            () if !user.roles.is_sorted_by(|a, b| a < b) => {
                Some("a user's roles in ascending order")
            }
            () if self.roles.len() < REMEMBERED && !user.roles.iter().all(known) => {
                Some("a user whose roles are all in `authRoles`")
            }
            () => None,
        }
    }

    /// Checks, after all entries have been read, that the required entries exist.
    pub(super) fn finish(&self, faults: &mut Faults) {
        if !self.revision {
            faults.add(
                None,
                0,
                "the key `authRevision` (bucket `auth`)",
                "no such key",
            );
        }
        if self.enabled && !self.root {
            let expected = "the user `root` with the role `root`, because authentication is on (bucket `authUsers`)";
            faults.add(None, 0, expected, "no such user");
        }
    }
}

/// Returns a role's name, and whether the role's permissions are sorted by key.
fn role(bytes: &[u8]) -> Result<(&[u8], bool), Malformed> {
    let (mut name, mut before, mut ordered): (_, &[u8], _) = (&[][..], &[], true);
    let mut fields = Fields::of(bytes, 2);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => name = value.some_bytes()?,
            2 => {
                let key = permission(value)?;
                ordered &= before <= key;
                before = key;
            }
            _ => return Err(Malformed),
        }
    }
    Ok((name, ordered))
}

/// Returns the key of a permission. Accepts every key, even an empty key, and every end of a range,
/// as etcd before 3.5.2 did.
fn permission(value: Value<'_>) -> Result<&[u8], Malformed> {
    let mut key = &[][..];
    let mut fields = Fields::of(value.bytes()?, 0);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 if value.number()? < TYPES => {}
            2 => key = value.some_bytes()?,
            3 => drop(value.some_bytes()?),
            _ => return Err(Malformed),
        }
    }
    Ok(key)
}

/// A user.
#[derive(Debug, Default)]
struct User<'a> {
    name: &'a [u8],
    password: &'a [u8],
    roles: Vec<&'a [u8]>,
}

impl<'a> User<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut user = Self::default();
        let mut fields = Fields::of(bytes, 3);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => user.name = value.some_bytes()?,
                2 => user.password = value.some_bytes()?,
                // The field is a string, and etcd 3.7 reads a string only if it is valid UTF-8.
                3 => user.roles.push(value.some_bytes().and_then(text)?),
                4 => options(value.bytes()?)?,
                _ => return Err(Malformed),
            }
        }
        Ok(user)
    }
}

/// Checks the options of a user. The only option is a boolean that states whether the user has no
/// password.
fn options(bytes: &[u8]) -> Result<(), Malformed> {
    let mut fields = Fields::of(bytes, 0);
    while let Some(field) = fields.next()? {
        if field != (1, Value::Number(1)) {
            return Err(Malformed);
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&[u8], Malformed> {
    std::str::from_utf8(bytes)
        .map(|_| bytes)
        .map_err(|_| Malformed)
}

/// Returns whether this is a bcrypt hash: `$2a$`, `$2b$` or `$2y$`, two digits of cost, `$`, 22
/// characters of salt and 31 characters of hash (golang.org/x/crypto/bcrypt).
fn is_bcrypt(hash: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    let Some((head, rest)) = hash.split_at_checked(7) else {
        return false;
    };
    let [b'$', b'2', b'a' | b'b' | b'y', b'$', tens, ones, b'$'] = head else {
        return false;
    };
    let cost = tens.is_ascii_digit()
        && ones.is_ascii_digit()
        && (b"04"..=b"31").contains(&&[*tens, *ones]);
    cost && rest.len() == 53 && rest.iter().all(letter)
}

#[cfg(test)]
mod tests;
