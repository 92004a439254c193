//! Runs every test; see [`tests::suite`]. Reads the output of `cargo test --no-run
//! --message-format=json` from standard input.

use std::io::read_to_string;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tests::{run, suite};

fn main() -> ExitCode {
    match all() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("suite: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn all() -> Result<bool> {
    let messages = read_to_string(std::io::stdin()).context("cannot read cargo's messages")?;
    run::enter()?;
    run::share()?;
    let good = suite::run(&suite::built(&messages)?);
    run::leave();
    good
}
