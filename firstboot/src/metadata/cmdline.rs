//! The kernel's command line names the place. The document itself is never on it: everybody on the machine can read that.

use anyhow::Result;

use super::document::{Found, LIMIT};
use super::place;
use crate::files;

/// `known`: the node has a document already, and no server is asked again.
pub(super) fn find(path: &str, known: bool) -> Result<Option<Found>> {
    let line = String::from_utf8_lossy(&files::read_bounded(path.as_ref(), LIMIT)?).into_owned();
    match line.split_ascii_whitespace().find_map(place::named) {
        Some(place) => place::get(&place, "the kernel's command line", known),
        None => Ok(None),
    }
}
