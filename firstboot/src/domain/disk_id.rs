//! Defines the id of a member's disk. Each new disk gets a new id.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::nonce::Nonce;

/// The id of a disk, by which firstboot recognises etcd's volume. firstboot generates a random id
/// when it finds the disk without etcd's data, or when a restore begins on a disk without an id. If
/// the disk is lost, its id is lost too. The disk id is the member's nonce when the members
/// bootstrap a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct DiskId(Nonce);

impl DiskId {
    /// Generates a new id with the system's random number generator.
    pub(crate) fn draw() -> Result<Self> {
        Nonce::draw().map(Self)
    }

    pub(crate) fn nonce(self) -> Nonce {
        self.0
    }

    #[cfg(test)]
    pub(crate) fn of(number: u128) -> Self {
        Self(Nonce::of(number))
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
        text.parse().map(Self)
    }
}
