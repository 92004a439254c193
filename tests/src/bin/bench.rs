//! Measures what the project promises about speed. `make bench` runs all of it.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use tests::bench::{self, boot, firstboot, verify};
use tests::run;

const USAGE: &str = "\
bench                    all of it
bench build [RUNS]       builder build with a warm cache, against tar | gzip -6 of the same tree
bench boot [RUNS]        power-on to a healthy cluster, against etcd configured by hand
bench firstboot [RUNS]   what firstboot costs a node that is set up
bench verify [RUNS]      firstboot snapshot verify, against etcdutl snapshot status";

/// Odd, so that the median is a run.
const RUNS: usize = 11;
/// Where one run takes half a minute.
const FEW: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // The measurement of one command must have no other children, and no namespace of its own.
    if let ["cost", words @ ..] = words.as_slice() {
        return print(firstboot::print_cost(words));
    }
    if let Err(error) = run::enter() {
        eprintln!("bench: {error:#}");
        return ExitCode::FAILURE;
    }
    let printed = print(act(&words));
    run::leave();
    printed
}

fn print(outcome: Result<String>) -> ExitCode {
    match outcome {
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
        [] => {
            for part in ["build", "boot", "firstboot", "verify"] {
                println!("== {part}\n{}", act(&[part])?);
            }
            Ok(String::new())
        }
        ["boot"] => boot::run(FEW),
        ["boot", runs] => boot::run(runs.parse().context("RUNS is a number")?),
        ["firstboot"] => firstboot::run(RUNS),
        ["firstboot", runs] => firstboot::run(runs.parse().context("RUNS is a number")?),
        ["verify"] => verify::run(FEW),
        ["verify", runs] => verify::run(runs.parse().context("RUNS is a number")?),
        ["build"] => bench::build::run(RUNS),
        ["build", runs] => bench::build::run(runs.parse().context("RUNS is a number")?),
        _ => bail!("what is to be measured? The ways to call it:\n{USAGE}"),
    }
}
