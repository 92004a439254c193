//! The requirements of every trial in this program.

use std::path::Path;

use tests::requirement::Requirement;

pub(crate) const REQUIREMENTS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Nspawn,
    Requirement::Debootstrap,
    Requirement::Network,
    Requirement::Pip,
];

/// Returns the path of the tracer, which kills other programs.
pub(crate) fn tracer() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tracer"))
}
