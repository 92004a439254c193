//! The requirements of every trial in this program.

use std::path::Path;

use tests::requirement::{NEEDS_CLUSTER, Requirement};

pub(crate) const REQUIREMENTS: &[Requirement] = NEEDS_CLUSTER;

/// Returns the path of the tracer, which kills other programs.
pub(crate) fn tracer() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tracer"))
}
