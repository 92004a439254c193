//! Shows the user the progress of a long step.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The receiver of a long step's reports. All reports are printed on standard error, because
/// standard output is for results.
pub(crate) trait Progress: Sync {
    /// Prints one line of text, such as a note or a retry.
    fn say(&self, line: &str);
    /// Begins the report of a transfer of `total` bytes, of which `from` bytes already exist.
    fn begin(&self, what: &str, from: u64, total: Option<u64>);
    /// Reports the number of bytes that have arrived so far.
    fn at(&self, bytes: u64);
    /// Ends the report of the transfer, whether or not the transfer succeeded.
    fn end(&self);
}

/// Returns a progress bar if standard error is a terminal, and otherwise a receiver that prints a
/// line every few seconds.
pub(crate) fn for_stderr() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Box::new(Bar::default())
    } else {
        Box::new(Lines::default())
    }
}

/// A progress bar that redraws itself.
#[derive(Debug, Default)]
pub(crate) struct Bar {
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    fn with(&self, act: impl FnOnce(&ProgressBar)) -> bool {
        let bar = self.bar.lock().ok();
        let bar = bar.as_ref().and_then(|bar| bar.as_ref());
        bar.map(act).is_some()
    }
}

impl Progress for Bar {
    fn say(&self, line: &str) {
        if !self.with(|bar| bar.println(line)) {
            print(line);
        }
    }

    fn begin(&self, what: &str, from: u64, total: Option<u64>) {
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let format = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(format) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        // The speed and the remaining time refer to this run only, not to the bytes that already
        // existed.
        bar.set_position(from);
        bar.reset_eta();
        if let Ok(mut place) = self.bar.lock() {
            *place = Some(bar);
        }
    }

    fn at(&self, bytes: u64) {
        self.with(|bar| bar.set_position(bytes));
    }

    fn end(&self) {
        self.with(ProgressBar::finish_and_clear);
        if let Ok(mut place) = self.bar.lock() {
            *place = None;
        }
    }
}

/// Prints the progress of a transfer as lines of text, at most one every few seconds.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    now: Mutex<Option<Transfer>>,
}

#[derive(Debug)]
struct Transfer {
    what: String,
    total: Option<u64>,
    said: Instant,
}

/// The minimum interval between two progress lines: short enough to show progress, and long enough
/// for a log.
const EVERY: Duration = Duration::from_secs(5);

impl Progress for Lines {
    fn say(&self, line: &str) {
        print(line);
    }

    fn begin(&self, what: &str, from: u64, total: Option<u64>) {
        let resumed = if from > 0 {
            format!(", resumed at {}", mib(from))
        } else {
            String::new()
        };
        print(&format!(
            "{what}: {}{resumed}",
            total.map_or_else(|| "unknown size".to_owned(), mib)
        ));
        if let Ok(mut now) = self.now.lock() {
            *now = Some(Transfer {
                what: what.to_owned(),
                total,
                said: Instant::now(),
            });
        }
    }

    fn at(&self, bytes: u64) {
        let Ok(mut now) = self.now.lock() else { return };
        let Some(transfer) = now
            .as_mut()
            .filter(|transfer| transfer.said.elapsed() >= EVERY)
        else {
            return;
        };
        transfer.said = Instant::now();
        print(&line(&transfer.what, bytes, transfer.total));
    }

    fn end(&self) {
        if let Ok(mut now) = self.now.lock() {
            *now = None;
        }
    }
}

/// Prints a line. An error is ignored, because a closed standard error must not stop a build.
fn print(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn line(what: &str, bytes: u64, total: Option<u64>) -> String {
    match total.filter(|total| *total > 0) {
        Some(total) => {
            let percent = bytes.saturating_mul(100) / total;
            format!("{what}: {} of {} ({percent} %)", mib(bytes), mib(total))
        }
        None => format!("{what}: {}", mib(bytes)),
    }
}

/// Formats bytes as MiB with one decimal place, computed in integers.
fn mib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_progress() {
        assert_eq!(
            line("etcd", 5 << 20, Some(20 << 20)),
            "etcd: 5.0 MiB of 20.0 MiB (25 %)"
        );
        assert_eq!(line("etcd", (3 << 20) / 2, None), "etcd: 1.5 MiB");
        assert_eq!(line("etcd", 0, Some(0)), "etcd: 0.0 MiB");
    }
}
