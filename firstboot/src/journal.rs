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

use crate::barrier::{Lives, Nonce, Task};
use crate::exit::refused;
use crate::files::{self, Stamp};
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
        /// What they agree on.
        #[serde(default, skip_serializing_if = "Task::is_new")]
        task: Task,
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
    /// The operator told this node to begin anew with what it does not have yet; etcd stops.
    Told(Box<Told>),
    /// All agreed. This is the moment from which there is only forward.
    Exchange(Box<Exchange>),
    /// Both folders have their new names.
    Exchanged,
    /// Nothing came of it: etcd goes on with the data it had.
    GivenUp,
    /// etcd on this node answered, with a quorum behind it.
    Healthy {
        /// The cluster's id, as etcd gives it.
        cluster: u64,
        /// The member's id.
        member: u64,
    },
}

/// What an operator told a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Drawn for this one time.
    pub(crate) nonce: Nonce,
    /// What it is to begin with.
    pub(crate) task: Task,
    /// The members of the recipe that shall not be waited for.
    pub(crate) without: BTreeSet<Label>,
    /// The snapshot, where that is what it begins with.
    pub(crate) source: Option<Source>,
    /// When it is given up by itself, in seconds since 1970.
    pub(crate) until: u64,
}

/// A snapshot on this node's disk, as it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// The file.
    pub(crate) path: PathBuf,
    /// The digest of all of it.
    pub(crate) sha256: Sha256,
    /// The revision in it.
    pub(crate) revision: u64,
    /// Whether it ends with etcd's own digest.
    pub(crate) digest: bool,
    /// Which file it was then, so that another put in its place is noticed without reading all of it again.
    pub(crate) stamp: Stamp,
}

/// Other data takes the place of etcd's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// What takes the place.
    pub(crate) from: PathBuf,
    /// Where the data that was there goes, if there was any.
    pub(crate) aside: Option<PathBuf>,
    /// The token of the cluster it belongs to.
    pub(crate) token: String,
    /// Its initial members with their peer URLs.
    pub(crate) members: Vec<(String, String)>,
    /// The id of that cluster.
    pub(crate) cluster: u64,
    /// The id of this node in it, where that is known.
    pub(crate) member: Option<u64>,
    /// The revision that it goes on from.
    pub(crate) revision: u64,
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
    /// Opens the journal at a path; where there is none it is empty. A torn last line is cut off, and what is read is on
    /// the disk: whoever wrote the last line may have been killed before it was, and others will be told by it.
    pub(crate) fn open(path: impl AsRef<Path>) -> Result<Self> {
        let (journal, good) = Self::load(path.as_ref())?;
        let Some(good) = good else { return Ok(journal) };
        let settle = || -> std::io::Result<()> {
            let file = OpenOptions::new().write(true).open(&journal.path)?;
            if good < file.metadata()?.len() {
                file.set_len(good)?;
            }
            file.sync_all()?;
            journal.path.parent().map_or(Ok(()), files::sync)
        };
        settle().with_context(|| format!("cannot flush {}", journal.path.display()))?;
        Ok(journal)
    }

    /// What the journal holds, for somebody who only looks: another may be writing to it.
    pub(crate) fn look(path: impl AsRef<Path>) -> Result<Self> {
        Self::load(path.as_ref()).map(|(journal, _)| journal)
    }

    /// The journal, and how many of its bytes are whole lines; none where there is no file.
    fn load(path: &Path) -> Result<(Self, Option<u64>)> {
        let path = path.to_owned();
        let Some(bytes) = files::read_if_there(&path)? else { return Ok((Self { path, entries: Vec::new() }, None)) };
        let (entries, good) = read(&String::from_utf8_lossy(&bytes)).map_err(|line| {
            refused(format!(
                "{}:{line} is damaged, so nothing can be said of what this node did. Its data is not touched; \
                 rebuild the node from the image",
                path.display()
            ))
        })?;
        Ok((Self { path, entries }, Some(good as u64)))
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

    /// A power cut leaves any beginning of the file, and perhaps its length with zeros: every whole line counts.
    #[test]
    fn a_torn_end_loses_one_line_at_most_wherever_it_is_torn() {
        let line = |text: &str| {
            let json = serde_json::to_string(&Entry { at: 1, event: token(text) }).unwrap();
            format!("{} {json}\n", check_of(&json))
        };
        let text = line("a") + &line("b");
        for cut in 0..=text.len() {
            let whole = text[..cut].matches('\n').count();
            let end = text[..cut].rfind('\n').map_or(0, |at| at + 1);
            // The end's newline alone may have been written.
            for tail in [String::new(), "\0".repeat(text.len() - cut), "\0\0\n".to_owned()] {
                let (entries, good) = read(&(text[..cut].to_owned() + &tail)).unwrap();
                assert_eq!((entries.len(), good), (whole, end), "cut at {cut}, then {tail:?}");
            }
        }
    }

    #[test]
    fn a_journal_with_a_torn_end_is_written_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        for tail in [&b"0123"[..], &[0; 100], &[0xff, b'\n']] {
            std::fs::write(&path, "").unwrap();
            Journal::open(&path).unwrap().add(token("a")).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, [&bytes, tail].concat()).unwrap();
            let mut torn = Journal::open(&path).unwrap();
            assert_eq!(torn.entries.len(), 1, "{tail:?}");
            torn.add(token("b")).unwrap();
            assert_eq!(Journal::open(&path).unwrap().entries, torn.entries, "{tail:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&String::from_utf8_lossy(&bytes));
        }
    }
}
