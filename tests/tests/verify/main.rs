//! Tests `firstboot snapshot verify` on snapshots that real etcd servers made, both intact and
//! damaged. The tests compare the results with those of etcdutl and of etcd itself.

mod contents;
mod corpus;
mod damage;
mod fixtures;
mod image;
mod live;
mod mutated;
mod random;
mod valid;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        [
            valid::trials(),
            corpus::trials(),
            damage::trials(),
            live::trials(),
            mutated::trials(),
        ]
        .into_iter()
        .flatten()
        .collect()
    })
}
