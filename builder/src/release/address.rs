//! The URL of a release on a mirror.

use recipes::EtcdVersion;
use url::Url;

/// Returns the name of the only top-level folder in a release's tarball.
pub(crate) fn top(version: EtcdVersion) -> String {
    format!("etcd-v{version}-linux-amd64")
}

/// Returns the tarball's name, which is the same on every mirror (upstream's
/// scripts/build-release.sh).
pub(crate) fn tarball(version: EtcdVersion) -> String {
    format!("{}.tar.gz", top(version))
}

/// Returns the URL of a release's file, `MIRROR/vX.Y.Z/NAME`. Returns `None` if the mirror's URL is
/// not HTTP or HTTPS.
pub(crate) fn on(mirror: &Url, version: EtcdVersion, name: &str) -> Option<Url> {
    let mut url = mirror.clone();
    if !["http", "https"].contains(&url.scheme()) {
        return None;
    }
    url.path_segments_mut()
        .ok()?
        .pop_if_empty()
        .push(&format!("v{version}"))
        .push(name);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_slash_of_a_mirrors_url_has_no_effect() {
        let version = "3.6.14".parse().unwrap();
        for mirror in [
            "https://github.com/etcd-io/etcd/releases/download",
            "https://github.com/etcd-io/etcd/releases/download/",
        ] {
            assert_eq!(
                on(&mirror.parse().unwrap(), version, &tarball(version))
                    .unwrap()
                    .as_str(),
                "https://github.com/etcd-io/etcd/releases/download/v3.6.14/etcd-v3.6.14-linux-amd64.tar.gz"
            );
        }
        assert_eq!(
            on(
                &"ftp://mirror.test/etcd".parse().unwrap(),
                version,
                "SHA256SUMS"
            ),
            None
        );
    }
}
