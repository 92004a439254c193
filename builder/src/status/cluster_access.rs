//! Reads an operator's local files about a cluster: its description, the newest built image, and a
//! client certificate.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use members::etcd::Credentials;
use recipes::ClusterDocument;
use time::OffsetDateTime;

use crate::pki::{ClientFiles, newest_client};
use crate::{check, image_release, manifest, output};

/// The path of the cluster's description in the overlay.
const CLUSTER: &str = "etc/firstboot/cluster.json";

/// The facts that are known before any member is queried.
#[derive(Debug, Clone)]
pub(crate) struct ClusterAccess {
    /// The output of `builder build`, or a recipe.
    out: PathBuf,
    /// The cluster's description from its newest image or its recipe.
    pub(super) cluster: ClusterDocument,
    /// The serial of the newest built image, or `None` for a recipe.
    pub(super) built: Option<u64>,
    /// The folder of the client certificate.
    client: PathBuf,
}

impl ClusterAccess {
    /// Reads the facts from the output or the recipe, and checks the client certificate.
    pub(crate) fn open(out: &Path, pki: Option<&Path>, client: Option<&Path>) -> Result<Self> {
        let (cluster, built) = if out.is_file() {
            let recipe = check::checked_recipe(out, false)?.recipe;
            (recipe.cluster_document(), None)
        } else {
            (cluster(out)?, serial(out)?)
        };
        let client = if let Some(folder) = client {
            folder.to_owned()
        } else {
            let pki = pki.map_or_else(|| pki_of(out), Path::to_owned);
            newest_client(&pki)?.with_context(|| {
                format!(
                    "{} has no client certificate; issue one with `builder pki client NAME --pki {0}`, or name the \
                     certificate's folder with --client",
                    pki.display()
                )
            })?
        };
        let access = Self {
            out: out.to_owned(),
            cluster,
            built,
            client,
        };
        access.credentials()?;
        Ok(access)
    }

    /// Reads the facts again if the output's newest image is no longer the image that was read
    /// last.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        if self.built == serial(&self.out)? {
            return Ok(());
        }
        *self = Self::open(&self.out, None, Some(&self.client))?;
        Ok(())
    }

    /// Reads the client certificate, which may be replaced while a command runs.
    pub(super) fn credentials(&self) -> Result<Credentials> {
        let files = ClientFiles::of(&self.client);
        let [ca, cert, key] = files.read(OffsetDateTime::now_utc())?;
        Ok(Credentials::new(
            ca.as_bytes(),
            cert.as_bytes(),
            key.as_bytes(),
        ))
    }
}

/// Returns the default PKI folder of an output. For a recipe, returns the PKI folder of the default
/// output.
fn pki_of(out: &Path) -> PathBuf {
    if out.is_file() {
        return PathBuf::from("out.pki");
    }
    output::default_pki(out)
}

/// Returns the serial of the newest image in an output.
fn serial(out: &Path) -> Result<Option<u64>> {
    Ok(image_release::read(out)?.map(|release| release.serial))
}

fn cluster(out: &Path) -> Result<ClusterDocument> {
    let image = manifest::open(out)?;
    let document = image
        .contents
        .get(CLUSTER)
        .with_context(|| format!("the image in {} has no {CLUSTER}", out.display()))?;
    serde_json::from_slice(document)
        .with_context(|| format!("{CLUSTER} of the image in {} is damaged", out.display()))
}
