//! What a source of node documents is, what it is asked, and what it answers. Each source is one file with one
//! [`Source`], and `mod.rs` lists them.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use recipes::cluster::{MetadataSource, Platform};
use reqwest::Url;

use super::document::Found;
use super::platform::Platforms;
use crate::machine::Machine;

/// A kind of place where a node document can come from.
pub(super) struct Source {
    /// Its name in the recipe.
    pub(super) name: MetadataSource,
    /// Looks there.
    pub(super) find: fn(&Query<'_>) -> Result<Answer>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.name())
    }
}

/// What a source has to know.
pub(super) struct Query<'a> {
    /// This machine.
    pub(super) machine: &'a Machine,
    /// The server of the source `url`.
    pub(super) url: Option<&'a Url>,
    /// Where the machine runs.
    pub(super) platforms: &'a Platforms,
    /// Whether the node has a document already. A node that is set up starts without any server.
    pub(super) known: bool,
    /// How long a server may take.
    pub(super) patience: Patience,
    /// Where metadata services listen.
    pub(super) services: &'a Url,
    /// Called with what a source waits for.
    pub(super) waiting: &'a dyn Fn(&str),
}

/// How long a source asks a server that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// As long as a network may need to come up.
    Boot,
    /// Once and shortly: another source has a document, and this one's is only compared with it.
    Compare,
}

/// A network card can get its address by DHCP minutes after the link: a switch port with spanning tree forwards nothing for
/// 50 s, and DHCP's retries can add a minute (RFC 2131, 4.1).
const SLOW_NETWORK: Duration = Duration::from_secs(150);
const COMPARE: Duration = Duration::from_secs(2);

impl Patience {
    /// How long a server is asked before the next source is.
    pub(super) fn limit(self) -> Duration {
        match self {
            Self::Boot => SLOW_NETWORK,
            Self::Compare => COMPARE,
        }
    }
}

impl Query<'_> {
    /// Why a source of this platform is not asked; `None`: it is.
    pub(super) fn not_on(&self, platform: Platform) -> Option<Answer> {
        if self.known {
            return Some(Answer::NotAsked(KNOWN.to_owned()));
        }
        self.platforms.why_not(platform).map(Answer::NotAsked)
    }
}

/// Why no server is asked by a node that is set up.
pub(super) const KNOWN: &str = "this node has a document already";

/// What a source has.
#[derive(Debug)]
pub(super) enum Answer {
    /// The source was not asked, and why.
    NotAsked(String),
    /// The source has no document; what it has instead.
    Nothing(String),
    /// The source has a document.
    Found(Found),
}

impl From<Found> for Answer {
    fn from(found: Found) -> Self {
        Self::Found(found)
    }
}

/// An identifier from outside, for messages: its first characters that a terminal only shows.
pub(super) fn shown(bytes: impl AsRef<[u8]>) -> String {
    let graphic = bytes.as_ref().iter().filter(|byte| byte.is_ascii_graphic());
    graphic.take(64).map(|byte| char::from(*byte)).collect()
}
