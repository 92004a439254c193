//! Defines a source of node documents, its query and its answer. Each source is implemented in a
//! file with one [`Source`], and `mod.rs` lists all sources.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use recipes::cluster::{MetadataSource, Platform};
use reqwest::Url;

use super::document::FoundDocument;
use super::platform::Platforms;
use crate::machine::Machine;

pub(super) struct Source {
    /// The source's name in the recipe.
    pub(super) name: MetadataSource,
    pub(super) find: fn(&Query<'_>) -> Result<SourceResult>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.name())
    }
}

/// The data that a source needs for its query.
pub(super) struct Query<'a> {
    /// The identifiers of this machine.
    pub(super) machine: &'a Machine,
    /// The server that the source `url` queries.
    pub(super) url: Option<&'a Url>,
    /// The platforms on which the machine runs.
    pub(super) platforms: &'a Platforms,
    /// Whether the node already has a document. A node that has a document does not query any
    /// server.
    pub(super) known: bool,
    /// The document that an earlier run received, if the node did not accept it yet.
    pub(super) received: Option<&'a FoundDocument>,
    /// How long the source queries a server that does not answer.
    pub(super) mode: QueryMode,
    /// The base URL of metadata services.
    pub(super) services: &'a Url,
    /// A function that is called with the reason why a source is waiting.
    pub(super) waiting: &'a dyn Fn(&str),
}

/// The time for which a source keeps querying a server that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryMode {
    /// The source keeps querying for as long as a network may need to come up.
    WaitForNetwork,
    /// The source queries once, with a short time limit, because firstboot only compares this
    /// source's document with the document of another source.
    Once,
}

/// The time limit for a network that is still coming up. An interface may get its address from DHCP
/// minutes after the link comes up. A switch port with spanning tree forwards no packets for up to
/// 50 s, and DHCP's retries may add a minute (RFC 2131, 4.1).
const SLOW_NETWORK: Duration = Duration::from_secs(150);
const COMPARE: Duration = Duration::from_secs(2);

impl QueryMode {
    /// Returns the time for which to query a server before the next source is tried.
    pub(super) fn limit(self) -> Duration {
        match self {
            Self::WaitForNetwork => SLOW_NETWORK,
            Self::Once => COMPARE,
        }
    }
}

impl Query<'_> {
    /// Returns why firstboot does not query a source of this platform, or `None` if firstboot
    /// queries it.
    pub(super) fn not_on(&self, platform: Platform) -> Option<SourceResult> {
        if self.known {
            return Some(SourceResult::NotAsked(KNOWN.to_owned()));
        }
        self.platforms.why_not(platform).map(SourceResult::NotAsked)
    }
}

/// The reason why a node that is already set up does not query a server.
pub(super) const KNOWN: &str = "this node already has a document";

/// The pauses between attempts, in seconds. During a pause, the network or the server can become
/// ready, or an operator can approve a key. After the last attempt, firstboot exits, and systemd
/// restarts it without a limit.
pub(super) const RETRY_PAUSES: [u64; 6] = [1, 2, 4, 8, 15, 30];

/// The answer of a source.
#[derive(Debug)]
pub(super) enum SourceResult {
    /// The source was not queried, for this reason.
    NotAsked(String),
    /// The source does not have a document. The text describes what the source contains.
    Nothing(String),
    Found(FoundDocument),
}

impl From<FoundDocument> for SourceResult {
    fn from(found: FoundDocument) -> Self {
        Self::Found(found)
    }
}

/// Reduces an external identifier to its first printable characters, so that a message can contain
/// the identifier.
pub(super) fn shorten(bytes: impl AsRef<[u8]>) -> String {
    let graphic = bytes.as_ref().iter().filter(|byte| byte.is_ascii_graphic());
    graphic.take(64).map(|byte| char::from(*byte)).collect()
}
