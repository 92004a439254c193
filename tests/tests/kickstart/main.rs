//! Tests the kickstarts of all kinds of recipes with pykickstart, shellcheck and the model of
//! anaconda, and by running their scripts.

mod installer;
mod keep;
mod monitor;
mod planned;
mod post;
mod property;
mod reasons;
mod shipped_recipes;
mod strings;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        [
            shipped_recipes::trials(),
            property::trials(),
            post::trials(),
            installer::trials(),
            keep::trials(),
            monitor::trials(),
            reasons::trials(),
        ]
        .into_iter()
        .flatten()
        .collect()
    })
}
