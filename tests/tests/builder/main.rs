//! Tests the builder from the outside. The real program runs as an operator would run it, with good
//! and bad input.
//!
//! Most tests use a release made for tests (see `fake_release`), whose programs are small and never
//! run. Only one test, in `reproducible`, builds upstream's real release into an image.

mod diff;
mod disk_full;
mod fake_release;
mod firstboot;
mod fixtures;
mod mirror;
mod old_output;
mod provided_ca;
mod recipe;
mod release;
mod reproducible;
mod sarif;
mod secrets;
mod user_files;
mod verify;

use std::process::ExitCode;

use libtest_mimic::Trial;

fn main() -> ExitCode {
    tests::harness::main(trials)
}

fn trials() -> Vec<Trial> {
    let all = [
        reproducible::trials(),
        secrets::trials(),
        recipe::trials(),
        release::trials(),
        old_output::trials(),
        disk_full::trials(),
        firstboot::trials(),
        verify::trials(),
        provided_ca::trials(),
        user_files::trials(),
        diff::trials(),
        sarif::trials(),
        mirror::trials(),
    ];
    all.into_iter().flatten().collect()
}
