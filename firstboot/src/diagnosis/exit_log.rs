//! Searches etcd's last log lines for the reason why etcd exited. The search performs no I/O.
//!
//! etcd logs one JSON object per line (zap), and the last line usually has the level `fatal` or
//! `panic`. Go's runtime writes `panic: …` or `fatal error: …`, followed by the stacks of the
//! goroutines. If a setting is wrong, etcd logs only a warning before it exits
//! (server/etcdmain/etcd.go).

use serde::Deserialize;
use serde_json::Value;

/// The maximum length of a log line in a status. Longer lines are shortened. etcd's longest lines
/// contain a stack trace of a kilobyte.
const LONGEST: usize = 300;

/// The number of older entries that firstboot still examines after it has found an informative
/// line. The same process may have written a more informative line earlier.
const CONTEXT: usize = 50;

/// An entry of the systemd journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The time in microseconds since 1970.
    pub(super) at: u64,
    /// The id of the process that wrote the entry.
    pub(super) pid: u32,
    pub(super) message: String,
}

/// The most informative of etcd's last lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExitLog {
    /// The time in microseconds since 1970.
    pub(super) at: u64,
    pub(super) pid: u32,
    /// Whether the line reports the exit of etcd. Otherwise, the line is a warning or error that
    /// may explain the exit.
    pub(super) ends: bool,
    /// The text as one line without control characters.
    pub(super) text: String,
}

/// How well a log line explains the exit, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// A warning or error with a reason that may explain the exit.
    Hint,
    /// Go's runtime reports that the program exits, but does not report etcd's reason.
    Runtime,
    /// etcd, or the guard that runs before etcd, reports why etcd does not run.
    End,
}

impl Entry {
    /// Parses an entry as `journalctl --output=json` prints it. Returns `None` if the line is not
    /// such an entry, or if the entry contains no text.
    pub(super) fn parse(line: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(rename = "__REALTIME_TIMESTAMP")]
            at: String,
            #[serde(rename = "_PID")]
            pid: String,
            #[serde(rename = "MESSAGE")]
            message: Value,
        }
        let raw: Raw = serde_json::from_str(line).ok()?;
        let message = match raw.message {
            Value::String(text) => text,
            // journalctl prints text that is not UTF-8 as an array of bytes.
            Value::Array(bytes) => {
                let bytes: Option<Vec<u8>> = bytes
                    .iter()
                    .map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()))
                    .collect();
                String::from_utf8_lossy(&bytes?).into_owned()
            }
            _ => return None,
        };
        Some(Self {
            at: raw.at.parse().ok()?,
            pid: raw.pid.parse().ok()?,
            message,
        })
    }
}

/// A search through the entries of etcd's unit, newest first, for the reason why etcd exited.
#[derive(Debug, Default)]
pub(super) struct Search {
    best: Option<(Weight, ExitLog)>,
    /// The number of entries that were examined since `best` was found.
    since: usize,
}

impl Search {
    /// Examines an entry. Returns whether an older entry may be more informative.
    pub(super) fn take(&mut self, entry: &Entry) -> bool {
        self.since += usize::from(self.best.is_some());
        let before = self.best.as_ref().map(|(weight, _)| *weight);
        if let Some((weight, text)) = classify_message(&entry.message)
            && self
                .best
                .as_ref()
                .is_none_or(|(_, words)| words.pid == entry.pid)
            && before.is_none_or(|before| before < weight)
        {
            let words = ExitLog {
                at: entry.at,
                pid: entry.pid,
                ends: weight > Weight::Hint,
                text,
            };
            (self.best, self.since) = (Some((weight, words)), 0);
        }
        self.since < CONTEXT
            && self
                .best
                .as_ref()
                .is_none_or(|(weight, _)| *weight != Weight::End)
    }

    /// Returns the most informative line that was found.
    pub(super) fn found(self) -> Option<ExitLog> {
        self.best.map(|(_, words)| words)
    }
}

fn classify_message(message: &str) -> Option<(Weight, String)> {
    if message.starts_with("panic: ")
        || message.starts_with("fatal error: ")
        || message.starts_with("runtime: out of")
    {
        return Some((Weight::Runtime, plain(message)));
    }
    if let Some(said) = message.strip_prefix("firstboot: ") {
        return Some((Weight::End, plain(said)));
    }
    let line: Value = serde_json::from_str(message).ok()?;
    let text = |key: &str| line.get(key).and_then(Value::as_str);
    let said = text("msg")?;
    match (text("level")?, text("error")) {
        ("fatal" | "panic" | "dpanic", Some(error)) => {
            Some((Weight::End, plain(&format!("{said}: {error}"))))
        }
        ("fatal" | "panic" | "dpanic", None) => Some((Weight::End, plain(said))),
        ("error" | "warn", Some(error)) => Some((Weight::Hint, plain(&format!("{said}: {error}")))),
        _ => None,
    }
}

/// Shortens a line, and escapes its control characters. Text that a client or another program wrote
/// into etcd's log must not control the operator's terminal.
fn plain(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars().take(LONGEST) {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    if text.chars().count() > LONGEST {
        line + "…"
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(at: u64, pid: u32, message: &str) -> Entry {
        Entry {
            at,
            pid,
            message: message.to_owned(),
        }
    }

    fn words(newest_first: &[(u32, &str)]) -> Option<String> {
        let mut search = Search::default();
        let _ = newest_first
            .iter()
            .all(|(pid, message)| search.take(&entry(5, *pid, message)));
        search.found().map(|words| words.text)
    }

    const INFO: &str = r#"{"level":"info","ts":"2026-11-28T07:44:28.849Z","caller":"embed/etcd.go:369","msg":"closed"}"#;

    #[test]
    fn a_fatal_line_is_reported_with_its_error() {
        let fatal = r#"{"level":"fatal","caller":"etcdmain/etcd.go:203","msg":"discovery failed","error":"walpb: crc mismatch","stacktrace":"x\n\ty"}"#;
        assert_eq!(
            words(&[(7, INFO), (7, fatal), (7, INFO)]).unwrap(),
            "discovery failed: walpb: crc mismatch"
        );
    }

    /// The test reads the log of an etcd 3.5.1 whose database had been emptied. etcd logs its
    /// reason on the line before the line from Go's runtime.
    #[test]
    fn etcds_reason_is_preferred_to_that_of_the_go_runtime() {
        let panic = r#"{"level":"panic","msg":"failed to recover v3 backend from snapshot","error":"failed to find database snapshot file (snap: snapshot file doesn't exist)"}"#;
        let newest_first = [
            (7, "\t/server/main.go:32 +0x45"),
            (7, "goroutine 1 [running]:"),
            (7, "panic: failed to recover"),
            (7, panic),
        ];
        assert!(
            words(&newest_first)
                .unwrap()
                .ends_with("(snap: snapshot file doesn't exist)")
        );
        let alone = [
            (7, "goroutine 1 [running]:"),
            (7, "panic: cannot use none as id"),
            (6, panic),
        ];
        assert_eq!(
            words(&alone).unwrap(),
            "panic: cannot use none as id",
            "the reason why a different process ended must not be reported"
        );
    }

    #[test]
    fn a_warning_is_reported_if_no_line_is_more_informative() {
        let warn = r#"{"level":"warn","msg":"failed to verify flags","error":"--election-timeout[1000ms] should be at least as 5 times"}"#;
        assert!(
            words(&[(7, warn), (7, INFO)])
                .unwrap()
                .starts_with("failed to verify flags: --election")
        );
        assert_eq!(
            words(&[
                (7, INFO),
                (1, "Started etcd."),
                (7, r#"{"level":"warn","msg":"slow"}"#)
            ]),
            None
        );
        assert_eq!(words(&[]), None);
    }

    #[test]
    fn the_guards_refusal_is_reported() {
        assert_eq!(
            words(&[(7, "firstboot: etcd must not start")]).unwrap(),
            "etcd must not start"
        );
    }

    #[test]
    fn a_line_is_shortened_and_cannot_control_the_terminal() {
        let long = format!("panic: \u{1b}[2J{}", "ä".repeat(1000));
        let text = words(&[(7, &long)]).unwrap();
        assert!(
            text.starts_with("panic: \\u{1b}[2J") && text.ends_with("ä…"),
            "{text}"
        );
        assert!(text.chars().count() < 320);
    }

    #[test]
    fn entries_of_journalctl_are_parsed() {
        let line = r#"{ "__CURSOR" : "s=1", "__REALTIME_TIMESTAMP" : "1795341365000000", "_PID" : "42", "MESSAGE" : "panic: x" }"#;
        assert_eq!(
            Entry::parse(line),
            Some(entry(1_795_341_365_000_000, 42, "panic: x"))
        );
        let bytes = r#"{"__REALTIME_TIMESTAMP":"5","_PID":"42","MESSAGE":[112,255]}"#;
        assert_eq!(Entry::parse(bytes).unwrap().message, "p\u{fffd}");
        for line in [
            "",
            "-- Reboot --",
            r#"{"__REALTIME_TIMESTAMP":"5","_PID":"42","MESSAGE":null}"#,
        ] {
            assert_eq!(Entry::parse(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn every_entry_yields_a_short_line_without_control_characters(
            message in prop_oneof![
                "(panic: |fatal error: |firstboot: )(?s:.){0,400}",
                "\\{\"level\":\"(fatal|warn)\",\"msg\":\"[^\"\\\\]{0,400}\"(,\"error\":\"(\\\\u001b|x){0,20}\")?\\}",
            ],
            line in "[]{}\\[\",:0-9A-Z_a-z]{0,80}",
        ) {
            if let Some(text) = words(&[(7, &message)]) {
                prop_assert!(text.chars().all(|character| !character.is_control()), "{text:?}");
                prop_assert!(text.chars().count() <= 10 * LONGEST + 1);
            }
            let _ = Entry::parse(&line);
        }
    }
}
