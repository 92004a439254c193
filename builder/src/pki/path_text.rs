//! Writes paths into JSON. JSON contains only UTF-8 text, but a path can contain any bytes.

use std::path::Path;

use serde::Serializer;

/// Serializes a path as text, as the command prints it. Bytes that are not UTF-8 become U+FFFD.
pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
