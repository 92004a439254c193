//! Checks the buckets `cluster`, `members` and `members_removed` (storage/schema/membership.go).

use serde::{Deserialize, Serialize};
use url::Url;

#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// The minor version in the cluster version, 3.MINOR.0.
    pub(super) minor: Option<u64>,
    /// The target minor version of a downgrade in progress (from 3.5 on).
    pub(super) downgrade: Option<u64>,
}

/// The newest minor version whose database this program can check.
const NEWEST: u64 = 7;

impl Cluster {
    /// Checks an entry of `cluster`. Returns the expected content if the entry is invalid.
    pub(super) fn setting(&mut self, key: &[u8], value: &[u8]) -> Option<&'static str> {
        match key {
            b"clusterVersion" => {
                self.minor = minor(value);
                self.minor
                    .is_none()
                    .then_some("a cluster version, 3.MINOR.0")
            }
            b"downgrade" => match serde_json::from_slice::<Downgrade>(value) {
                Ok(Downgrade { target, enabled }) => {
                    self.downgrade = minor(target.as_bytes()).filter(|_| enabled);
                    (enabled && self.downgrade.is_none())
                        .then_some("a target version, because the downgrade is enabled")
                }
                Err(_) => Some("a downgrade in JSON"),
            },
            _ => Some("`clusterVersion` or `downgrade`"),
        }
    }
}

/// version.DowngradeInfo.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Downgrade {
    #[serde(rename = "target-version")]
    target: String,
    enabled: bool,
}

/// Returns the minor version in `3.MINOR.0`, the format in which etcd up to 3.7 writes the versions
/// of the cluster and the storage.
pub(super) fn minor(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let minor = text.strip_prefix("3.")?.strip_suffix(".0")?;
    let number = minor.parse().ok()?;
    (number <= NEWEST && minor == u64::to_string(&number)).then_some(number)
}

/// Parses the key of a member, which is the member's ID in hexadecimal digits, as Go prints it
/// (types.ID).
fn id(key: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(key).ok()?;
    let id = u64::from_str_radix(text, 16).ok()?;
    (format!("{id:x}") == text).then_some(id)
}

/// Parses an entry of `members`. Returns the member, or the expected content if the entry is
/// invalid.
pub(super) fn member(key: &[u8], value: &[u8]) -> Result<Member, &'static str> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Stored {
        id: u64,
        #[serde(default)]
        name: String,
        #[serde(rename = "peerURLs")]
        peer_urls: Vec<String>,
        #[serde(default, rename = "clientURLs")]
        client_urls: Vec<String>,
        #[serde(default, rename = "isLearner")]
        learner: bool,
    }
    let id = id(key).ok_or("a member's ID in hexadecimal as the key")?;
    let stored: Stored = serde_json::from_slice(value).map_err(|_| "a member in JSON")?;
    if stored.id != id {
        return Err("a member with the ID that its key contains");
    }
    let is_url = |url: &String| {
        Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https" | "unix" | "unixs"))
    };
    if stored.peer_urls.is_empty()
        || !stored
            .peer_urls
            .iter()
            .chain(&stored.client_urls)
            .all(is_url)
    {
        return Err("a member with at least one peer URL, and only valid URLs");
    }
    let Stored {
        id,
        name,
        peer_urls,
        client_urls,
        learner,
    } = stored;
    Ok(Member {
        id,
        name,
        peer_urls,
        client_urls,
        learner,
    })
}

/// Checks an entry of `members_removed`. Returns the expected content if the entry is invalid.
pub(super) fn removed_fault(key: &[u8], value: &[u8]) -> Option<&'static str> {
    match (id(key), value) {
        (None, _) => Some("a member's ID in hexadecimal as the key"),
        (_, b"removed") => None,
        _ => Some("the word `removed`"),
    }
}

/// A member, as etcd stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<String>,
    pub(crate) client_urls: Vec<String>,
    pub(crate) learner: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_read_as_etcd_writes_them() {
        assert_eq!(
            (minor(b"3.0.0"), minor(b"3.6.0"), minor(b"3.7.0")),
            (Some(0), Some(6), Some(7))
        );
        for wrong in [
            "", "3.6", "3.8.0", "3.6.1", "2.6.0", "3.06.0", "3.+6.0", "3.6.0 ", "3x6.0", "v3.6.0",
            "3..0",
        ] {
            assert_eq!(minor(wrong.as_bytes()), None, "{wrong}");
        }
        let mut cluster = Cluster::default();
        assert_eq!(cluster.setting(b"clusterVersion", b"3.5.0"), None);
        assert_eq!(
            cluster.setting(b"downgrade", br#"{"target-version":"","enabled":false}"#),
            None
        );
        assert_eq!((cluster.minor, cluster.downgrade), (Some(5), None));
        assert_eq!(
            cluster.setting(
                b"downgrade",
                br#"{"target-version":"3.5.0","enabled":true}"#
            ),
            None
        );
        assert_eq!(cluster.downgrade, Some(5));
        for (key, value) in [
            (&b"clusterVersion"[..], &b"3.5.x"[..]),
            (b"clusterVersioo", b"3.5.0"),
            (b"downgrade", b"{"),
            (b"downgrade", b"{}"),
            (b"downgrade", br#"{"target-version":"","enabled":true}"#),
            (
                b"downgrade",
                br#"{"target-version":"3.5.0","enablee":true}"#,
            ),
        ] {
            assert!(
                cluster.setting(key, value).is_some(),
                "{}",
                String::from_utf8_lossy(value)
            );
        }
    }

    #[test]
    fn member_ids_match_their_keys() {
        let json =
            br#"{"id":2185608329600542862,"peerURLs":["unix://localhost:2"],"name":"a","clientURLs":["http://a:1"]}"#;
        let found = member(b"1e54d73227f9a88e", json).unwrap();
        assert_eq!((found.name.as_str(), found.learner), ("a", false));
        // The entry of a member that has never started contains no name and no client URL.
        assert!(
            member(
                b"1",
                br#"{"id":1,"peerURLs":["http://a:1"],"isLearner":true}"#
            )
            .unwrap()
            .learner
        );
        for (key, value) in [
            ("2", r#"{"id":1,"peerURLs":["http://a:1"]}"#),
            ("01", r#"{"id":1,"peerURLs":["http://a:1"]}"#),
            ("A", r#"{"id":10,"peerURLs":["http://a:1"]}"#),
            ("1", r#"{"id":1,"peerURLs":[]}"#),
            ("1", r#"{"id":1}"#),
            ("1", r#"{"id":1,"peerURLs":["gttp://a:1"]}"#),
            ("1", r#"{"id":1,"peerURLs":["http://a:1"],"nbme":"a"}"#),
            ("1", "{"),
            ("x", "{}"),
        ] {
            assert!(
                member(key.as_bytes(), value.as_bytes()).is_err(),
                "{key} {value}"
            );
        }
        assert_eq!(removed_fault(b"1e54d73227f9a88e", b"removed"), None);
        for (key, value) in [
            ("1", "remowed"),
            ("1", ""),
            ("x", "removed"),
            ("", "removed"),
            ("001", "removed"),
        ] {
            assert!(
                removed_fault(key.as_bytes(), value.as_bytes()).is_some(),
                "{key} {value}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(key in prop::collection::vec(any::<u8>(), 0..20), value in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (Cluster::default().setting(&key, &value), member(&key, &value).is_ok(), removed_fault(&key, &value));
        }
    }
}
