//! The harness of the end-to-end tests: what a machine lacks makes a test ignored, never passed.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::need::{self, Need};
use crate::{kernel, run};

/// How much of a console a failure shows.
const CONSOLE_TAIL: usize = 60;

/// A test with its needs. Where one is missing the test is listed as ignored and the reason is printed.
pub fn trial(name: &str, needs: &[Need], test: fn() -> Result<()>) -> Trial {
    let reason = need::missing(needs);
    if let Some(reason) = &reason {
        eprintln!("ignored: {name}: {reason}");
    }
    let ignored = reason.is_some();
    let own = name.to_owned();
    Trial::test(name, move || {
        // `--ignored` runs them all the same; then the reason is why it fails.
        if let Some(reason) = &reason {
            return Err(Failed::from(reason.clone()));
        }
        let consoles = Consoles { test: own, since: SystemTime::now() };
        test().map_err(|error| Failed::from(causes(&error)))?;
        std::mem::forget(consoles);
        Ok(())
    })
    .with_ignored_flag(ignored)
}

/// The `main` of an end-to-end test: enters the run, runs the trials one after another, clears up.
///
/// `trials` is a function since what it finds out must be found out inside the run.
pub fn main(trials: fn() -> Vec<Trial>) -> ExitCode {
    if let Some(code) = kernel::launch() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // Hosts and builds share two cores with etcd's timeouts: side by side they would only disturb each other.
    arguments.test_threads.get_or_insert(1);
    if arguments.list {
        return libtest_mimic::run(&arguments, trials()).exit_code();
    }
    if let Err(error) = run::enter() {
        eprintln!("bed: {}", causes(&error));
        return ExitCode::FAILURE;
    }
    let conclusion = libtest_mimic::run(&arguments, trials());
    run::leave();
    conclusion.exit_code()
}

/// The error and its causes, a line each. The `Debug` form would add a backtrace of the harness wherever
/// `RUST_BACKTRACE` is set, and bury the cause under it.
fn causes(error: &anyhow::Error) -> String {
    let lines: Vec<String> = error.chain().map(ToString::to_string).collect();
    lines.join("\n  because: ")
}

/// Shows what hosts wrote to their consoles since a time, on drop: so also when the test panics.
struct Consoles {
    test: String,
    since: SystemTime,
}

impl Drop for Consoles {
    fn drop(&mut self) {
        let Ok(run) = run::current() else { return };
        let Ok(files) = fs::read_dir(run.consoles()) else {
            return;
        };
        let is_new = |time: SystemTime| time >= self.since;
        let mut written: Vec<PathBuf> = files
            .flatten()
            .filter(|file| file.metadata().and_then(|data| data.modified()).is_ok_and(is_new))
            .map(|file| file.path())
            .collect();
        written.sort();
        for path in written {
            let text = fs::read(&path).unwrap_or_default();
            let end = tail(&String::from_utf8_lossy(&text), CONSOLE_TAIL);
            eprintln!("--- {}: {}\n{end}", self.test, path.display());
        }
    }
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
