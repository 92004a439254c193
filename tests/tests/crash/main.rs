//! Power may fail at any instant.

mod disk;
mod etcd;
mod requirements;
mod sweep;
mod told;

use std::process::ExitCode;

use tests::harness;

fn main() -> ExitCode {
    harness::main(|| [disk::trials(), etcd::trials(), sweep::trials(), told::trials()].into_iter().flatten().collect())
}
