//! Approves a node's keys, and finds the keys that are waiting for approval.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use recipes::{Label, Sha256};
use serde::Serialize;
use time::OffsetDateTime;

use super::error::PkiError;
use super::event::Event;
use super::{cluster, store};

/// The policy that decides which keys may be recorded as a node's first keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstKeyPolicy {
    /// The keys of the first request.
    Any,
    /// Only keys that an operator approved.
    Approved,
}

/// The state of a node's key that is not recorded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "key")]
pub(crate) enum Approval {
    /// The node requested certificates for this key, and no operator has approved the key.
    Waiting(Sha256),
    /// An operator approved this key. The next request for this key is signed.
    Approved(Sha256),
    /// No key is waiting for approval.
    None,
}

/// The name of a file in the node's folder. The file contains the fingerprint of the keys in the
/// last request that lacked an approval.
pub(super) const ASKED: &str = "asked-key";
/// The name of a file in the node's folder. The file contains the fingerprint of the keys that an
/// operator approved.
pub(super) const APPROVED: &str = "approved-key";

/// Approves keys by their fingerprint. The next request for keys with this fingerprint is signed,
/// and the keys replace the node's recorded keys. Returns `None` if these keys are already approved.
pub(crate) fn approve(
    dir: &Path,
    name: &Label,
    fingerprint: Sha256,
    now: OffsetDateTime,
) -> Result<Option<Event>, PkiError> {
    let _lock = store::existing(dir)?;
    cluster::knows(dir, name)?;
    let nodes = dir.join("nodes");
    let folder = nodes.join(name.as_str());
    store::folder(&nodes)?;
    store::folder(&folder)?;
    let path = folder.join(APPROVED);
    let text = format!("{fingerprint}\n");
    match store::read(&path)? {
        Some(old) if old == text => Ok(None),
        Some(_) => {
            let kept = store::replace(&path, text.as_bytes(), store::PUBLIC, now)?;
            let why = "another key is approved".to_owned();
            Ok(Some(Event::Replaced { path, why, kept }))
        }
        None => {
            store::put(&path, text.as_bytes(), store::PUBLIC)?;
            Ok(Some(Event::Made { path }))
        }
    }
}

/// Returns the state of a node's key that is not recorded yet.
pub(crate) fn approval_state(dir: &Path, name: &Label) -> Result<Approval, PkiError> {
    store::check_existing(dir)?;
    let asked = asked(dir, name)?;
    let approved = approved(&dir.join("nodes").join(name.as_str()))?;
    Ok(match (asked, approved) {
        (Some(asked), approved) if approved != Some(asked) => Approval::Waiting(asked),
        (_, Some(approved)) => Approval::Approved(approved),
        (_, None) => Approval::None,
    })
}

/// Returns the fingerprint of the keys in the last request that lacked an approval, or `None` if no
/// such fingerprint is recorded.
pub(super) fn asked(dir: &Path, name: &Label) -> Result<Option<Sha256>, PkiError> {
    cluster::knows(dir, name)?;
    fingerprint(&dir.join("nodes").join(name.as_str()).join(ASKED))
}

/// Returns the fingerprint of the keys in the last request that lacked an approval, and the time of
/// this request. Returns `None` if an operator has already approved these keys.
pub(crate) fn to_approve(
    dir: &Path,
    name: &Label,
) -> Result<Option<(Sha256, SystemTime)>, PkiError> {
    let folder = dir.join("nodes").join(name.as_str());
    let (asked, approved) = (asked(dir, name)?, approved(&folder)?);
    let asked = asked.filter(|asked| approved != Some(*asked));
    // The file is written again at each request that lacks an approval. If the file is missing, the
    // keys were approved and enrolled a moment ago.
    let time = fs::metadata(folder.join(ASKED)).and_then(|file| file.modified());
    Ok(asked.zip(time.ok()))
}

pub(super) fn approved(folder: &Path) -> Result<Option<Sha256>, PkiError> {
    fingerprint(&folder.join(APPROVED))
}

fn fingerprint(path: &Path) -> Result<Option<Sha256>, PkiError> {
    let Some(text) = store::read(path)? else {
        return Ok(None);
    };
    text.trim().parse().map(Some).map_err(|_| {
        let found = "it does not contain the fingerprint of a key";
        PkiError::wrong(path, found, "remove this file, and approve the key again")
    })
}
