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
use crate::run;

/// The operator's files in the first image. An update replaces one of the files and removes the
/// other.
const FILES: &str = "[files.overlay]\n\"/etc/own/word\" = \"word\"\n\"/etc/own/gone\" = \"gone\"\n";
/// An etcd version that no image of the test bed contains. An image that claims to contain this
/// version fails its health check immediately.
const CLAIMED: &str = "3.5.99";

/// The release that an update must install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    /// An image that passes its health check.
    Good,
    /// An image that fails its health check, and is rolled back.
    Bad,
}

impl Release {
    pub(super) const fn serial(self) -> u64 {
        match self {
            Self::Good => 2,
            Self::Bad => 3,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
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

/// The outputs of three builds.
#[derive(Debug)]
pub(super) struct Releases {
    folder: PathBuf,
}

impl Releases {
    /// Makes the releases from the last build. No image has a soak time, which the sweep does not
    /// test.
    pub(super) fn new(provisioning: &Provisioning) -> Result<Self> {
        let folder = run::current()?.folder("releases")?;
        let key = provisioning.signing_key()?;
        copy(&provisioning.out(), &folder.join("first"))?;
        let image = Repack::of(&folder.join("first"))?;
        let cluster = image.path("etc/firstboot/cluster.json");
        let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&cluster)?)?;
        value["update"] = serde_json::json!({ "mode": "manual", "soak-seconds": 0 });
        fs::write(&cluster, serde_json::to_vec(&value)?)?;
        image.pack(1, &key)?;
        for release in [Release::Good, Release::Bad] {
            let out = folder.join(release.name());
            copy(&folder.join("first"), &out)?;
            let mut image = Repack::of(&out)?;
            fs::write(image.path("etc/own/word"), release.name())?;
            fs::remove_file(image.path("etc/own/gone"))?;
            fs::create_dir(image.path("etc/own/deep"))?;
            fs::write(image.path("etc/own/deep/new"), release.name())?;
            if release == Release::Bad {
                image.claim_etcd(CLAIMED)?;
            }
            image.pack(release.serial(), &key)?;
        }
        Ok(Self { folder })
    }

    /// Installs the first image on a host that is off, and makes all releases visible in the host.
    pub(super) fn install(&self, host: &mut Host) -> Result<()> {
        let first = self.folder.join("first");
        repack::install(&first, host)?;
        host.bind(&self.folder, RELEASES);
        Ok(())
    }
}

/// The folder on a host that contains the releases.
const RELEASES: &str = "/releases";

/// From now on, `firstboot update` on this host installs this release.
pub(super) fn offer(orders: &Path, release: Release) -> Result<()> {
    let path = orders.join(OFFERED);
    fs::write(&path, format!("RELEASE={RELEASES}/{}\n", release.name()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The file with the environment of the command, which names the offered release.
const OFFERED: &str = "release.env";

/// Returns the lines of the command's unit that make it install the offered release. All users can
/// write to the folder of orders, so firstboot would not follow a link in that folder.
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
