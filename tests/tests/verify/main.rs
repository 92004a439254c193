//! `firstboot snapshot verify` on snapshots that real etcds made, whole and damaged, against what etcdutl says of them.

mod corpus;
mod image;
mod made;
mod whole;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| whole::trials().into_iter().chain(corpus::trials()).collect())
}
