//! The name in a client certificate: the certificate's common name, which is the name of the etcd
//! user. The name is also the name of the folder with the certificate.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::ClusterRecord;

/// The maximum number of characters in a common name (RFC 5280, appendix A.1, `ub-common-name`).
const MAX_CHARACTERS: usize = 64;
/// The maximum number of bytes in the name of a folder.
const MAX_BYTES: usize = 255;

/// The name of an etcd user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct ClientName(String);

/// The reason why a string cannot be the name in a client certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientNameError {
    #[error("the name is empty: expected the name of an etcd user, such as alice")]
    Empty,
    #[error(
        "the name is too long: the common name of a certificate has at most {MAX_CHARACTERS} \
         characters"
    )]
    TooLong,
    #[error(
        "the name contains {0:?}: a name cannot contain control characters, `/` or `*`, because it \
         is also the name of a folder, and because TLS reads `*` as any host name"
    )]
    Character(char),
    #[error("the name begins or ends with a space: remove the space")]
    Space,
    #[error(
        "`{0}` cannot be the name of a folder: name the etcd user without a dot at the beginning"
    )]
    Dot(String),
    #[error(
        "`{0}` is the name by which members recognise each other: name the etcd user differently"
    )]
    Localhost(String),
}

impl ClientName {
    /// Returns the name as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the name belongs to a node of the cluster: a node's short name, or any name
    /// in the cluster's domain. The common name of a node's certificates is the node's full name.
    pub(super) fn is_of_node(&self, cluster: &ClusterRecord) -> bool {
        let name = self.0.trim_end_matches('.').to_lowercase();
        let domain = cluster.domain.as_str();
        let in_domain = name.strip_suffix(domain);
        in_domain.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            || cluster.nodes.keys().any(|node| node.as_str() == name)
    }
}

impl FromStr for ClientName {
    type Err = ClientNameError;

    fn from_str(text: &str) -> Result<Self, ClientNameError> {
        if text.is_empty() {
            return Err(ClientNameError::Empty);
        }
        if text.chars().count() > MAX_CHARACTERS || text.len() > MAX_BYTES {
            return Err(ClientNameError::TooLong);
        }
        // A client certificate has no SANs. Before Go 1.15, Go's TLS library reads the common name
        // of such a certificate as a host name, in which `*` stands for any label (crypto/x509,
        // `commonNameAsHostname`). etcd 3.4 would therefore accept a client certificate with `*` in
        // its name as a peer certificate.
        let is_refused = |c: &char| c.is_control() || matches!(c, '/' | '*');
        if let Some(c) = text.chars().find(is_refused) {
            return Err(ClientNameError::Character(c));
        }
        if text.trim() != text {
            return Err(ClientNameError::Space);
        }
        if text.starts_with('.') {
            return Err(ClientNameError::Dot(text.to_owned()));
        }
        if text.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
            return Err(ClientNameError::Localhost(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_etcd_users_are_accepted() {
        let longest = "a".repeat(64);
        for name in [
            "alice",
            "Alice",
            "alice_b",
            "alice@example.com",
            "Zoë B.",
            "root",
            "42",
            &longest,
        ] {
            assert_eq!(name.parse::<ClientName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_name_that_is_no_folder_or_that_a_member_accepts_as_a_peer_is_refused() {
        for (name, words) in [
            ("", "empty"),
            (&*"a".repeat(65), "at most 64 characters"),
            (&"\u{1f642}".repeat(64), "at most 64 characters"),
            ("nodes/etcd-1", "contains '/'"),
            ("a\nb", "contains '\\n'"),
            ("a\0", "contains '\\0'"),
            ("*", "contains '*'"),
            (" alice", "space"),
            (".", "cannot be the name of a folder"),
            ("..", "cannot be the name of a folder"),
            (".unfinished-x", "cannot be the name of a folder"),
            ("localhost", "members recognise each other"),
            ("LocalHost.", "members recognise each other"),
        ] {
            let error = name.parse::<ClientName>().unwrap_err().to_string();
            assert!(
                error.contains(words) && !error.contains("host name consists"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_name_of_a_node_or_in_the_clusters_domain_belongs_to_a_node() {
        let nodes = [("etcd-1".parse().unwrap(), [10, 0, 0, 1].into())];
        let cluster = ClusterRecord {
            name: "demo".parse().unwrap(),
            domain: "example.com".parse().unwrap(),
            nodes: nodes.into(),
        };
        for (name, expected) in [
            ("etcd-1", true),
            ("ETCD-1.example.com", true),
            ("etcd-2.example.com.", true),
            ("example.com", true),
            ("alice@example.com", false),
            ("etcd-2", false),
            ("etcd-1.example.org", false),
        ] {
            let name = name.parse::<ClientName>().unwrap();
            assert_eq!(name.is_of_node(&cluster), expected, "{name}");
        }
    }
}
