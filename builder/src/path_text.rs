//! Writes paths into JSON. JSON contains only UTF-8 text, but a path can contain any bytes.

use std::path::Path;

use serde::Serializer;

/// Serializes a path as text, as the command prints it. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn a_path_that_is_not_utf_8_becomes_text() {
        #[derive(serde::Serialize)]
        struct Report<'a> {
            #[serde(serialize_with = "super::serialize")]
            path: &'a std::path::Path,
        }
        let path = std::path::Path::new(OsStr::from_bytes(b"a\xff"));
        let json = serde_json::to_string(&Report { path }).unwrap();
        assert_eq!(json, "{\"path\":\"a\u{fffd}\"}");
    }
}
