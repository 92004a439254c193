//! The object store's keys: from the environment or from a file that root alone can read. Never from arguments, and
//! never from the image.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::StoreKeys;

use crate::exit::refused;
use crate::{files, paths};

/// No file of keys is as large.
const LIMIT: u64 = 64 << 10;

/// The environment's, else the file's.
pub(super) fn find() -> Result<StoreKeys> {
    if let Some(keys) = StoreKeys::of(|name| std::env::var(name).ok()) {
        return Ok(keys);
    }
    let path = Path::new(paths::S3_KEYS);
    let Ok(about) = path.metadata() else {
        return Err(refused(format!(
            "no keys for the object store: neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment \
             nor {}",
            path.display()
        )));
    };
    if about.mode() & 0o077 != 0 {
        return Err(refused(format!(
            "others than its owner can get at {}, which holds the object store's keys: chmod 600 it, and exchange \
             the keys if others may have read them",
            path.display()
        )));
    }
    let text = files::read_bounded(path, LIMIT)?;
    let text = String::from_utf8(text).ok().with_context(|| format!("{} is not text", path.display()))?;
    text.parse().map_err(|expected| refused(format!("{}: {expected}", path.display())))
}
