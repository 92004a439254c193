//! Shows the progress of a program that takes minutes. On a terminal, each line of the program
//! replaces the previous line. Without a terminal, a line is printed at most every ten seconds.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::process::{Output, describe};

/// The minimum time between two lines if there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The maximum length of a line on a terminal. A longer line would wrap and could not be
/// overwritten.
const COLUMNS: usize = 78;

/// Runs a program to its end, and shows the lines of its two outputs on standard error. Returns
/// both outputs together as the standard output, for any exit code.
pub fn run(what: &str, command: &mut Command) -> Result<Output> {
    let line = describe(command);
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let both = writer.try_clone().context("cannot duplicate the pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(both)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    // Close the write ends of the pipe that `command` still contains, because the reader does not
    // reach the end of the output while a write end is open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut shown = Shown::new(what, std::io::stderr().is_terminal());
    let mut printed = String::new();
    for bytes in BufReader::new(reader).split(b'\n') {
        let bytes = bytes.with_context(|| format!("cannot read what `{line}` prints"))?;
        let text = String::from_utf8_lossy(&bytes);
        printed.push_str(&text);
        printed.push('\n');
        shown.write(shown.began.elapsed(), &text);
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{line}`"))?;
    shown.end();
    Ok(Output {
        command: line,
        status,
        stdout: printed,
        stderr: String::new(),
    })
}

/// The state of the display.
struct Shown<'a> {
    what: &'a str,
    terminal: bool,
    began: Instant,
    last: Option<Duration>,
}

impl<'a> Shown<'a> {
    fn new(what: &'a str, terminal: bool) -> Self {
        Self {
            what,
            terminal,
            began: Instant::now(),
            last: None,
        }
    }

    fn write(&mut self, now: Duration, line: &str) {
        if let Some(text) = self.show(now, line) {
            let mut stderr = std::io::stderr();
            let _ = stderr
                .write_all(text.as_bytes())
                .and_then(|()| stderr.flush());
        }
    }

    /// Returns the text to print for a line of the program's output, if any.
    fn show(&mut self, now: Duration, line: &str) -> Option<String> {
        let line = line.trim().trim_start_matches("I: ");
        if line.is_empty() {
            return None;
        }
        let text = format!("{}: {:>3} s  {line}", self.what, now.as_secs());
        let text: String = text
            .chars()
            .filter(|char| !char.is_control())
            .take(COLUMNS)
            .collect();
        if self.terminal {
            return Some(format!("\r\x1b[2K{text}"));
        }
        if self.last.is_some_and(|last| now < last + LINE_INTERVAL) {
            return None;
        }
        self.last = Some(now);
        Some(format!("{text}\n"))
    }

    fn end(&self) {
        if self.terminal {
            eprint!("\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBOOTSTRAP: [(u64, &str); 6] = [
        (0, "I: Retrieving InRelease"),
        (1, "I: Retrieving libacl1 2.3.1-3"),
        (9, "I: Retrieving zlib1g 1:1.2.13"),
        (11, "I: Validating zlib1g 1:1.2.13"),
        (12, "I: Extracting tar..."),
        (30, "I: Configuring systemd..."),
    ];

    fn shown(terminal: bool) -> Vec<String> {
        let mut shown = Shown::new("base system", terminal);
        DEBOOTSTRAP
            .iter()
            .filter_map(|(second, line)| shown.show(Duration::from_secs(*second), line))
            .collect()
    }

    #[test]
    fn a_terminal_shows_each_line_in_place_of_the_previous_line() {
        let shown = shown(true);
        assert_eq!(shown.len(), DEBOOTSTRAP.len());
        assert_eq!(
            shown[1],
            "\r\x1b[2Kbase system:   1 s  Retrieving libacl1 2.3.1-3"
        );
    }

    #[test]
    fn a_log_gets_a_line_every_ten_seconds() {
        assert_eq!(
            shown(false),
            [
                "base system:   0 s  Retrieving InRelease\n",
                "base system:  11 s  Validating zlib1g 1:1.2.13\n",
                "base system:  30 s  Configuring systemd...\n",
            ]
        );
    }

    #[test]
    fn a_long_line_is_truncated_and_control_characters_are_omitted() {
        let mut shown = Shown::new("x", true);
        let text = shown
            .show(Duration::ZERO, &format!("a\x1b[31m{}", "b".repeat(200)))
            .unwrap_or_default();
        assert!(
            !text[5..].contains('\x1b') && text.chars().count() == COLUMNS + "\r\x1b[2K".len(),
            "{text:?}"
        );
        assert_eq!(shown.show(Duration::ZERO, "  "), None);
    }

    #[test]
    fn both_outputs_and_the_status_are_returned() -> Result<()> {
        let ran = run(
            "x",
            Command::new("sh").args(["-c", "echo out; echo error >&2; exit 3"]),
        )?;
        assert_eq!((ran.stdout.as_str(), ran.code()), ("out\nerror\n", 3));
        Ok(())
    }
}
