//! The digests of upstream's releases. The digests are compiled into the builder, so no mirror can
//! change them.

use recipes::{EtcdVersion, Sha256};

/// The table, which contains one line `VERSION SHA256` for each known release. `#` starts a
/// comment. The comment at the top names the source.
const TABLE: &str = include_str!("known.txt");

/// Returns the digest of this version's linux-amd64 tarball, if the table contains the version.
pub(crate) fn known(version: EtcdVersion) -> Option<Sha256> {
    lines()
        .find(|(name, _)| name.parse() == Ok(version))
        .and_then(|(_, digest)| digest.parse().ok())
}

/// Returns the version whose linux-amd64 tarball has this digest, if the table contains the digest.
pub(crate) fn version_of(digest: Sha256) -> Option<EtcdVersion> {
    lines()
        .find(|(_, known)| known.parse() == Ok(digest))
        .and_then(|(version, _)| version.parse().ok())
}

pub(crate) fn newest_known() -> EtcdVersion {
    let versions = lines().filter_map(|(version, _)| version.parse().ok());
    versions
        .max()
        .unwrap_or_else(|| unreachable!("the table is not empty"))
}

fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_version_and_a_digest_and_no_version_is_repeated() {
        let mut seen = std::collections::BTreeSet::new();
        for (version, digest) in lines() {
            let version: EtcdVersion = version.parse().unwrap();
            let digest: Sha256 = digest.parse().unwrap();
            assert!(seen.insert(version), "{version} twice");
            assert_eq!(known(version), Some(digest));
            assert_eq!(version_of(digest), Some(version));
        }
        assert_eq!(
            seen.len(),
            TABLE.lines().filter(|line| !line.starts_with('#')).count()
        );
    }

    #[test]
    fn the_table_contains_the_shipped_recipes_release() {
        let pinned = "ffe840ff9295808e88cce2794a18a5ac87f12a5203c8314d0bf6aa119b41bac5";
        assert_eq!(
            known("3.6.14".parse().unwrap()),
            Some(pinned.parse().unwrap())
        );
        assert_eq!(known("3.5.1".parse().unwrap()), None);
    }
}
