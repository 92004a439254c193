//! What the test machine needs for the tests that run a cluster, and the path of the tracer.

use std::path::Path;

use tests::requirement::{NEEDS_CLUSTER, Requirement};

pub(crate) const REQUIREMENTS: &[Requirement] = NEEDS_CLUSTER;

/// Returns the path of the tracer, which holds or kills other programs at certain points.
pub(crate) fn tracer() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tracer"))
}
