//! Reads TOML with places: every value has its place, and a mistake is recorded instead of ending
//! the reading, so that all mistakes in a file are reported at once. serde's derive stops at the
//! first one, which is why this module exists.

mod findings;
mod free_keys;
mod syntax;
mod table;
mod types;

pub(crate) use findings::{Findings, Located};
pub(crate) use free_keys::PairValue;
pub(crate) use syntax::explain;
pub(crate) use table::Table;
