//! Versions of etcd.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A released version of etcd, such as `3.6.14`. Pre-releases are not allowed on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EtcdVersion {
    /// The major version, which is always 3.
    pub major: u64,
    /// The minor version. Configuration keys differ between minor versions.
    pub minor: u64,
    /// The patch level.
    pub patch: u64,
}

/// The reason why a string is not a version that this project can run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// The text is not three numbers separated by dots.
    #[error("`{0}` is not an etcd version: expected three numbers, as in 3.6.14")]
    Syntax(String),
    /// This project does not support the configuration keys and snapshot tools of this version.
    #[error("etcd {0} is not supported: expected 3.4 to 3.7")]
    Unsupported(String),
}

impl EtcdVersion {
    /// Returns whether the version is 3.`minor` or later.
    pub const fn at_least(&self, minor: u64) -> bool {
        self.minor >= minor
    }

    /// Returns whether upstream's release tarball contains etcdutl (3.5 and later;
    /// scripts/build-binary.sh).
    pub const fn has_etcdutl(&self) -> bool {
        self.at_least(5)
    }
}

impl FromStr for EtcdVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let syntax = || VersionError::Syntax(text.to_owned());
        let version =
            semver::Version::parse(text.strip_prefix('v').unwrap_or(text)).map_err(|_| syntax())?;
        if !version.pre.is_empty() || !version.build.is_empty() {
            return Err(syntax());
        }
        if version.major != 3 || !(4..=7).contains(&version.minor) {
            return Err(VersionError::Unsupported(version.to_string()));
        }
        Ok(Self {
            major: version.major,
            minor: version.minor,
            patch: version.patch,
        })
    }
}

impl TryFrom<String> for EtcdVersion {
    type Error = VersionError;
    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<EtcdVersion> for String {
    fn from(version: EtcdVersion) -> Self {
        version.to_string()
    }
}

impl fmt::Display for EtcdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_numbers() {
        let parse = |text: &str| text.parse::<EtcdVersion>().unwrap();
        assert!(parse("3.5.9") < parse("3.5.33"));
        assert_eq!(parse("v3.6.14").to_string(), "3.6.14");
        assert!(!parse("3.4.23").has_etcdutl() && parse("3.5.1").has_etcdutl());
    }

    #[test]
    fn a_version_that_cannot_run_is_refused() {
        for bad in [
            "3.6",
            "3.6.0-rc.1",
            "latest",
            "3.3.27",
            "4.0.0",
            "3.8.0",
            "",
        ] {
            assert!(bad.parse::<EtcdVersion>().is_err(), "{bad}");
        }
    }
}
