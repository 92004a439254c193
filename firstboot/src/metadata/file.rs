//! A file on the disk, for anyone who makes the disks.

use anyhow::Result;

use super::document::{Found, LIMIT};
use crate::files;

pub(super) fn find(path: &str) -> Result<Option<Found>> {
    if !std::path::Path::new(path).exists() {
        return Ok(None);
    }
    Found::parse(path, &files::read_bounded(path.as_ref(), LIMIT)?).map(Some)
}
