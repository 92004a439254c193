//! What firstboot did, in order: append-only, each line checksummed and flushed before the next thing is done, so
//! that after a power cut it can be told what had been begun and what was finished.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use recipes::{Label, Sha256};
use serde::{Deserialize, Serialize};

use crate::barrier::{Lives, Nonce};
use crate::exit::refused;
use crate::files;
use crate::machine::Machine;

/// One thing that happened. A decision is written before it is acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Event {
    /// A document made this machine this node.
    Accepted {
        /// The member's name.
        name: Label,
        /// The machine that it was accepted on.
        machine: Machine,
    },
    /// The operator said that the cluster shall begin without these.
    Without {
        /// Members of the recipe.
        names: BTreeSet<Label>,
    },
    /// The disk was found empty, and its life in the bootstrap barrier begins.
    Life {
        /// Drawn for it.
        nonce: Nonce,
    },
    /// All others were seen, empty, in these lives; this node will be told as ready.
    Ready {
        /// The lives of all initial members.
        lives: Lives,
    },
    /// This node shall be an initial member of a new cluster with this token.
    Bootstrap {
        /// etcd's `initial-cluster-token`.
        token: String,
        /// Its initial members with their peer URLs.
        members: Vec<(String, String)>,
    },
    /// A cluster lives in which another life of this node is a member; that one shall be removed.
    Remove {
        /// Its id.
        member: u64,
    },
    /// This node shall be added as a learner.
    Add {
        /// To the cluster with this id.
        cluster: u64,
    },
    /// It was added.
    Added {
        /// The id it got.
        member: u64,
    },
    /// This node shall join the cluster that it was added to.
    Join {
        /// etcd's `initial-cluster-token`; a joining member does not heed it.
        token: String,
        /// All members with their peer URLs, this one among them.
        members: Vec<(String, String)>,
    },
    /// This node shall have a vote.
    Promote {
        /// Its id.
        member: u64,
    },
    /// The operator said that this member shall leave its cluster, and it is safe; now it is removed.
    Leave {
        /// Its id.
        member: u64,
    },
    /// It could not be removed in time, and goes on as a member.
    Stay {
        /// Its id.
        member: u64,
    },
    /// It is no member any more, and etcd stays down.
    Left {
        /// The id it had.
        member: u64,
    },
    /// The operator said that this node, which is no member any more, shall be taken in again.
    Rejoin {
        /// The id it had.
        member: u64,
    },
    /// The data directory is put aside: what a bootstrap that was cut short left, or a member that is none any more.
    Aside {
        /// Where to.
        path: PathBuf,
    },
    /// etcd on this node answered, with a quorum behind it.
    Healthy {
        /// The cluster's id, as etcd gives it.
        cluster: u64,
        /// The member's id.
        member: u64,
    },
}

/// An event and when it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Seconds since 1970, by the node's clock at that time.
    pub(crate) at: u64,
    /// What happened.
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// The journal on the disk.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// What it holds, oldest first.
    pub(crate) entries: Vec<Entry>,
}

/// How many hexadecimal digits of a line's SHA-256 stand before it: enough to tell a torn line from a whole one.
const CHECK: usize = 16;

fn check_of(json: &str) -> String {
    Sha256::of(json.as_bytes()).to_string()[..CHECK].to_owned()
}

/// The entry in a line, if the line is whole.
fn parse(line: &str) -> Option<Entry> {
    let (check, json) = line.split_once(' ')?;
    (check == check_of(json)).then(|| serde_json::from_str(json).ok()).flatten()
}

/// What a line of a journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Whole.
    Entry(Entry),
    /// The last one, cut short: what a power cut leaves. Nothing was done on it.
    Torn,
    /// Broken, with others behind it.
    Damaged,
}

/// The lines of a journal's text, first to last.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = text
        .split_inclusive('\n')
        .map(|line| line.strip_suffix('\n').and_then(parse).map_or(Line::Damaged, Line::Entry))
        .collect();
    if let Some(last @ Line::Damaged) = lines.last_mut() {
        *last = Line::Torn;
    }
    lines
}

/// The entries of a journal's text, and how many of its bytes they fill; or the number of the damaged line.
fn read(text: &str) -> Result<(Vec<Entry>, usize), usize> {
    let mut entries = Vec::new();
    let mut good = 0;
    for (number, (line, text)) in lines(text).into_iter().zip(text.split_inclusive('\n')).enumerate() {
        match line {
            Line::Entry(entry) => entries.push(entry),
            Line::Torn => break,
            Line::Damaged => return Err(number + 1),
        }
        good += text.len();
    }
    Ok((entries, good))
}

impl Journal {
    /// Opens the journal at a path; where there is none it is empty. A torn last line is cut off.
    pub(crate) fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let bytes = files::read_if_there(&path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let (entries, good) = read(&text).map_err(|line| {
            refused(format!(
                "{}:{line} is damaged, so nothing can be said of what this node did. Its data is not touched; \
                 rebuild the node from the image",
                path.display()
            ))
        })?;
        if good < bytes.len() {
            let file = OpenOptions::new().write(true).open(&path);
            let cut = file.and_then(|file| file.set_len(good as u64).and_then(|()| file.sync_all()));
            cut.with_context(|| format!("cannot cut the torn end off {}", path.display()))?;
        }
        Ok(Self { path, entries })
    }

    /// Adds an event; it is on the disk when this returns.
    pub(crate) fn add(&mut self, event: Event) -> Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let entry = Entry { at, event };
        let json = serde_json::to_string(&entry)?;
        let line = format!("{} {json}\n", check_of(&json));
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
            file.write_all(line.as_bytes())?;
            file.sync_all()?;
            self.path.parent().map_or(Ok(()), files::sync)
        };
        write().with_context(|| format!("cannot write to {}", self.path.display()))?;
        self.entries.push(entry);
        Ok(())
    }

    /// The newest event that `pick` takes something from.
    pub(crate) fn last<'a, T>(&'a self, pick: impl Fn(&'a Event) -> Option<T>) -> Option<T> {
        self.entries.iter().rev().find_map(|entry| pick(&entry.event))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(text: &str) -> Event {
        Event::Bootstrap { token: text.to_owned(), members: Vec::new() }
    }

    #[test]
    fn what_was_added_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.add(token("a")).unwrap();
        journal.add(Event::Healthy { cluster: u64::MAX, member: 1 }).unwrap();
        let again = Journal::open(&path).unwrap();
        assert_eq!(again.entries, journal.entries);
        assert_eq!(again.last(|event| matches!(event, Event::Healthy { .. }).then_some(())), Some(()));
    }

    #[test]
    fn damage_before_the_end_is_an_error_that_names_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        for text in ["a", "b", "c"] {
            journal.add(token(text)).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap().replacen("\"b\"", "\"x\"", 1);
        std::fs::write(&path, text).unwrap();
        assert!(Journal::open(&path).unwrap_err().to_string().contains("journal:2 is damaged"));
    }

    proptest! {
        /// A power cut leaves any beginning of the file: every whole line of it counts, and it can be written on.
        #[test]
        fn a_torn_end_loses_one_line_at_most(cut in 0usize..400) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            let mut journal = Journal::open(&path).unwrap();
            for text in ["a", "b", "c"] {
                journal.add(token(text)).unwrap();
            }
            let bytes = std::fs::read(&path).unwrap();
            let cut = cut.min(bytes.len());
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let whole = String::from_utf8_lossy(&bytes[..cut]).matches('\n').count();

            let mut torn = Journal::open(&path).unwrap();
            prop_assert_eq!(&torn.entries[..], &journal.entries[..whole]);
            torn.add(token("d")).unwrap();
            prop_assert_eq!(Journal::open(&path).unwrap().entries.len(), whole + 1);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&String::from_utf8_lossy(&bytes));
        }
    }
}
