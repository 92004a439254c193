//! Defines the id of a member's disk. Each new disk gets a new id.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Result, anyhow};
use recipes::Label;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

/// The id of a disk in one agreement of the members. firstboot generates a random id when it finds
/// the disk without etcd's data, and for each order to restore. firstboot writes the id to the
/// journal before it sends the id to any other member. The id of a lost disk is also lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct DiskId(u128);

impl DiskId {
    /// Generates a new id with the system's random number generator.
    pub(crate) fn draw() -> Result<Self> {
        let mut bytes = [0; 16];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| anyhow!("the operating system returned no random bytes"))?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    #[cfg(test)]
    pub(crate) fn of(number: u128) -> Self {
        Self(number)
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for DiskId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten();
        number
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not 32 hexadecimal digits"))
    }
}

impl TryFrom<String> for DiskId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DiskId> for String {
    fn from(disk_id: DiskId) -> Self {
        disk_id.to_string()
    }
}

/// The initial members of a new cluster, each with the id of its disk.
pub(crate) type DiskIds = BTreeMap<Label, DiskId>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_id_is_written_and_read() {
        let disk_id = DiskId::draw().unwrap();
        assert_ne!(disk_id, DiskId::draw().unwrap());
        assert_eq!(disk_id.to_string().parse(), Ok(disk_id));
        for wrong in ["", "1", &"+".repeat(32), &"0".repeat(33)] {
            assert!(wrong.parse::<DiskId>().is_err(), "{wrong}");
        }
    }
}
