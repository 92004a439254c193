//! Reads the keys of the object store from the environment or from a file that only root can read.
//! firstboot never passes the keys as arguments, and the image never contains them.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::StoreKeys;

use crate::exit::refused;
use crate::reason::ReasonId;
use crate::{files, paths};

/// The maximum size of a key file in bytes.
const LIMIT: u64 = 64 << 10;

/// Returns the keys from the environment, or from the file if the environment does not contain
/// keys.
pub(super) fn find() -> Result<StoreKeys> {
    let no = |why: String| refused(ReasonId::StoreKeys.because(why));
    if let Some(keys) = StoreKeys::of(|name| std::env::var(name).ok()) {
        return Ok(keys);
    }
    let path = Path::new(paths::S3_KEYS);
    let Ok(about) = path.metadata() else {
        return Err(no(format!(
            "firstboot has no keys for the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or create {}",
            path.display()
        )));
    };
    if about.mode() & 0o077 != 0 {
        return Err(no(format!(
            "{0}, which contains the object store's keys, is accessible to users other than its \
             owner. Run `chmod 600 {0}`, and replace the keys if others may have read them",
            path.display()
        )));
    }
    let text = files::read_bounded(path, LIMIT)?;
    let text = String::from_utf8(text)
        .ok()
        .with_context(|| format!("{} is not text", path.display()))?;
    text.parse()
        .map_err(|expected| no(format!("{}: {expected}", path.display())))
}
