//! From one recipe to a running cluster, on real hosts.

mod path;
mod refusals;
mod sources;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| path::trials().into_iter().chain(sources::trials()).chain(refusals::trials()).collect())
}
