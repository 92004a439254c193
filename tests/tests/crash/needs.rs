//! What every trial here takes.

use std::path::Path;

use tests::need::Need;

pub(crate) const NEEDS: &[Need] = &[Need::Root, Need::Nspawn, Need::Debootstrap, Need::Network, Need::Pip];

/// The program that ends others.
pub(crate) fn tracer() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tracer"))
}
