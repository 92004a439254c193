//! Tests the test bed itself: its hosts, networks, servers and stand-ins behave as the other tests
//! assume.

mod cluster;
mod files;
mod install;
mod kernel;
mod killed;

use std::process::ExitCode;

use libtest_mimic::Trial;

fn main() -> ExitCode {
    tests::harness::main(trials)
}

fn trials() -> Vec<Trial> {
    [
        files::trials(),
        kernel::trials(),
        install::trials(),
        cluster::trials(),
        killed::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
