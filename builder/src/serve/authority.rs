//! The PKI folder and the recipe with which the server signs certificate requests. Both must belong
//! to the output that the server serves.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use recipes::{ClusterDocument, SigningKey};

use crate::pki::{self, ClusterRecord, FirstKeyPolicy};
use crate::recipe_file::RecipeFile;
use crate::sign::CertificateAuthority;
use crate::{console, manifest};

/// The path of the cluster document in the overlay.
const CLUSTER: &str = "etc/firstboot/cluster.json";

/// The facts that show whether nodes of an output can enrol at this server.
struct Claims {
    out: PathBuf,
    pki: PathBuf,
    recipe: PathBuf,
    /// The id of the key that the image trusts.
    trusted_key: String,
    /// The id of the signing key in the PKI folder, which the server presents to nodes.
    own_key: String,
    /// Whether the builder generated the keys of the nodes in the output.
    has_document_keys: bool,
    /// The cluster that the PKI folder belongs to, if the folder has a record.
    recorded: Option<ClusterRecord>,
    /// The cluster that the recipe describes.
    described: ClusterRecord,
}

/// Reads the recipe, and returns the authority that signs the requests of the recipe's nodes.
///
/// # Errors
///
/// Fails if the PKI folder or the recipe does not belong to the output, or if the builder generated
/// the keys of the output's nodes. In each of these cases, no node could enrol.
pub(super) fn open(
    out: &Path,
    pki: &Path,
    recipe_path: &Path,
    first: FirstKeyPolicy,
) -> Result<CertificateAuthority> {
    let recipe = RecipeFile::open(recipe_path)?;
    let described = recipe.current(|_| true, |error| console::error(error));
    let image = manifest::open(out)?;
    let document = image.contents.get(CLUSTER);
    let document =
        document.with_context(|| format!("the image in {} has no {CLUSTER}", out.display()))?;
    let document: ClusterDocument = serde_json::from_slice(document)
        .with_context(|| format!("{CLUSTER} of the image in {} is damaged", out.display()))?;
    let own = SigningKey::from_pkcs8(&pki::signing_key(pki)?);
    let own = own.with_context(|| format!("the signing key in {} is damaged", pki.display()))?;
    check(&Claims {
        out: out.to_owned(),
        pki: pki.to_owned(),
        recipe: recipe_path.to_owned(),
        trusted_key: image.manifest.trust,
        own_key: own.public().id(),
        has_document_keys: document.keys.is_document(),
        recorded: pki::recorded_cluster(pki)?,
        described: ClusterRecord::from(&*described),
    })?;
    Ok(CertificateAuthority {
        recipe,
        pki: pki.to_owned(),
        first,
    })
}

/// Refuses a PKI folder, a recipe or an output with which no node could enrol. The recipe may be
/// newer than the last build, as long as it describes the same cluster.
fn check(claims: &Claims) -> Result<()> {
    let (out, pki) = (claims.out.display(), claims.pki.display());
    ensure!(
        claims.trusted_key == claims.own_key,
        "{pki} is not the PKI folder with which {out} was built: the image in {out} trusts the \
         signing key {}, but the signing key of {pki} is {}, so no node can enrol. Name the PKI \
         folder of this output with --pki",
        claims.trusted_key,
        claims.own_key
    );
    ensure!(
        !claims.has_document_keys,
        "{out} was built with `keys = \"document\"`, so its nodes request no certificates. Set \
         `keys = \"node\"` in the recipe's [tls] and build, or omit --pki and --recipe"
    );
    if let Some(recorded) = &claims.recorded {
        ensure!(
            recorded.is_same_cluster(&claims.described),
            "{pki} belongs to the cluster {recorded}, but {} describes the cluster {}. Name the \
             recipe of this cluster with --recipe. If this is the same cluster with new names or \
             addresses, run `builder pki assign FOLDER RECIPE`, and build",
            claims.recipe.display(),
            claims.described
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str, nodes: &[(&str, u8)]) -> ClusterRecord {
        let nodes = nodes.iter();
        ClusterRecord {
            name: name.parse().unwrap(),
            domain: "cluster.local".parse().unwrap(),
            nodes: nodes
                .map(|(name, last)| (name.parse().unwrap(), [10, 0, 0, *last].into()))
                .collect(),
        }
    }

    fn claims() -> Claims {
        Claims {
            out: "out".into(),
            pki: "out.pki".into(),
            recipe: "recipe.toml".into(),
            trusted_key: "ed25519:one".to_owned(),
            own_key: "ed25519:one".to_owned(),
            has_document_keys: false,
            recorded: Some(cluster("demo", &[("etcd-1", 1), ("etcd-2", 2)])),
            described: cluster("demo", &[("etcd-1", 1), ("etcd-2", 2)]),
        }
    }

    #[test]
    fn a_newer_recipe_of_the_same_cluster_and_a_folder_without_a_record_are_accepted() {
        check(&claims()).unwrap();
        let described = cluster("demo", &[("etcd-1", 1), ("etcd-2", 7), ("etcd-3", 3)]);
        check(&Claims {
            described,
            ..claims()
        })
        .unwrap();
        check(&Claims {
            recorded: None,
            ..claims()
        })
        .unwrap();
    }

    #[test]
    fn a_server_at_which_no_node_can_enrol_does_not_start() {
        for (claims, words) in [
            (
                Claims {
                    own_key: "ed25519:two".to_owned(),
                    ..claims()
                },
                ["ed25519:one", "ed25519:two"],
            ),
            (
                Claims {
                    has_document_keys: true,
                    ..claims()
                },
                ["keys = \"document\"", "keys = \"node\""],
            ),
            (
                Claims {
                    described: cluster("prod", &[("etcd-1", 1)]),
                    ..claims()
                },
                ["`demo` in cluster.local", "`prod` in cluster.local"],
            ),
            (
                Claims {
                    described: cluster("demo", &[("etcd-1", 9)]),
                    ..claims()
                },
                ["etcd-2 10.0.0.2", "etcd-1 10.0.0.9"],
            ),
        ] {
            let error = check(&claims).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
