//! From one recipe to a running cluster, on real hosts.

mod certificates;
mod clouds;
mod disks;
mod foreign;
mod older;
mod path;
mod refusal;
mod refusals;
mod sources;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        let refusals = [
            refusals::trials(),
            certificates::trials(),
            older::trials(),
            foreign::trials(),
        ];
        [
            path::trials(),
            sources::trials(),
            clouds::trials(),
            disks::trials(),
        ]
        .into_iter()
        .chain(refusals)
        .flatten()
        .collect()
    })
}
