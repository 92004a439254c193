//! From one recipe to a running cluster, on real hosts.

mod foreign;
mod older;
mod path;
mod refusals;
mod sources;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        let subjects = [path::trials(), sources::trials(), refusals::trials(), older::trials(), foreign::trials()];
        subjects.into_iter().flatten().collect()
    })
}
