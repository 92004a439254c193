//! A node document as a source holds it, before anything in it is believed.

use anyhow::{Context as _, Result};
use recipes::Envelope;

/// A node document needs some 10 KB; a server that sends more sends something else.
pub(super) const LIMIT: u64 = 1 << 20;

/// A document as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where, for messages.
    pub(crate) place: String,
    /// Signed by somebody, perhaps.
    pub(crate) envelope: Envelope,
}

impl Found {
    pub(super) fn parse(place: impl Into<String>, bytes: &[u8]) -> Result<Self> {
        let place = place.into();
        let envelope = serde_json::from_slice(bytes).with_context(|| {
            format!("{place} is not a node document: expected the node.json (or user-data) that `builder build` wrote")
        })?;
        Ok(Self { place, envelope })
    }
}
