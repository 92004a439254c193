//! `firstboot snapshot` on real hosts with a real etcd: what is taken is good, what goes wrong leaves nothing behind, and
//! the schedule is kept whoever is down.

mod bed;
mod keys;
mod lost;
mod schedule;
mod sealed;
mod store;
mod take;

use std::process::ExitCode;

use tests::harness;

fn main() -> ExitCode {
    harness::main(|| {
        [take::trials(), schedule::trials(), store::trials(), sealed::trials(), keys::trials()]
            .into_iter()
            .flatten()
            .collect()
    })
}
