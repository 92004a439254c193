//! Tests all steps from one recipe to a running cluster, on real hosts.

mod certificates;
mod clouds;
mod disks;
mod lifecycle;
mod outdated_document;
mod own_keys;
mod refusal;
mod refusals;
mod sources;
mod switch_keys;
mod unrecorded_data;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        let refusals = [
            refusals::trials(),
            certificates::trials(),
            outdated_document::trials(),
            unrecorded_data::trials(),
            own_keys::trials(),
            switch_keys::trials(),
        ];
        [
            lifecycle::trials(),
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
