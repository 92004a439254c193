//! `firstboot snapshot verify` on snapshots that real etcds made, whole and damaged, against what
//! etcdutl says of them.

mod contents;
mod corpus;
mod damage;
mod fixtures;
mod image;
mod live;
mod mutated;
mod random;
mod whole;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        [
            whole::trials(),
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
