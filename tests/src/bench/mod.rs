//! The measurements of `make bench`, one file for each. Most measurements compare the medians of
//! two programs or setups. These measurements run both alternately (A B A B), so that other load on
//! the machine affects both. The benchmark does not assert any figures, and only prints a table for
//! a person to evaluate.

pub mod boot;
pub mod build;
pub mod cloud_init;
pub mod database;
pub mod dirty;
pub mod documents;
pub mod enrol;
pub mod firstboot;
pub mod identity;
mod machines;
pub mod rebuild;
pub mod restore;
pub mod serve;
mod server;
pub mod snapshot;
pub mod update;
pub mod upload;
pub mod verify;
pub mod wal;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Runs the work and returns its duration.
pub fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

/// Returns the median. For an even number of values, returns the lower of the two middle values, so
/// that the result is a measured value.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times
        .get(times.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or_default()
}

/// Formats the median, the fastest and the slowest of the times.
pub fn spread(times: &[Duration]) -> String {
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let end = |time: Option<&Duration>| ms(time.copied().unwrap_or_default());
    format!(
        "{} (fastest {}, slowest {})",
        ms(median(times.to_vec())),
        end(times.iter().min()),
        end(times.iter().max())
    )
}

/// The measurements of one program or setup.
#[derive(Debug, Clone)]
pub struct Row {
    /// The name of the program or setup.
    pub name: String,
    /// The duration of each run.
    pub times: Vec<Duration>,
    /// The number of bytes that a run reads or produces, if this number is measured.
    pub bytes: Option<u64>,
}

/// Formats the rows as a table with each row's ratio to the last row, which is the baseline.
pub fn table(rows: &[Row]) -> String {
    let seconds = |time: Duration| format!("{:.3} s", time.as_secs_f64());
    let width = rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or_default();
    let mut out = format!(
        "{:width$}  {:>9}  {:>9}  {:>9}  {:>6}",
        "", "median", "fastest", "slowest", "ratio"
    );
    // Writing into a string cannot fail.
    let Some(yardstick) = rows.last() else {
        return out;
    };
    if yardstick.bytes.is_some() {
        let _ = write!(out, "  {:>11}  {:>6}", "bytes", "ratio");
    }
    let base = median(yardstick.times.clone()).as_secs_f64();
    for row in rows {
        let middle = median(row.times.clone());
        let (fastest, slowest) = (row.times.iter().min(), row.times.iter().max());
        let _ = write!(
            out,
            "\n{:width$}  {:>9}  {:>9}  {:>9}  {:>6.3}",
            row.name,
            seconds(middle),
            seconds(fastest.copied().unwrap_or_default()),
            seconds(slowest.copied().unwrap_or_default()),
            middle.as_secs_f64() / base,
        );
        if let (Some(bytes), Some(base)) = (row.bytes, yardstick.bytes) {
            #[expect(
                clippy::cast_precision_loss,
                reason = "sizes of files, shown with three digits"
            )]
            let size = bytes as f64 / base as f64;
            let _ = write!(out, "  {bytes:>11}  {size:>6.3}");
        }
    }
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_times() {
        let seconds = |list: &[u64]| {
            list.iter()
                .map(|s| Duration::from_secs(*s))
                .collect::<Vec<_>>()
        };
        assert_eq!(median(seconds(&[9, 1, 5])), Duration::from_secs(5));
        assert_eq!(median(seconds(&[9, 1, 5, 7])), Duration::from_secs(5));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }

    #[test]
    fn a_table_compares_with_its_last_row() {
        let row = |name: &str, ms, bytes| Row {
            name: name.into(),
            times: vec![Duration::from_millis(ms)],
            bytes,
        };
        let words = |rows: &[Row]| {
            let line = table(rows).lines().nth(1).unwrap_or_default().to_owned();
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let times = ["builder", "0.300", "s", "0.300", "s", "0.300", "s", "0.100"];
        let with = words(&[row("builder", 300, Some(90)), row("tar", 3000, Some(100))]);
        assert_eq!(with, [&times[..], &["90", "0.900"]].concat());
        assert_eq!(
            words(&[row("builder", 300, None), row("tar", 3000, None)]),
            times
        );
    }
}
