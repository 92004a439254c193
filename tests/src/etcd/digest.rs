//! Computes the digests of files.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::base;

/// Returns the digest of a file, in hexadecimal.
pub fn sha256(path: &Path) -> Result<String> {
    use sha2::{Digest as _, Sha256};
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(base::hex(&Sha256::digest(&bytes)))
}
