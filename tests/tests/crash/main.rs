//! Power may fail at any instant.

mod disk;
mod etcd;
mod sweep;
mod told;

use std::path::Path;
use std::process::ExitCode;

use tests::harness;
use tests::need::Need;

pub(crate) const NEEDS: &[Need] = &[Need::Root, Need::Nspawn, Need::Debootstrap, Need::Network, Need::Pip];

/// The program that ends others.
pub(crate) fn tracer() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tracer"))
}

fn main() -> ExitCode {
    harness::main(|| [disk::trials(), etcd::trials(), sweep::trials(), told::trials()].into_iter().flatten().collect())
}
