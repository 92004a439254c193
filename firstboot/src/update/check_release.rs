//! Decides whether this node may install a release. The decision is a pure function.

use recipes::upgrade::{VersionChange, version_change};
use recipes::{EtcdVersion, ImageBase, ReleaseDocument, Sha256};

use crate::exit::refused;
use crate::reason::ReasonId;

/// The facts about this node's image on which the decision depends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnImage {
    /// The digest of the image's overlay.
    pub(super) overlay: Sha256,
    /// The base of the image, or `None` for an image from an earlier builder.
    pub(super) base: Option<ImageBase>,
    /// The version of the image's etcd.
    pub(super) etcd: EtcdVersion,
    /// The serial of the image that this node's last update installed.
    pub(super) updated_to: Option<u64>,
    /// The serial of the image that was the newest when the node's document was written. The node's
    /// own image may be older.
    pub(super) document: Option<u64>,
}

/// The relation of a release to this node's image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReleaseCheck {
    /// The release is the node's own image.
    Current,
    /// The release is a newer image.
    Newer,
}

/// Compares a release with this node's image.
///
/// # Errors
/// Returns a refusal if the base of this node's image is unknown, or if the release is older, has a
/// different base, or has an etcd that must not replace this node's etcd.
pub(super) fn check_release(
    release: &ReleaseDocument,
    own: &OwnImage,
) -> anyhow::Result<ReleaseCheck> {
    if release.overlay.sha256 == own.overlay {
        return Ok(ReleaseCheck::Current);
    }
    refuse_older(release, own)?;
    let serial = release.serial;
    let Some(base) = &own.base else {
        return Err(refused(ReasonId::UpdateBaseUnknown.because(
            "an earlier builder made this node's image, and the image does not describe its base. Reinstall the node from the new image",
        )));
    };
    let differences = base.differences(&release.base_parts);
    if !differences.is_empty() {
        return Err(refused(ReasonId::UpdateBase.because(format!(
            "image {serial} has another base, which only an installation can change: {}. Reinstall the nodes one at a time (`firstboot update --reinstall`)",
            differences.join("; ")
        ))));
    }
    check_etcd(release, own)?;
    Ok(ReleaseCheck::Newer)
}

/// Checks whether this node may be installed again from a release. The release may have a different
/// base, and may also be the node's own image.
///
/// # Errors
/// Returns a refusal if the release is older, or has an etcd that cannot start with this node's
/// data.
pub(super) fn check_reinstallation(
    release: &ReleaseDocument,
    own: &OwnImage,
) -> anyhow::Result<()> {
    if release.overlay.sha256 == own.overlay {
        return Ok(());
    }
    refuse_older(release, own)?;
    if check_etcd(release, own)? == VersionChange::Downgrade {
        return Err(refused(ReasonId::UpdateMinor.because(format!(
            "image {} has etcd {}, but this node has {}: a reinstallation that keeps the data \
             cannot downgrade etcd. Install the older etcd with `firstboot update` first",
            release.serial, release.etcd, own.etcd
        ))));
    }
    Ok(())
}

/// Refuses a release that is not newer than this node's last update, or that is older than the
/// build of this node's document.
fn refuse_older(release: &ReleaseDocument, own: &OwnImage) -> anyhow::Result<()> {
    let serial = release.serial;
    if let Some(newest) = own.updated_to.filter(|newest| serial <= *newest) {
        return Err(older(
            serial,
            &format!("this node was updated to image {newest}"),
        ));
    }
    if let Some(newest) = own.document.filter(|newest| serial < *newest) {
        return Err(older(
            serial,
            &format!("this node's document is from the build of image {newest}"),
        ));
    }
    Ok(())
}

/// Returns how the release changes etcd's version. Refuses a release whose etcd must not replace
/// this node's etcd.
fn check_etcd(release: &ReleaseDocument, own: &OwnImage) -> anyhow::Result<VersionChange> {
    version_change(own.etcd, release.etcd).map_err(|obstacle| {
        refused(ReasonId::UpdateMinor.because(format!(
            "image {} has etcd {}, but this node has {}: {obstacle}",
            release.serial, release.etcd, own.etcd
        )))
    })
}

fn older(serial: u64, why: &str) -> anyhow::Error {
    refused(ReasonId::UpdateOlder.because(format!(
        "the release has the serial {serial}, but {why}: an older image is never installed. \
         To return to an earlier recipe, build it again: the build gives the image a new serial"
    )))
}

#[cfg(test)]
mod tests {
    use recipes::ReleasedFile;

    use super::*;

    fn base(packages: &str) -> ImageBase {
        let mut base = ImageBase::default();
        base.add("packages", [packages.to_owned()]);
        base
    }

    fn own() -> OwnImage {
        OwnImage {
            overlay: Sha256::of(b"own"),
            base: Some(base("tar")),
            etcd: "3.5.30".parse().unwrap(),
            updated_to: Some(5),
            document: Some(4),
        }
    }

    fn release(serial: u64, overlay: &[u8], etcd: &str, base: ImageBase) -> ReleaseDocument {
        let overlay = ReleasedFile {
            size: 1,
            sha256: Sha256::of(overlay),
        };
        ReleaseDocument::new(
            "etcd".parse().unwrap(),
            serial,
            Sha256::of(b""),
            overlay,
            etcd.parse().unwrap(),
            base,
        )
    }

    fn says(release: &ReleaseDocument, own: &OwnImage) -> String {
        check_release(release, own)
            .map_or_else(|error| error.to_string(), |check| format!("{check:?}"))
    }

    #[test]
    fn only_a_newer_image_is_installed() {
        let new = |serial| release(serial, b"new", "3.5.33", base("tar"));
        assert_eq!(says(&new(6), &own()), "Newer");
        for old in [1, 4, 5] {
            assert!(says(&new(old), &own()).ends_with("[update-older]"), "{old}");
        }
        // If a node was installed and never updated, its document may be newer than its image.
        let installed = OwnImage {
            updated_to: None,
            ..own()
        };
        assert_eq!(says(&new(4), &installed), "Newer");
        assert!(says(&new(3), &installed).ends_with("[update-older]"));
        // The node recognises its own image regardless of the serial.
        assert_eq!(
            says(&release(1, b"own", "3.5.30", base("tar")), &own()),
            "Current"
        );
    }

    #[test]
    fn a_required_reinstallation_is_reported() {
        let said = says(&release(6, b"new", "3.5.30", base("vim")), &own());
        assert!(
            said.contains("packages: -`tar` +`vim`") && said.ends_with("[update-base]"),
            "{said}"
        );
        let unknown = OwnImage {
            base: None,
            ..own()
        };
        assert!(
            says(&release(6, b"new", "3.5.30", base("tar")), &unknown)
                .ends_with("[update-base-unknown]")
        );
        // etcd 3.5.30 is too old for an update to 3.6, an update to 3.7 skips a minor version, and
        // etcd 3.5 does not support a downgrade.
        for etcd in ["3.6.14", "3.7.1", "3.4.35"] {
            assert!(
                says(&release(6, b"new", etcd, base("tar")), &own()).ends_with("[update-minor]"),
                "{etcd}"
            );
        }
        assert_eq!(
            says(&release(6, b"new", "3.5.29", base("tar")), &own()),
            "Newer",
            "a newer image may contain an older patch version"
        );
    }

    #[test]
    fn a_node_is_reinstalled_from_any_image_that_can_use_its_data() {
        let says = |release: &ReleaseDocument, own: &OwnImage| {
            check_reinstallation(release, own)
                .map_or_else(|error| error.to_string(), |()| "reinstalls".to_owned())
        };
        let new = |serial, etcd| release(serial, b"new", etcd, base("vim"));
        assert_eq!(says(&new(6, "3.5.30"), &own()), "reinstalls");
        let own_image = release(1, b"own", "3.5.30", base("tar"));
        assert_eq!(says(&own_image, &own()), "reinstalls");
        let unknown = OwnImage {
            base: None,
            ..own()
        };
        assert_eq!(says(&new(6, "3.5.30"), &unknown), "reinstalls");
        assert!(says(&new(5, "3.5.30"), &own()).ends_with("[update-older]"));
        let newer = OwnImage {
            etcd: "3.6.14".parse().unwrap(),
            ..own()
        };
        assert_eq!(says(&new(6, "3.7.1"), &newer), "reinstalls");
        // An update can downgrade the cluster to 3.5.33, and cancels the downgrade afterwards. A
        // reinstallation cannot downgrade the cluster, because no program would cancel the
        // downgrade after the installation.
        for etcd in ["3.5.33", "3.5.30", "3.4.23"] {
            let said = says(&new(6, etcd), &newer);
            assert!(said.ends_with("[update-minor]"), "{etcd}: {said}");
        }
    }

    #[test]
    fn the_previous_and_the_next_minor_are_accepted() {
        for (has, etcd) in [
            ("3.4.23", "3.5.33"),
            ("3.5.33", "3.6.14"),
            ("3.6.14", "3.7.1"),
            ("3.7.1", "3.6.14"),
            ("3.6.14", "3.5.33"),
        ] {
            let own = OwnImage {
                etcd: has.parse().unwrap(),
                ..own()
            };
            let said = says(&release(6, b"new", etcd, base("tar")), &own);
            assert_eq!(said, "Newer", "{has} to {etcd}");
        }
    }
}
