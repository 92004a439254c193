//! Runs every test of the workspace. Most end-to-end tests run in separate processes (see `job`),
//! and several processes run at the same time.
//!
//! An end-to-end test spends most of its time waiting, so more tests run at the same time than the
//! machine has cores. The tests that take the longest start first. `tests/run.sh` builds the test
//! programs, and passes cargo's messages about these programs to the suite.

mod inotify;
mod job;
mod programs;
mod report;

use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::run;

pub use programs::{Program, built};

use report::Report;

/// The environment variable that sets the number of lanes. Each lane runs one job at a time.
const LANES: &str = "LANES";

/// Runs all tests of these programs, and prints the results. Returns whether no test failed.
pub fn run(programs: &[Program]) -> Result<bool> {
    let jobs = job::list(programs, &run::current()?.folder("logs")?)?;
    ensure!(!jobs.is_empty(), "there are no tests");
    let (lanes, started) = (lanes()?, Instant::now());
    println!("{} jobs in {lanes} lanes", jobs.len());
    // The last job in the list runs first.
    let (queue, report) = (Mutex::new(jobs), Mutex::new(Report::default()));
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop());
    thread::scope(|scope| {
        let work = || -> Result<()> {
            while let Some(job) = next() {
                let ended = job
                    .run()
                    .with_context(|| format!("cannot run {}", job.name()))?;
                let mut report = report
                    .lock()
                    .map_err(|_| anyhow!("another lane panicked"))?;
                report.add(&ended);
            }
            Ok(())
        };
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(work)).collect();
        lanes
            .into_iter()
            .try_for_each(|lane| lane.join().map_err(|_| anyhow!("a lane panicked"))?)
    })?;
    let report = report
        .into_inner()
        .map_err(|_| anyhow!("a lane panicked"))?;
    println!("{}", report.end(started.elapsed()));
    Ok(report.is_good())
}

/// Returns the number of lanes from `LANES`. By default, returns one more than three lanes for each
/// of the machine's cores, because the tests wait for a large part of their time. If the kernel's
/// inotify limit is too low for these lanes, returns two lanes for each core.
fn lanes() -> Result<usize> {
    match std::env::var(LANES) {
        Ok(lanes) if !lanes.is_empty() => lanes
            .parse()
            .ok()
            .filter(|lanes| *lanes > 0)
            .with_context(|| format!("{LANES}={lanes} is not a number")),
        _ => {
            let cores = thread::available_parallelism().map_or(2, usize::from);
            Ok(if inotify::raise_limit() {
                3 * cores + 1
            } else {
                2 * cores
            })
        }
    }
}
