//! Reads TOML with places: every value remembers where it stood, every mistake is collected, none
//! stops the reading, so that a file's mistakes come all at once. serde's derive stops at the
//! first, hence this.

mod findings;
mod free_keys;
mod syntax;
mod table;
mod types;

pub(crate) use findings::{Findings, Located};
pub(crate) use free_keys::PairValue;
pub(crate) use syntax::explain;
pub(crate) use table::Table;
