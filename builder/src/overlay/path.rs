//! Paths on the node.

use std::fmt;
use std::str::FromStr;

/// A path on the node, relative to the node's root and without `.` or `..`, such as
/// `etc/etcd/etcd.conf`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodePath(String);

/// The error for a string that is not a path on the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a path for the overlay: {why}; write a path such as etc/etcd/etcd.conf", .text.escape_debug())]
pub(crate) struct PathError {
    text: String,
    why: &'static str,
}

impl NodePath {
    /// Returns the path's text, without a slash at either end.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the folders above the path, nearest first, without the root.
    pub(crate) fn above(&self) -> impl Iterator<Item = &str> {
        let mut path = self.0.as_str();
        std::iter::from_fn(move || {
            path = path.rsplit_once('/')?.0;
            Some(path)
        })
    }
}

impl FromStr for NodePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let wrong = |why| {
            Err(PathError {
                text: text.to_owned(),
                why,
            })
        };
        if text.starts_with('/') {
            return wrong("it is absolute");
        }
        if text.contains(char::is_control) {
            return wrong("it contains a control character");
        }
        for name in text.split('/') {
            match name {
                "" => return wrong("it contains an empty name"),
                "." | ".." => return wrong("it contains `.` or `..`"),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_accepted() {
        for good in [
            "etc",
            "etc/etcd/etcd.conf",
            "usr/local/bin/etcd",
            "a/.hidden",
            "a..b",
        ] {
            assert_eq!(good.parse::<NodePath>().unwrap().as_str(), good);
        }
        for bad in [
            "", "/etc", "etc/", "a//b", "../etc", "a/../b", "./a", "a\0b", "a\nb",
        ] {
            assert!(bad.parse::<NodePath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_folders_above_a_path_are_nearest_first() {
        let path: NodePath = "etc/etcd/etcd.conf".parse().unwrap();
        assert_eq!(path.above().collect::<Vec<_>>(), ["etc/etcd", "etc"]);
    }
}
