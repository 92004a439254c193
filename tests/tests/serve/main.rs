//! `builder serve`: a machine that is switched on becomes its node, with nobody at it; and no other machine does.

mod bed;
mod hand;
mod pxe;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| [hand::trials(), pxe::trials()].into_iter().flatten().collect())
}
