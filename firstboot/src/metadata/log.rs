//! Logs the answers of the sources in this boot, for `firstboot explain --sources`. The log is in
//! /run, because firstboot queries the sources again at each boot.

use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::cluster::MetadataSource;
use serde::{Deserialize, Serialize};

use crate::files::{self, DesiredFile};
use crate::paths;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceRow {
    pub(crate) source: MetadataSource,
    pub(crate) outcome: Outcome,
    /// What firstboot found at the source, or why the source failed, is waiting or was not queried.
    pub(crate) saw: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The query has not finished.
    Asking,
    /// firstboot did not query the source.
    NotAsked,
    /// The source has no document.
    Nothing,
    /// The node uses the source's document.
    Taken,
    /// The source has the same document as the source that the node uses.
    Agrees,
    /// The source failed, or its document is invalid or differs from the first document, so
    /// firstboot ended the search.
    Wrong,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceLog {
    /// The sources, in the order of the search.
    pub(crate) sources: Vec<SourceRow>,
    /// The location of the document that firstboot uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) taken: Option<String>,
    /// Why firstboot aborted the search or refused the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
    #[serde(skip)]
    is_kept: bool,
}

impl SourceLog {
    /// Returns a log that is stored on the node, for `explain`. Commands that must not change the
    /// node use a log that is not stored.
    pub(crate) fn kept() -> Self {
        Self {
            is_kept: true,
            ..Self::default()
        }
    }

    /// Returns the log of this boot, or `None` if firstboot has not stored one yet.
    pub(crate) fn load() -> Result<Option<Self>> {
        let Some(bytes) = files::read_if_there(paths::SOURCES)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is damaged", paths::SOURCES))
    }

    /// Clears the log at the start of a search.
    pub(super) fn clear(&mut self) {
        *self = Self {
            is_kept: self.is_kept,
            ..Self::default()
        };
    }

    /// Records the outcome for a source. Removes an earlier record of this source whose outcome is
    /// [`Outcome::Asking`].
    pub(super) fn note(
        &mut self,
        source: MetadataSource,
        outcome: Outcome,
        saw: impl Into<String>,
    ) {
        self.sources
            .retain(|row| row.source != source || row.outcome != Outcome::Asking);
        self.sources.push(SourceRow {
            source,
            outcome,
            saw: saw.into(),
        });
    }

    /// Records that the document comes from this location, which is not one of the sources.
    pub(crate) fn taken_from(&mut self, origin: &str) {
        (self.taken, self.refused) = (Some(origin.to_owned()), None);
        self.save();
    }

    pub(crate) fn refuse(&mut self, error: &anyhow::Error) {
        self.refused = Some(format!("{error:#}"));
        self.save();
    }

    /// Records that the node uses its stored copy instead of the document of a source.
    pub(crate) fn use_copy(&mut self) {
        self.taken = Some(paths::ACCEPTED_DOCUMENT.to_owned());
        self.save();
    }

    /// Writes the log, if it must be stored on the node. Does not replace a stored log of a search
    /// that chose the same document. firstboot continues even if the write fails.
    pub(super) fn save(&self) {
        if !self.is_kept || !Path::new(paths::RUN).exists() {
            return;
        }
        // A later run in the same boot queries fewer sources, so the log of the first run is more
        // complete.
        if Self::load().is_ok_and(|before| before.is_some_and(|before| self.repeats(&before))) {
            return;
        }
        let json = serde_json::to_vec(self).map_err(anyhow::Error::from);
        let written = json.and_then(|json| {
            DesiredFile::new(paths::SOURCES, json)
                .mode(0o600, files::ROOT)
                .write()
        });
        if let Err(error) = written {
            eprintln!("firstboot: {error:#}");
        }
    }

    /// Returns whether both searches chose the same document, and neither search ended with a
    /// refusal.
    fn repeats(&self, before: &Self) -> bool {
        let ended = |log: &Self| log.taken.clone().filter(|_| log.refused.is_none());
        ended(self).is_some() && ended(self) == ended(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_repeats_only_a_log_with_the_same_document_and_no_refusal() {
        let log = |taken: Option<&str>, refused: Option<&str>| SourceLog {
            taken: taken.map(str::to_owned),
            refused: refused.map(str::to_owned),
            ..SourceLog::default()
        };
        assert!(log(Some("a"), None).repeats(&log(Some("a"), None)));
        for (now, before) in [
            (log(Some("b"), None), log(Some("a"), None)),
            (log(Some("a"), None), log(Some("a"), Some("no"))),
            (log(Some("a"), Some("no")), log(Some("a"), None)),
            (log(None, None), log(None, None)),
        ] {
            assert!(!now.repeats(&before), "{now:?} {before:?}");
        }
    }
}
