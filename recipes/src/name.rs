//! Names of hosts, domains and clusters. A value of one of this module's types is always a valid
//! name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The reason why a string is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The name has a dot at its start or end, or two dots in a row.
    #[error("`{0}` must not begin or end with a dot, or contain two dots in a row")]
    Dots(String),
    /// The name has a label of more than 63 octets, or more than 253 octets in total (RFC 1123,
    /// 2.1; RFC 1035, 2.3.4).
    #[error("`{0}` is too long: a label has at most 63 characters, and a whole name at most 253")]
    TooLong(String),
    /// The name has a character that RFC 1123, 2.1 does not allow.
    #[error("`{1}` is not allowed in `{0}`: a host name consists of a-z, 0-9 and `-` (RFC 1123)")]
    Character(String, char),
    /// The name has several labels, but a single label is expected.
    #[error(
        "`{0}` has a dot: expected a short name; the domain belongs in `domain` under [cluster]"
    )]
    Long(String),
    /// The name has a label that starts or ends with a hyphen.
    #[error("`{0}` must not begin or end with `-` (RFC 1123)")]
    Hyphen(String),
    /// The name, or the last label of a domain, consists only of digits. Some resolvers interpret
    /// such a name as an address.
    #[error("`{0}` is all digits, and some programs would read it as an address")]
    Digits(String),
}

fn check_label(label: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::Empty);
    }
    if label.len() > 63 {
        return Err(NameError::TooLong(label.to_owned()));
    }
    // Refuse upper case instead of converting it, so that certificates, etcd's member names and
    // host names cannot differ in case. Some programs compare these names byte by byte.
    if label.contains('.') {
        return Err(NameError::Long(label.to_owned()));
    }
    if let Some(c) = label
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-'))
    {
        return Err(NameError::Character(label.to_owned(), c));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::Hyphen(label.to_owned()));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// One label: a node's short name, or a cluster's name.
    Label,
    |text| {
        check_label(text)?;
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NameError::Digits(text.to_owned()));
        }
        Ok(())
    }
);

name!(
    /// One or more labels separated by dots: a domain, or a host's full name.
    Domain,
    |text| {
        if text.len() > 253 {
            return Err(NameError::TooLong(text.to_owned()));
        }
        if !text.is_empty() && text.split('.').any(str::is_empty) {
            return Err(NameError::Dots(text.to_owned()));
        }
        text.split('.').try_for_each(check_label)?;
        let last = text.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NameError::Digits(last.to_owned()));
        }
        Ok(())
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_must_follow_rfc_1123() {
        for good in ["etcd-1", "a", "0a", &"x".repeat(63)] {
            assert!(good.parse::<Label>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a_b",
            "A",
            "a.b",
            "é",
            "12",
            &"x".repeat(64),
            "a\n",
        ] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_domain_consists_of_labels_and_is_never_an_address() {
        assert!("cluster.local".parse::<Domain>().is_ok());
        for bad in ["a..b", ".a", "a.", "10.0.0.1", &["a"; 200].join(".")] {
            assert!(bad.parse::<Domain>().is_err(), "{bad}");
        }
    }
}
