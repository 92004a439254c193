//! What this node did, in order, and what follows from it.
//!
//! `file` holds the lines and `event` says what can stand in them; `state` is what they come to, and `disk_state` what they
//! and etcd's volume together say of the disk. `archive` moves data out of etcd's way, and writes that down.

mod archive;
mod disk_id_file;
mod disk_state;
mod event;
mod file;
mod state;

pub(crate) use archive::{aside, put_aside};
pub(crate) use disk_id_file::{Volume, mark, volume};
pub(crate) use disk_state::{Standing, standing};
pub(crate) use event::{Event, Exchange, Source, Told};
pub(crate) use file::{Entry, Journal, Line, lines};
#[cfg(test)]
pub(crate) use state::tests::restored;
pub(crate) use state::{Past, SetAside, Word};
