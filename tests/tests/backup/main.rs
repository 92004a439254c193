//! Tests `firstboot snapshot` on real hosts with a real etcd. Each snapshot is good, a failure
//! leaves no files behind, and snapshots are taken on schedule even if any one member is down.

mod bed;
mod encrypted;
mod keys;
mod lost;
mod schedule;
mod snapshot;
mod store;

use std::process::ExitCode;

use tests::harness;

fn main() -> ExitCode {
    harness::main(|| {
        [
            snapshot::trials(),
            schedule::trials(),
            store::trials(),
            encrypted::trials(),
            keys::trials(),
        ]
        .into_iter()
        .flatten()
        .collect()
    })
}
