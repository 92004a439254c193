//! `firstboot snapshot verify` on snapshots that real etcds made, intact and damaged, compared with
//! etcdutl's results.

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
