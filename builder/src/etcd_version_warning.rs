//! Warns an operator about the update of nodes to an image with another version of etcd.

use recipes::EtcdVersion;
use recipes::upgrade::{VersionChange, version_change};

/// Returns the warning, if any, about the change from one version of etcd to another.
pub(crate) fn warning(from: EtcdVersion, to: EtcdVersion) -> Option<String> {
    match version_change(from, to) {
        Ok(VersionChange::Patch | VersionChange::Upgrade) => None,
        Ok(VersionChange::Downgrade) => Some(format!(
            "etcd {from} to {to} is a downgrade, which `firstboot update` performs node by node. \
             Do not reinstall a node before every node has the new image: etcd does not admit a \
             member with an older version"
        )),
        Err(obstacle) => Some(format!(
            "no node can be updated to the new image, or reinstalled from it: {obstacle}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_downgrade_and_a_skipped_minor_version_cause_a_warning() {
        let said = |from: &str, to: &str| warning(from.parse().unwrap(), to.parse().unwrap());
        assert_eq!(said("3.5.33", "3.6.14"), None);
        assert_eq!(said("3.6.14", "3.6.11"), None);
        for (from, to, words) in [
            ("3.6.14", "3.5.33", "is a downgrade"),
            (
                "3.5.33",
                "3.7.1",
                "does not support skipping a minor version",
            ),
            ("3.5.33", "3.4.45", "no node can be updated"),
        ] {
            let said = said(from, to).unwrap();
            assert!(said.contains(words), "{said}");
        }
    }
}
