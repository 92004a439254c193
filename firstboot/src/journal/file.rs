//! Reads and writes the journal. firstboot only appends to the journal, and removes only a partial
//! last line. Each line has a checksum, and firstboot flushes the line before the next action.
//! After a power cut, the journal therefore shows which actions had begun and which were complete.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use members::timestamp::now;
use recipes::Sha256;
use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::exit::refused;
use crate::files;
use crate::output::say;
use crate::reason::ReasonId;

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The time of the event in seconds since 1970, according to the node's clock.
    pub(crate) at: u64,
    #[serde(flatten)]
    pub(crate) event: Event,
}

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// The entries of the journal, oldest first.
    pub(crate) entries: Vec<Entry>,
}

/// Each line begins with this number of hexadecimal digits of the SHA-256 of its JSON. The digits
/// are enough to detect a torn line.
const CHECK: usize = 16;

fn check_of(json: &str) -> String {
    Sha256::of(json.as_bytes()).to_string()[..CHECK].to_owned()
}

/// Parses a line without its newline. A line with a correct checksum is complete. If its event is
/// unknown, the line is not torn: a newer firstboot wrote the line and acted on the event.
fn parse(line: &str) -> Line {
    let Some((check, json)) = line.split_once(' ') else {
        return Line::Torn;
    };
    if check != check_of(json) {
        return Line::Torn;
    }
    serde_json::from_str(json).map_or(Line::Damaged, Line::Entry)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Entry(Entry),
    /// The last line, if it is incomplete, for example after a power cut. firstboot has not acted
    /// on this line.
    Torn,
    /// A damaged line that is followed by other lines, or a complete line with an unknown event.
    Damaged,
}

/// Splits a journal's text into its lines, in order.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = text
        .split_inclusive('\n')
        .map(|line| line.strip_suffix('\n').map_or(Line::Torn, parse))
        .collect();
    if let Some((_last, earlier)) = lines.split_last_mut() {
        for line in earlier.iter_mut().filter(|line| **line == Line::Torn) {
            *line = Line::Damaged;
        }
    }
    lines
}

/// Returns the entries in a journal's text, and the number of bytes that they occupy. If a line is
/// damaged, fails with the number of this line.
fn read(text: &str) -> Result<(Vec<Entry>, usize), usize> {
    let mut entries = Vec::new();
    let mut good = 0;
    for (number, (line, text)) in lines(text)
        .into_iter()
        .zip(text.split_inclusive('\n'))
        .enumerate()
    {
        match line {
            Line::Entry(entry) => entries.push(entry),
            Line::Torn => break,
            Line::Damaged => return Err(number + 1),
        }
        good += text.len();
    }
    Ok((entries, good))
}

/// Removes the partial line that a failed [`Journal::add`] left at the end, for example on a full
/// disk. Without the removal, the next line would become a part of the partial line.
fn remove_partial_line(file: &mut File) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let complete = bytes.iter().rposition(|byte| *byte == b'\n');
    let complete = complete.map_or(0, |newline| newline + 1);
    if complete == bytes.len() {
        return Ok(());
    }
    file.set_len(complete as u64)
}

impl Journal {
    /// Opens the journal at a path. A missing file counts as an empty journal. Removes a torn last
    /// line, and flushes the complete lines: a firstboot that was killed may not have flushed the
    /// last complete line, and this line must be durable before other members rely on it.
    pub(crate) fn open(path: impl AsRef<Path>) -> Result<Self> {
        let (journal, good) = Self::load(path.as_ref())?;
        let Some(good) = good else { return Ok(journal) };
        let truncate_torn_tail = || -> std::io::Result<()> {
            let file = OpenOptions::new().write(true).open(&journal.path)?;
            if good < file.metadata()?.len() {
                file.set_len(good)?;
            }
            file.sync_all()?;
            journal.path.parent().map_or(Ok(()), files::sync)
        };
        truncate_torn_tail().with_context(|| format!("cannot flush {}", journal.path.display()))?;
        Ok(journal)
    }

    /// Reads the journal without changing it, because another process may be writing to it.
    pub(crate) fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        Self::load(path.as_ref()).map(|(journal, _)| journal)
    }

    /// Returns the journal, and the number of its bytes that form complete lines. The number is
    /// `None` if the file does not exist.
    fn load(path: &Path) -> Result<(Self, Option<u64>)> {
        let path = path.to_owned();
        let Some(bytes) = files::read_if_there(&path)? else {
            return Ok((
                Self {
                    path,
                    entries: Vec::new(),
                },
                None,
            ));
        };
        let (entries, good) = read(&String::from_utf8_lossy(&bytes)).map_err(|line| {
            refused(ReasonId::JournalDamaged.because(format!(
                "{}:{line} is damaged, or a newer firstboot wrote it, so firstboot cannot determine \
                 what this node has done. firstboot leaves the node's data unchanged. Install the \
                 newer image again, or reinstall the node from the image",
                path.display()
            )))
        })?;
        Ok((Self { path, entries }, Some(good as u64)))
    }

    /// Adds an event. The event is on the disk when this function returns successfully.
    pub(crate) fn add(&mut self, event: Event) -> Result<()> {
        let entry = Entry { at: now(), event };
        let json = serde_json::to_string(&entry)?;
        let line = format!("{} {json}\n", check_of(&json));
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&self.path)?;
            remove_partial_line(&mut file)?;
            file.write_all(line.as_bytes())?;
            file.sync_all()?;
            self.path.parent().map_or(Ok(()), files::sync)
        };
        write().with_context(|| format!("cannot write to {}", self.path.display()))?;
        self.entries.push(entry);
        Ok(())
    }

    /// Prints and records the step that firstboot takes next. Does nothing if the last entry
    /// records the same step.
    pub(crate) fn record_next_step(&mut self, event: Event, line: &str) -> Result<()> {
        if self
            .entries
            .last()
            .is_some_and(|entry| entry.event == event)
        {
            return Ok(());
        }
        say(line);
        self.add(event)
    }

    /// Returns the time of the newest entry in seconds since 1970, or 0 if the journal is empty.
    pub(crate) fn newest_time(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.at)
    }

    /// Returns the value that `pick` extracts from the newest matching event.
    pub(crate) fn last<'a, T>(&'a self, pick: impl Fn(&'a Event) -> Option<T>) -> Option<T> {
        self.entries
            .iter()
            .rev()
            .find_map(|entry| pick(&entry.event))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(text: &str) -> Event {
        Event::Bootstrap {
            token: text.to_owned(),
            members: Vec::new(),
        }
    }

    #[test]
    fn added_events_are_present_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.add(token("a")).unwrap();
        journal
            .add(Event::Healthy {
                cluster: u64::MAX,
                member: 1,
            })
            .unwrap();
        let again = Journal::open(&path).unwrap();
        assert_eq!(again.entries, journal.entries);
        assert_eq!(
            again.last(|event| matches!(event, Event::Healthy { .. }).then_some(())),
            Some(())
        );
    }

    #[test]
    fn damage_before_the_end_is_an_error_that_names_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        for text in ["a", "b", "c"] {
            journal.add(token(text)).unwrap();
        }
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replacen("\"b\"", "\"x\"", 1);
        std::fs::write(&path, text).unwrap();
        assert!(
            Journal::open(&path)
                .unwrap_err()
                .to_string()
                .contains("journal:2 is damaged")
        );
    }

    /// After a return to an earlier image, the last line may contain an event that the earlier
    /// firstboot does not know. The newer firstboot acted on this event, so the line must not be
    /// removed.
    #[test]
    fn a_complete_line_with_an_unknown_event_is_an_error_even_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        Journal::open(&path).unwrap().add(token("a")).unwrap();
        let json = r#"{"at":1,"event":"from-the-future"}"#;
        let known = std::fs::read_to_string(&path).unwrap();
        let text = format!("{known}{} {json}\n", check_of(json));
        std::fs::write(&path, &text).unwrap();
        let error = Journal::open(&path).unwrap_err().to_string();
        assert!(
            error.contains("journal:2 is damaged, or a newer"),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    /// A power cut can leave any prefix of the file, possibly padded with zeros to the file's
    /// length. The reader must return every complete line.
    #[test]
    fn a_torn_end_loses_at_most_one_line() {
        let line = |text: &str| {
            let json = serde_json::to_string(&Entry {
                at: 1,
                event: token(text),
            })
            .unwrap();
            format!("{} {json}\n", check_of(&json))
        };
        let text = line("a") + &line("b");
        for cut in 0..=text.len() {
            let whole = text[..cut].matches('\n').count();
            let end = text[..cut].rfind('\n').map_or(0, |at| at + 1);
            // The last tail is a line whose newline was written, but whose other bytes are zeros.
            for tail in [
                String::new(),
                "\0".repeat(text.len() - cut),
                "\0\0\n".to_owned(),
            ] {
                let (entries, good) = read(&(text[..cut].to_owned() + &tail)).unwrap();
                assert_eq!(
                    (entries.len(), good),
                    (whole, end),
                    "cut at {cut}, then {tail:?}"
                );
            }
        }
    }

    #[test]
    fn a_journal_with_a_torn_end_can_be_continued() {
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
            assert_eq!(
                Journal::open(&path).unwrap().entries,
                torn.entries,
                "{tail:?}"
            );
        }
    }

    #[test]
    fn an_event_that_could_not_be_written_does_not_damage_the_next_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        std::fs::write(&path, "").unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.add(token("a")).unwrap();
        // On a full disk, a write can end in the middle of the line.
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&bytes, &bytes[..30]].concat()).unwrap();
        for next in ["b", "c"] {
            journal.add(token(next)).unwrap();
        }
        assert_eq!(Journal::open(&path).unwrap().entries, journal.entries);
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&String::from_utf8_lossy(&bytes));
        }
    }
}
