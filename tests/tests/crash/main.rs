//! Tests that a power failure, a kill of firstboot or the removal of etcd's data at any point is
//! safe.

mod announced;
mod disk;
mod etcd;
mod requirements;
mod sweep;

use std::process::ExitCode;

use tests::harness;

fn main() -> ExitCode {
    harness::main(|| {
        [
            disk::trials(),
            etcd::trials(),
            sweep::trials(),
            announced::trials(),
        ]
        .into_iter()
        .flatten()
        .collect()
    })
}
