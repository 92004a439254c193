//! The object store's keys: from the environment or from a file that root alone can read. Never from arguments, and
//! never from the image.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::exit::refused;
use crate::{files, paths};

/// No file of keys is as large.
const LIMIT: u64 = 64 << 10;

/// What opens the store.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

// They are printed nowhere.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// The environment's, else the file's.
    pub(super) fn find() -> Result<Self> {
        if let Some(keys) = Self::of(|name| std::env::var(name).ok()) {
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
        let text = String::from_utf8(text).ok().with_context(|| format!("{} is no text", path.display()))?;
        Self::of(|name| value(&text, name)).ok_or_else(|| {
            refused(format!(
                "{} lacks AWS_ACCESS_KEY_ID=… or AWS_SECRET_ACCESS_KEY=…, each on a line of its own",
                path.display()
            ))
        })
    }

    fn of(value: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let value = |name| value(name).filter(|value| !value.is_empty());
        Some(Self {
            id: value("AWS_ACCESS_KEY_ID")?,
            secret: value("AWS_SECRET_ACCESS_KEY")?,
            token: value("AWS_SESSION_TOKEN"),
        })
    }
}

/// The value of a name, as in a unit's environment file.
fn value(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.trim().split_once('='));
    let found = lines.rfind(|(key, _)| key.trim() == name)?;
    Some(found.1.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_lines_of_name_and_value() {
        let text = "# keys\nAWS_ACCESS_KEY_ID=AKIA\nAWS_SECRET_ACCESS_KEY = \"a/b=c\"\r\n";
        let keys = Keys::of(|name| value(text, name)).unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.as_str(), keys.token.as_deref()), ("AKIA", "a/b=c", None));
        assert_eq!(Keys::of(|name| value("AWS_ACCESS_KEY_ID=\nAWS_SECRET_ACCESS_KEY=x", name)), None);
        assert_eq!(format!("{keys:?}"), "Keys");
    }
}
