//! The builder from outside: the real program, run as an operator runs it, with good and with bad input.
//!
//! Most tests give it a release made for tests (see `stand_in`): its programs are small and never run. What upstream
//! ships is built once, in `same`.

mod checked;
mod diff;
mod firstboot;
mod full;
mod given;
mod kept;
mod recipe;
mod release;
mod same;
mod sarif;
mod secret;
mod stand_in;
mod verify;
mod workshop;

use std::process::ExitCode;

use libtest_mimic::Trial;

fn main() -> ExitCode {
    tests::harness::main(trials)
}

fn trials() -> Vec<Trial> {
    let all = [
        same::trials(),
        secret::trials(),
        recipe::trials(),
        release::trials(),
        kept::trials(),
        full::trials(),
        firstboot::trials(),
        verify::trials(),
        given::trials(),
        checked::trials(),
        diff::trials(),
        sarif::trials(),
    ];
    all.into_iter().flatten().collect()
}
