//! What the sources answered in this boot, for `firstboot explain --sources`. It is in /run, since the next boot asks again.

use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::cluster::MetadataSource;
use serde::{Deserialize, Serialize};

use crate::files::{self, DesiredFile};
use crate::paths;

/// What one source answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceRow {
    /// Which.
    pub(crate) source: MetadataSource,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// What firstboot saw there, or why it did not look.
    pub(crate) saw: String,
}

/// How asking a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// firstboot is asking it.
    Asking,
    /// firstboot did not ask it.
    NotAsked,
    /// It has no document.
    Nothing,
    /// Its document is the node's.
    Taken,
    /// It has the same document as the source before it.
    Agrees,
    /// What it has is wrong, and ended the search.
    Wrong,
}

/// What all sources answered.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceLog {
    /// In the order of asking.
    pub(crate) sources: Vec<SourceRow>,
    /// Where the document that firstboot uses is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) taken: Option<String>,
    /// Why the search, or the document, ended in a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
    #[serde(skip)]
    is_kept: bool,
}

impl SourceLog {
    /// A log that `explain` can read afterwards. Others are for commands that have to leave no trace.
    pub(crate) fn kept() -> Self {
        Self { is_kept: true, ..Self::default() }
    }

    /// The log of this boot; `None` where firstboot did not run yet.
    pub(crate) fn load() -> Result<Option<Self>> {
        let Some(bytes) = files::read_if_there(paths::SOURCES)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{} is damaged", paths::SOURCES))
    }

    /// Starts again, as each search does.
    pub(super) fn clear(&mut self) {
        *self = Self { is_kept: self.is_kept, ..Self::default() };
    }

    /// Notes a source, or what has become of the last one.
    pub(super) fn note(&mut self, source: MetadataSource, outcome: Outcome, saw: impl Into<String>) {
        self.sources.retain(|row| row.source != source || row.outcome != Outcome::Asking);
        self.sources.push(SourceRow { source, outcome, saw: saw.into() });
    }

    /// Notes why the document that was taken is refused.
    pub(crate) fn refuse(&mut self, error: &anyhow::Error) {
        self.refused = Some(format!("{error:#}"));
        self.save();
    }

    /// Writes the log, if it is kept and says something new. It only explains, so that firstboot goes on where it cannot be
    /// written.
    pub(super) fn save(&self) {
        if !self.is_kept || !Path::new(paths::RUN).exists() {
            return;
        }
        // A later run of the same boot asks fewer sources: the first one's log says more.
        if Self::load().is_ok_and(|before| before.is_some_and(|before| self.repeats(&before))) {
            return;
        }
        let json = serde_json::to_vec(self).map_err(anyhow::Error::from);
        let written = json.and_then(|json| DesiredFile::new(paths::SOURCES, json).mode(0o600, files::ROOT).write());
        if let Err(error) = written {
            eprintln!("firstboot: {error:#}");
        }
    }

    /// Whether both searches ended with the same document.
    fn repeats(&self, before: &Self) -> bool {
        let ended = |log: &Self| log.taken.clone().filter(|_| log.refused.is_none());
        ended(self).is_some() && ended(self) == ended(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_repeats_only_one_with_the_same_document_and_no_refusal() {
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
