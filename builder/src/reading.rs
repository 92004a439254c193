//! A text from the disk that a person wrote.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::exit::{Exit, stop};

/// What is larger was not written by hand.
const LIMIT: u64 = 1 << 20;

/// The text of a recipe or another file to be checked.
pub(crate) fn text(path: &Path) -> Result<String> {
    let size = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > LIMIT {
        return Err(stop(Exit::Recipe, format!("{} has {size} bytes; nobody wrote that by hand", path.display())));
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        stop(Exit::Recipe, format!("{} is not UTF-8 at byte {place}; save it as UTF-8", path.display()))
    })
}
