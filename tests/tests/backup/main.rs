//! `firstboot snapshot` on real hosts with a real etcd: each snapshot taken is good, a failure
//! leaves nothing behind, and the schedule is kept whichever member is down.

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
