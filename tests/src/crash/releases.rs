//! The releases that the crash sweep installs and rolls back, and the image that all hosts have
//! before the sweep.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cluster::Provisioning;
use crate::host::Host;
use crate::process;
use crate::programs::recipe;
use crate::repack::{self, Repack};
use crate::requirement::Requirement;
use crate::{etcd, run};

/// The operator's files in the first image. An update replaces one of the files and removes the
/// other.
const FILES: &str = "[files.overlay]\n\"/etc/own/word\" = \"word\"\n\"/etc/own/gone\" = \"gone\"\n";
/// Two minor versions of etcd between which etcd can downgrade a cluster.
pub(super) const NEW_MINOR: &str = "3.6.16";
pub(super) const OLD_MINOR: &str = "3.5.35";

/// Prolongs the start of firstboot.service by 9 s. In this time, the members agree on the newer
/// minor version, because etcd's monitorVersionInterval is 4 s.
const SLOW: &str = "[Service]\nExecStartPost=/bin/sleep 9\n";

/// The kind of images that the nodes of a test bed install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateKind {
    /// Images with different files and the same etcd.
    Files,
    /// Images with a different minor version of etcd.
    Minor,
}

impl UpdateKind {
    const fn releases(self) -> [Release; 2] {
        match self {
            Self::Files => [Release::Good, Release::Bad],
            Self::Minor => [Release::Older, Release::BadMinor],
        }
    }

    /// Returns the paths of the image's files that an update changes. With [`UpdateKind::Files`],
    /// etcd's part of the image does not change.
    pub(super) const fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Files => &["etc/firstboot", "etc/own"],
            Self::Minor => &[
                "etc/firstboot",
                "etc/own",
                "usr/local/bin/etcd",
                "usr/local/bin/etcdctl",
                "usr/local/bin/etcdutl",
            ],
        }
    }

    /// Returns the releases of etcd that the test machine must have to make this kind of image.
    #[must_use]
    pub fn requirements(self) -> Vec<Requirement> {
        match self {
            Self::Files => Vec::new(),
            Self::Minor => [NEW_MINOR, OLD_MINOR].map(etcd::need).to_vec(),
        }
    }
}

/// The release that an update must install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    /// An image that passes its health check.
    Good,
    /// An image that fails its health check, and is rolled back.
    Bad,
    /// An image with the older minor version of etcd. The image passes its health check.
    Older,
    /// An image with the newer minor version of etcd. The image fails its health check after the
    /// members have agreed on that version, and is rolled back to [`Release::Older`].
    BadMinor,
}

impl Release {
    pub(super) const fn serial(self) -> u64 {
        match self {
            Self::Good | Self::Older => 2,
            Self::Bad | Self::BadMinor => 3,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Older => "older",
            Self::BadMinor => "bad-minor",
        }
    }

    /// Returns whether the release fails its health check.
    pub(super) const fn fails(self) -> bool {
        matches!(self, Self::Bad | Self::BadMinor)
    }

    /// Returns the release whose files the node has after the update; `None` if these are the files
    /// of the first image.
    pub(super) const fn remains(self) -> Option<Self> {
        match self {
            Self::Good => Some(Self::Good),
            Self::Bad => None,
            Self::Older | Self::BadMinor => Some(Self::Older),
        }
    }

    /// Returns two optional versions. The first is the version of the image's etcd, if it differs
    /// from the version in the first image. The second is the version that the image claims to
    /// contain, if the claim is wrong. No image contains a version with the patch number 99, so an
    /// image that claims such a version fails its health check.
    const fn etcd(self) -> (Option<&'static str>, Option<&'static str>) {
        match self {
            Self::Good => (None, None),
            Self::Bad => (None, Some("3.5.99")),
            Self::Older => (Some(OLD_MINOR), None),
            Self::BadMinor => (None, Some("3.6.99")),
        }
    }
}

/// Builds the demo's recipe with the operator's files.
pub(super) fn build(provisioning: &Provisioning) -> Result<()> {
    let folder = run::current()?.folder("recipe")?;
    for name in ["word", "gone"] {
        fs::write(folder.join(name), "one\n")?;
    }
    let path = folder.join("recipe.toml");
    fs::write(
        &path,
        format!("{}\n{FILES}", fs::read_to_string(recipe("demo"))?),
    )?;
    provisioning.build(&path).map(drop)
}

/// The first image, and the two releases that the scenarios install.
#[derive(Debug)]
pub(super) struct Releases {
    folder: PathBuf,
    kind: UpdateKind,
}

impl Releases {
    /// Makes the first image and the releases from the output of the last build. All images set
    /// `soak-seconds` to 0, because the sweep does not test this delay.
    pub(super) fn new(provisioning: &Provisioning, kind: UpdateKind) -> Result<Self> {
        let folder = run::current()?.folder("releases")?;
        let key = provisioning.signing_key()?;
        copy(&provisioning.out(), &folder.join("first"))?;
        let mut image = Repack::of(&folder.join("first"))?;
        if kind == UpdateKind::Minor {
            image.etcd(NEW_MINOR)?;
        }
        let cluster = image.path("etc/firstboot/cluster.json");
        let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&cluster)?)?;
        value["update"] = serde_json::json!({ "mode": "manual", "soak-seconds": 0 });
        fs::write(&cluster, serde_json::to_vec(&value)?)?;
        image.pack(1, &key)?;
        for release in kind.releases() {
            let out = folder.join(release.name());
            copy(&folder.join("first"), &out)?;
            let mut image = Repack::of(&out)?;
            fs::write(image.path("etc/own/word"), release.name())?;
            fs::remove_file(image.path("etc/own/gone"))?;
            fs::create_dir(image.path("etc/own/deep"))?;
            fs::write(image.path("etc/own/deep/new"), release.name())?;
            let (etcd, claimed) = release.etcd();
            etcd.map_or(Ok(()), |version| image.etcd(version))?;
            claimed.map_or(Ok(()), |version| image.claim_etcd(version))?;
            if release == Release::BadMinor {
                let unit = image.path("etc/systemd/system/firstboot.service.d");
                fs::create_dir(&unit)?;
                fs::write(unit.join("slow.conf"), SLOW)?;
            }
            image.pack(release.serial(), &key)?;
        }
        Ok(Self { folder, kind })
    }

    /// Installs the first image on a host that is off, and makes all releases visible in the host.
    /// If all images have the same etcd, `ETCD_VERSION` can select a different one for the host.
    pub(super) fn install(&self, host: &mut Host) -> Result<()> {
        let first = self.folder.join("first");
        repack::install(&first, host)?;
        if self.kind == UpdateKind::Files {
            etcd::replace_etcd_binary(host, &etcd::asked())?;
        }
        host.bind(&self.folder, RELEASES);
        Ok(())
    }
}

/// The folder on a host that contains the releases.
const RELEASES: &str = "/releases";

/// Makes `firstboot update` on this host install this release from now on.
pub(super) fn offer(orders: &Path, release: Release) -> Result<()> {
    let path = orders.join(OFFERED);
    fs::write(&path, format!("RELEASE={RELEASES}/{}\n", release.name()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The command's environment file, which names the offered release.
const OFFERED: &str = "release.env";

/// Returns the lines of the unit that make `firstboot update` install the offered release. An
/// environment file, not a link, names the release, because firstboot does not follow a link in a
/// folder that all users can write to.
pub(super) fn order(orders: &str, tracer: impl Fn(&str) -> String) -> String {
    format!(
        "EnvironmentFile=-{orders}/{OFFERED}\n{}",
        tracer("firstboot update --from ${RELEASE}")
    )
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    process::check(
        "cp",
        &["-a", &from.to_string_lossy(), &to.to_string_lossy()],
    )
    .map(drop)
}
