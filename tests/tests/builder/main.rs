//! The builder from outside: the real program, run as an operator runs it, with good and with bad
//! input.
//!
//! Most tests give it a release made for tests (see `stand_in`): its programs are small and never
//! run. What upstream ships is built once, in `same`.

mod diff;
mod disk_full;
mod fake_release;
mod firstboot;
mod fixtures;
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
    ];
    all.into_iter().flatten().collect()
}
