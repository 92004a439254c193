//! Prints the results of the jobs and counts the tests.

use std::fmt::Write as _;
use std::time::Duration;

use super::job::Ended;

/// The number of slowest tests that are listed at the end.
const SHOWN_SLOWEST_TESTS: usize = 10;
/// The number of lines of a failed job's output that are repeated at the end.
const REPEATED_LINES: usize = 20;

/// The results of all jobs so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// The failed jobs, each with the beginning of its failure message or the end of its output.
    bad: Vec<(String, String)>,
    /// The reasons why tests were skipped.
    reasons: Vec<String>,
    times: Vec<(String, Duration)>,
    /// The CPU time of all jobs.
    cpu: Duration,
}

impl Report {
    /// Counts a job's tests, and prints the job's result. If the job failed, also prints its whole
    /// output. If the job passed and has several tests, also prints the times of the tests.
    pub(super) fn add(&mut self, ended: &Ended) {
        let [passed, mut failed, skipped] = counts(&ended.output);
        // A job that crashed or was killed has not printed a summary, and counts as one failed
        // test.
        if !ended.is_good && failed == 0 {
            failed = 1;
        }
        self.cpu += ended.cpu;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
        self.reasons
            .extend(ended.output.lines().filter_map(ignored));
        for (name, time) in &ended.times {
            let full = if ended.name.ends_with(name) {
                ended.name.clone()
            } else {
                format!("{}::{name}", ended.name)
            };
            self.times.push((full, *time));
        }
        let word = if ended.is_good { "ok" } else { "FAILED" };
        let [took, cpu] = [ended.took, ended.cpu].map(|time| time.as_secs_f64());
        println!(
            "{took:7.1} s  {cpu:6.1} s CPU  {word}  {} ({passed} passed, {failed} failed, {skipped} skipped)",
            ended.name
        );
        if !ended.is_good {
            println!("{}", ended.output.trim_end());
            self.bad.push((ended.name.clone(), reason(&ended.output)));
        } else if ended.times.len() > 1 {
            for (name, time) in &ended.times {
                println!("          {:7.2} s  {name}", time.as_secs_f64());
            }
        }
    }

    /// Returns whether no test failed.
    pub(super) fn is_good(&self) -> bool {
        self.failed == 0
    }

    /// Returns the end of the report: why tests were skipped, the slowest tests, and the failed
    /// jobs. The last line contains the totals.
    pub(super) fn end(&self, took: Duration) -> String {
        let mut reasons = self.reasons.clone();
        reasons.sort();
        reasons.dedup();
        let mut text = String::new();
        for reason in reasons {
            let _ = writeln!(text, "{reason}");
        }
        let mut slowest: Vec<_> = self.times.iter().collect();
        slowest.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        let _ = writeln!(text, "the slowest of {} tests:", slowest.len());
        for (name, time) in slowest.into_iter().take(SHOWN_SLOWEST_TESTS) {
            let _ = writeln!(text, "{:7.1} s  {name}", time.as_secs_f64());
        }
        for (bad, reason) in &self.bad {
            let _ = writeln!(text, "FAILED  {bad}\n{reason}");
        }
        let [took, cpu] = [took, self.cpu].map(|time| time.as_secs_f64());
        let _ = writeln!(
            text,
            "the tests took {took:.0} s, and {cpu:.0} s of CPU time"
        );
        text + &format!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Returns the reason why a test was skipped, if this line of a test program's output contains one.
/// A unit test's line is `test a::b ... ignored, REASON`.
fn ignored(line: &str) -> Option<String> {
    if line.starts_with("ignored: ") {
        return Some(line.to_owned());
    }
    let (test, reason) = line.strip_prefix("test ")?.split_once(" ... ignored, ")?;
    Some(format!("ignored: {test}: {reason}"))
}

/// Returns the beginning of a test program's message about its failed tests, or its last lines of
/// output if it crashed.
fn reason(output: &str) -> String {
    let lines: Vec<&str> = match output.split_once("\nfailures:\n") {
        Some((_, failures)) => failures
            .lines()
            .filter(|line| !line.is_empty())
            .take(REPEATED_LINES)
            .collect(),
        None => output
            .lines()
            .skip(output.lines().count().saturating_sub(REPEATED_LINES))
            .collect(),
    };
    lines
        .iter()
        .map(|line| format!("        {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns the numbers of tests that passed, failed and were ignored, from the summary line that
/// every test program prints at the end.
fn counts(output: &str) -> [usize; 3] {
    let mut counts = [0; 3];
    for line in output
        .lines()
        .filter(|line| line.starts_with("test result: "))
    {
        for (count, word) in counts.iter_mut().zip(["passed", "failed", "ignored"]) {
            let number = line
                .split([' ', ';'])
                .zip(line.split([' ', ';']).skip(1))
                .find(|(_, next)| *next == word);
            *count += number
                .and_then(|(number, _)| number.parse::<usize>().ok())
                .unwrap_or_default();
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(name: &str, is_good: bool, output: &str, seconds: u64) -> Ended {
        let took = Duration::from_secs(seconds);
        Ended {
            name: name.into(),
            is_good,
            output: output.into(),
            times: vec![(name.into(), took)],
            took,
            cpu: took / 2,
        }
    }

    #[test]
    fn the_last_line_counts_all_programs() {
        let mut report = Report::default();
        let line = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.10s\n";
        report.add(&ended(
            "one",
            true,
            &format!("ignored: a: no root\n{line}"),
            1,
        ));
        report.add(&ended("two", true, line, 2));
        let text = report.end(Duration::from_secs(3));
        assert!(report.is_good());
        assert_eq!(text.lines().last(), Some("6 passed, 0 failed, 2 skipped"));
        assert!(
            text.starts_with(
                "ignored: a: no root\nthe slowest of 2 tests:\n    2.0 s  two\n    1.0 s  one\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_reason_of_an_ignored_unit_test_is_read() {
        let line = "test a::b ... ignored, it takes a minute";
        assert_eq!(
            ignored(line).as_deref(),
            Some("ignored: a::b: it takes a minute")
        );
        assert_eq!(ignored("test a::b ... ok"), None);
    }

    #[test]
    fn a_program_that_dies_counts_as_failed() {
        let mut report = Report::default();
        report.add(&ended("dies", false, "running 1 test\n", 1));
        let text = report.end(Duration::ZERO);
        assert!(!report.is_good());
        assert!(
            text.contains("FAILED  dies\n        running 1 test\n"),
            "{text}"
        );
        assert_eq!(text.lines().last(), Some("0 passed, 1 failed, 0 skipped"));
    }

    #[test]
    fn the_reason_of_a_failure_is_repeated_at_the_end() {
        let output = "much\n\nfailures:\n\n---- a ----\nthe reason\n\nfailures:\n    a\n";
        let lines = "        ---- a ----\n        the reason\n        failures:\n            a";
        assert_eq!(reason(output), lines);
        assert_eq!(reason(&"line\n".repeat(50)).lines().count(), REPEATED_LINES);
    }
}
