//! The credentials of an object store as text: lines of NAME=VALUE, as in the environment file of a
//! unit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The credentials for an object store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreKeys {
    /// `AWS_ACCESS_KEY_ID`.
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: String,
    /// `AWS_SESSION_TOKEN`, which is needed for temporary keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

// The keys must not appear in a log through `{:?}`.
impl fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKeys")
    }
}

impl StoreKeys {
    /// Creates the credentials. `value` returns the value for a name such as `AWS_ACCESS_KEY_ID`.
    /// Returns `None` if one of the two required values is missing or empty.
    pub fn of(value: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let value = |name| value(name).filter(|value| !value.is_empty());
        Some(Self {
            id: value("AWS_ACCESS_KEY_ID")?,
            secret: value("AWS_SECRET_ACCESS_KEY")?,
            token: value("AWS_SESSION_TOKEN"),
        })
    }

    /// Returns the text of a file that contains the credentials.
    #[must_use]
    pub fn to_file(&self) -> String {
        let token = self
            .token
            .as_ref()
            .map_or_else(String::new, |token| format!("AWS_SESSION_TOKEN={token}\n"));
        format!(
            "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}\n{token}",
            self.id, self.secret
        )
    }
}

impl FromStr for StoreKeys {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of(|name| value(text, name)).ok_or(
            "expected the lines AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…, each with a value",
        )
    }
}

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
        let keys: StoreKeys = text.parse().unwrap();
        assert_eq!(
            (
                keys.id.as_str(),
                keys.secret.as_str(),
                keys.token.as_deref()
            ),
            ("AKIA", "a/b=c", None)
        );
        assert!(
            "AWS_ACCESS_KEY_ID=\nAWS_SECRET_ACCESS_KEY=x"
                .parse::<StoreKeys>()
                .is_err()
        );
        assert_eq!(format!("{keys:?}"), "StoreKeys");
    }

    #[test]
    fn a_file_of_keys_is_read_back() {
        let keys = StoreKeys {
            id: "AKIA".into(),
            secret: "a/b=c+".into(),
            token: Some("t==".into()),
        };
        assert_eq!(keys.to_file().parse(), Ok(keys));
    }
}
