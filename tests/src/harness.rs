//! The harness of the end-to-end tests. If the machine does not meet the requirements of a test,
//! the test is ignored and never counts as passed.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::requirement::{self, Requirement};
use crate::{kernel, run};

/// The environment variable that names the file to which each test appends a line with its
/// duration.
pub const TIMES: &str = "ETCD_IMAGE_TIMES";

/// The environment variable that adds the long tests. `make test-all` sets this variable.
const ALL: &str = "ETCD_IMAGE_ALL";

/// The kind of a trial that runs only on request.
const LONG: &str = "long";

/// The number of console lines that are shown after a failure.
const CONSOLE_TAIL_LINES: usize = 60;

/// Makes a test with its requirements. If a requirement is not met, lists the test as ignored and
/// prints the reason.
pub fn trial(name: &str, requirements: &[Requirement], test: fn() -> Result<()>) -> Trial {
    // Check the requirements of selected tests only, because the check takes a while.
    let reason = if is_selected(name) {
        requirement::missing(requirements)
    } else {
        None
    };
    if let Some(reason) = &reason {
        eprintln!("ignored: {name}: {reason}");
    }
    let ignored = reason.is_some();
    let own = name.to_owned();
    Trial::test(name, move || {
        // With `--ignored`, a test whose requirements are not met is also started, and fails with
        // the reason.
        if let Some(reason) = &reason {
            return Err(Failed::from(reason.clone()));
        }
        let consoles = Consoles {
            test: own.clone(),
            since: SystemTime::now(),
        };
        let timer = Timer {
            test: own,
            start: Instant::now(),
        };
        test().map_err(|error| Failed::from(causes(&error)))?;
        drop(timer);
        std::mem::forget(consoles);
        Ok(())
    })
    .with_ignored_flag(ignored)
}

/// A function that makes a test: [`trial`] or [`long`].
pub type Kind = fn(&str, &[Requirement], fn() -> Result<()>) -> Trial;

/// Makes a long test, which extends another test to a different version or to a larger sample.
/// `make test-all` runs the long tests. A filter that matches a part of a long test's name also
/// selects the test.
pub fn long(name: &str, requirements: &[Requirement], test: fn() -> Result<()>) -> Trial {
    trial(name, requirements, test).with_kind(LONG)
}

/// Returns whether this run includes the long tests.
pub fn is_all() -> bool {
    std::env::var_os(ALL).is_some_and(|value| !value.is_empty())
}

/// Returns whether the arguments select the test with this name. If the tests are only listed, no
/// test is selected.
fn is_selected(name: &str) -> bool {
    let arguments = Arguments::from_args();
    let is_wanted = arguments.filter.is_none_or(|filter| {
        if arguments.exact {
            filter == name
        } else {
            name.contains(&filter)
        }
    });
    !arguments.list && is_wanted
}

/// Records a test's duration on drop, and therefore also when the test fails.
struct Timer {
    test: String,
    start: Instant,
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(path) = std::env::var_os(TIMES) else {
            return;
        };
        let file = File::options().create(true).append(true).open(&path);
        let line = format!("{} {}\n", self.start.elapsed().as_millis(), self.test);
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("bed: cannot write {}: {error}", path.display());
        }
    }
}

/// Reads a line of the file that [`TIMES`] names, and returns the test and its duration.
pub(crate) fn time(line: &str) -> Result<(String, Duration)> {
    let (time, test) = line
        .split_once(' ')
        .with_context(|| format!("the line does not consist of a time and a test: {line}"))?;
    let time = time
        .parse()
        .with_context(|| format!("{time} is not a number of milliseconds"))?;
    Ok((test.to_owned(), Duration::from_millis(time)))
}

/// The `main` function of an end-to-end test program: sets up the run (see [`crate::run`]), runs
/// the trials one after another, and cleans up.
///
/// `trials` is a function because the requirements must be checked after the run has been set up.
pub fn main(trials: fn() -> Vec<Trial>) -> ExitCode {
    if let Some(code) = kernel::launch() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    let all = is_all() || arguments.filter.is_some();
    let trials = || {
        trials()
            .into_iter()
            .filter(|trial| all || trial.kind() != LONG)
            .collect()
    };
    // Run one test at a time in this process, because parallel tests could make etcd exceed its
    // timeouts. `make test` runs tests in parallel by starting several processes.
    arguments.test_threads.get_or_insert(1);
    if arguments.list {
        return libtest_mimic::run(&arguments, trials()).exit_code();
    }
    if let Err(error) = run::enter().and_then(|_| run::share()) {
        eprintln!("bed: {}", causes(&error));
        return ExitCode::FAILURE;
    }
    let conclusion = libtest_mimic::run(&arguments, trials());
    run::leave();
    conclusion.exit_code()
}

/// Formats the error and its causes, one per line. The `Debug` form would add a backtrace of the
/// harness whenever `RUST_BACKTRACE` is set. This backtrace would hide the cause.
fn causes(error: &anyhow::Error) -> String {
    let lines: Vec<String> = error.chain().map(ToString::to_string).collect();
    lines.join("\n  because: ")
}

/// On drop, prints the last lines of each console to which a host has written since a given time.
/// Only a test that fails or panics drops this value.
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
            .filter(|file| {
                file.metadata()
                    .and_then(|data| data.modified())
                    .is_ok_and(is_new)
            })
            .map(|file| file.path())
            .collect();
        written.sort();
        for path in written {
            let text = fs::read(&path).unwrap_or_default();
            let end = tail(&String::from_utf8_lossy(&text), CONSOLE_TAIL_LINES);
            eprintln!("--- {}: {}\n{end}", self.test, path.display());
        }
    }
}

/// Returns the last lines of a string.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
