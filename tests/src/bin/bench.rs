//! Measures what the project promises about speed. `make bench` runs all of it.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use tests::bench;

const USAGE: &str = "bench build [RUNS]   builder build with a warm cache, against tar | gzip -6 of the same tree";

/// Odd, so that the median is a run.
const RUNS: usize = 11;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match act(&words) {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(words: &[&str]) -> Result<String> {
    match words {
        ["build"] => bench::build::run(RUNS),
        ["build", runs] => bench::build::run(runs.parse().context("RUNS is a number")?),
        _ => bail!("what is to be measured? The ways to call it:\n{USAGE}"),
    }
}
