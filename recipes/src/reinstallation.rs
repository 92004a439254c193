//! The request for a reinstallation that a node's firstboot sends to `builder serve`, and the
//! server's answer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The path on the server to which the node sends the request, as a POST. The query identifies the
/// machine.
pub const REINSTALL_PAGE: &str = "reinstall";

/// The form field with the [`ReinstallRequest`].
pub const REQUEST_FIELD: &str = "request";

/// The form field with the digest of the node's document. Apart from the server and its operator,
/// only the node knows the digest, so the digest proves that the node sent the request.
pub const DOCUMENT_FIELD: &str = "document";

/// The form field with the digest of the image that the node expects the server to install.
pub const IMAGE_FIELD: &str = "image";

/// What the node asks the server to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReinstallRequest {
    /// Answer whether the server would install the machine. The server changes nothing.
    Check,
    /// Install the machine at its next network boot. The installation keeps etcd's volume,
    /// firstboot's journal, and the node's document and keys.
    Install,
    /// Do not install the machine, because it still runs its old system.
    Withdraw,
}

/// The error for a string that is not the name of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a request: expected check, install or withdraw")]
pub struct ReinstallRequestError(String);

/// The server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReinstallAnswer {
    /// Whether the server switches the machine off and on. If the value is false, the node must
    /// reboot.
    pub switches_machine: bool,
}

impl ReinstallRequest {
    const ALL: [Self; 3] = [Self::Check, Self::Install, Self::Withdraw];

    /// Returns the value of the form field [`REQUEST_FIELD`] for this request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Install => "install",
            Self::Withdraw => "withdraw",
        }
    }
}

impl FromStr for ReinstallRequest {
    type Err = ReinstallRequestError;

    fn from_str(text: &str) -> Result<Self, ReinstallRequestError> {
        Self::ALL
            .into_iter()
            .find(|request| request.as_str() == text)
            .ok_or_else(|| ReinstallRequestError(text.to_owned()))
    }
}

impl fmt::Display for ReinstallRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_one_name() {
        for request in ReinstallRequest::ALL {
            assert_eq!(request.to_string().parse(), Ok(request));
        }
        assert!("Install".parse::<ReinstallRequest>().is_err());
    }
}
