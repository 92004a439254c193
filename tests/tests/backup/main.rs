//! Tests `firstboot snapshot` on real hosts with a real etcd. The tests check that each snapshot is
//! good, that a failure leaves no files behind, and that snapshots are taken on schedule even if
//! any one member is down.

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
