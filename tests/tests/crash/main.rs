//! Tests that a power failure at any instant is safe.

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
