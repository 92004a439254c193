//! Reads TOML and keeps the position of every value. This module records a mistake and continues to
//! read, so that all mistakes in a file are reported together. serde's derive stops at the first
//! mistake, so this module does not use it.

mod findings;
mod free_keys;
mod syntax;
mod table;
mod types;

pub(crate) use findings::{Findings, Located};
pub(crate) use free_keys::PairValue;
pub(crate) use syntax::explain;
pub(crate) use table::Table;
