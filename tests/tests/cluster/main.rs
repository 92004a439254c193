//! From one recipe to a running cluster, on real hosts.

mod certificates;
mod path;
mod refusals;
mod sources;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        let all = [path::trials(), sources::trials(), refusals::trials(), certificates::trials()];
        all.into_iter().flatten().collect()
    })
}
