//! From one recipe to a running cluster, on real hosts.

mod path;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(path::trials)
}
