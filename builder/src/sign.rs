//! `builder pki sign` and `builder pki approve`: answer the requests of nodes that generate their
//! keys themselves. Requests and answers contain no secrets.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use recipes::{Label, NodeIdentity, Recipe, Sha256};
use time::OffsetDateTime;

use crate::nodes::{self, Node};
use crate::pki::{
    self, Approval, Event, FirstKeyPolicy, Opener, PkiError, PublicKeys, REQUEST_LIMIT, UnbuiltFact,
};
use crate::recipe_file::RecipeFile;
use crate::{build, console, text_file};

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct SignOptions {
    /// The recipe of the cluster, which provides names, addresses and lifetimes
    recipe: PathBuf,
    /// The name of the node
    name: Label,
    /// The request that `firstboot csr` printed on the node; `-` means standard input
    request: PathBuf,
    /// The folder of the cluster's certificates and keys
    #[arg(long, value_name = "DIR", default_value = "out.pki")]
    pki: PathBuf,
}

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct ApproveOptions {
    /// The folder of the cluster's certificates and keys
    folder: PathBuf,
    /// The name of the node
    name: Label,
    /// The fingerprint of the key, as the node prints it. Without a fingerprint, show the key that
    /// is waiting for approval
    fingerprint: Option<Sha256>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Signs a request, and prints the node document that answers it.
pub(crate) fn sign(options: &SignOptions) -> Result<()> {
    let (path, name) = (&options.request, &options.name);
    let keys = PublicKeys::of_request(&read(path)?).with_context(|| {
        format!(
            "{} is not a certificate request: expected the output of `firstboot csr`",
            path.display()
        )
    })?;
    let recipe = RecipeFile::open(&options.recipe)?;
    ensure!(
        pki::signing_public_key(&options.pki)?.is_some(),
        "{} is not the PKI folder of a build. Build the image first, or name its PKI folder with \
         --pki",
        options.pki.display()
    );
    let ca = CertificateAuthority {
        recipe,
        pki: options.pki.clone(),
        first: FirstKeyPolicy::Any,
    };
    let signed = ca.answer(name, &keys, None, |error| console::error(error))?;
    signed.events.iter().for_each(console::note);
    console::note(format!("{name}: signed for the key {}", keys.fingerprint()));
    Ok(console::result(signed.document)?)
}

/// The answer to a certificate request.
#[derive(Debug)]
pub(crate) struct SignedRequest {
    /// The node document, which contains the certificates.
    pub(crate) document: String,
    /// Whether the node had other keys or no keys before the request.
    pub(crate) has_new_keys: bool,
    /// The changes to the PKI folder, and warnings about it.
    pub(crate) events: Vec<Event>,
}

/// Signs the certificate requests of a cluster's nodes.
#[derive(Debug)]
pub(crate) struct CertificateAuthority {
    pub(crate) recipe: RecipeFile,
    pub(crate) pki: PathBuf,
    /// The policy that decides which keys may be recorded as a node's first keys.
    pub(crate) first: FirstKeyPolicy,
}

impl CertificateAuthority {
    /// Records the keys of a request as the node's keys, and issues the node document for them.
    /// `served` is the node's identity in the output that a server serves. `report` receives the
    /// error if the recipe has changed and cannot be used.
    ///
    /// # Errors
    /// Fails with [`PkiError::NotBuilt`] if the document would contradict the last build or the
    /// served output. A build that failed may have recorded an address that the served image does
    /// not contain. The PKI folder does not record `mac`, `serial` and `uuid`, so this function
    /// compares the values in the recipe with the values in the output.
    pub(crate) fn answer(
        &self,
        name: &Label,
        keys: &PublicKeys,
        served: Option<&NodeIdentity>,
        report: impl FnOnce(&anyhow::Error),
    ) -> Result<SignedRequest> {
        // Changed nodes and addresses take effect only with the next build, because the nodes'
        // image also contains them.
        let built = |recipe: &Recipe| pki::is_of(&self.pki, &pki::ClusterRecord::from(recipe));
        let recipe = self.recipe.current(built, report);
        let node = recipe.nodes.iter().find(|node| node.name == *name);
        let node = node.with_context(|| not_a_node(name, self.recipe.path(), &recipe))?;
        if let Some(fact) = served.and_then(|served| unbuilt(served, node)) {
            return Err(PkiError::NotBuilt {
                folder: self.pki.clone(),
                name: name.clone(),
                fact,
            }
            .into());
        }
        let mut pki = build::open_pki(Opener::Signer, self.recipe.path(), &recipe, &self.pki)?;
        // A build may have ended since the recipe was read.
        pki.check_built(name, node.address)?;
        let has_new_keys = pki.enrol(name, keys, self.first)?;
        let Node::Enrolled(mut document) = nodes::issue(&recipe, &mut pki, node)? else {
            bail!("{name} is enrolled but has no certificates; this is a bug");
        };
        document.release = pki.newest_image_serial()?;
        let files = nodes::documents(&document, pki.signing())?;
        let text = files.into_iter().find(|(name, _)| *name == "node.json");
        let text = text.map(|(_, bytes)| bytes).unwrap_or_default();
        Ok(SignedRequest {
            document: String::from_utf8(text)?,
            has_new_keys,
            events: pki.events().to_vec(),
        })
    }
}

/// Returns a fact about a node that differs between the served output and the recipe. With another
/// address or another machine, the node would refuse its document.
fn unbuilt(served: &NodeIdentity, node: &recipes::recipe::Node) -> Option<UnbuiltFact> {
    if served.address != node.address {
        Some(UnbuiltFact::Address(node.address))
    } else if served.machine != node.machine {
        Some(UnbuiltFact::Machine)
    } else {
        None
    }
}

fn not_a_node(name: &Label, path: &Path, recipe: &Recipe) -> String {
    let nodes: Vec<&str> = recipe.nodes.iter().map(|node| node.name.as_str()).collect();
    format!(
        "{name} is not a node of {}, which contains {}",
        path.display(),
        nodes.join(", ")
    )
}

/// Approves a key, or shows the key that is waiting for approval.
pub(crate) fn approve(options: &ApproveOptions) -> Result<()> {
    let (folder, name) = (&options.folder, &options.name);
    let Some(fingerprint) = options.fingerprint else {
        return print(options, pki::approval_state(folder, name)?);
    };
    let now = OffsetDateTime::now_utc();
    let event = pki::approve(folder, name, fingerprint, now)?;
    event.iter().for_each(console::note);
    print(options, Approval::Approved(fingerprint))
}

fn print(options: &ApproveOptions, approval: Approval) -> Result<()> {
    let text = |approval: &Approval| text(&options.folder, &options.name, *approval);
    Ok(console::report(&approval, options.json, text)?)
}

fn text(folder: &Path, name: &Label, approval: Approval) -> String {
    match approval {
        Approval::Waiting(key) => {
            let hint = pki::approval_hint(folder, name, key);
            format!("{name} is waiting for the approval of the key {key}\n{hint}\n")
        }
        // This command does not read the recipe, and the PKI folder does not record the recipe's
        // `keys`.
        Approval::Approved(key) => format!(
            "{name}: the key {key} is approved. If the recipe has `keys = \"node\"` in [tls], the \
             next request for this key will be signed\n"
        ),
        Approval::None => format!("no key of {name} is waiting for approval\n"),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let limit = REQUEST_LIMIT as u64;
    if path != Path::new("-") {
        return text_file::bytes(path, limit).with_context(|| {
            format!(
                "cannot read {}, which must be the output of `firstboot csr`",
                path.display()
            )
        });
    }
    let mut bytes = Vec::new();
    std::io::stdin().take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    /// Builds a PKI in a folder. Returns the CA and the identity of the only node.
    fn built(folder: &Path) -> (CertificateAuthority, NodeIdentity) {
        let (path, pki) = (folder.join("k.toml"), folder.join("pki"));
        let text = include_str!("../../recipes/single-node.toml");
        std::fs::write(&path, format!("{text}\n[tls]\nkeys = \"node\"\n")).unwrap();
        let recipe = RecipeFile::open(&path).unwrap();
        let built = recipe.current(|_| true, |error| panic!("{error:#}"));
        let node = &built.nodes[0];
        let mut opened = build::open_pki(Opener::Build, &path, &built, &pki).unwrap();
        nodes::issue(&built, &mut opened, node).unwrap();
        drop(opened);
        let identity = NodeIdentity {
            cluster: built.cluster.name.clone(),
            name: node.name.clone(),
            address: node.address,
            machine: node.machine.clone(),
        };
        let ca = CertificateAuthority {
            recipe,
            pki,
            first: FirstKeyPolicy::Any,
        };
        (ca, identity)
    }

    fn answer(ca: &CertificateAuthority, served: &NodeIdentity) -> Result<SignedRequest> {
        let report = |error: &anyhow::Error| panic!("{error:#}");
        ca.answer(&served.name, &PublicKeys::generate(), Some(served), report)
    }

    /// A build records the addresses of its recipe before it replaces the served image.
    #[test]
    fn a_document_never_contradicts_the_served_image() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, served) = built(folder.path());
        let moved = NodeIdentity {
            address: [10, 101, 15, 199].into(),
            ..served.clone()
        };
        // The operator changed `mac` in the recipe, and has not built yet.
        let replaced = NodeIdentity {
            machine: recipes::MachineMatch {
                mac: "52:54:00:00:00:99".parse().ok(),
                ..served.machine.clone()
            },
            ..served.clone()
        };
        for (other, text) in [(moved, "the address"), (replaced, "`mac`")] {
            let error = answer(&ca, &other).unwrap_err();
            assert!(
                matches!(error.downcast_ref(), Some(PkiError::NotBuilt { .. }))
                    && error.to_string().contains(text),
                "{error:#}"
            );
        }
        answer(&ca, &served).unwrap();
        // If the PKI folder has vanished, the server does not create another one.
        std::fs::remove_dir_all(&ca.pki).unwrap();
        let error = answer(&ca, &served).unwrap_err();
        assert!(error.to_string().contains("mount or restore"), "{error:#}");
        assert!(!ca.pki.exists(), "the PKI folder was created");
    }

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_signed_request_and_of_an_approval() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, identity) = built(folder.path());
        let signed = answer(&ca, &identity).unwrap();
        let document: serde_json::Value = serde_json::from_str(&signed.document).unwrap();
        assert_eq!(documented("json.md", "builder pki sign"), keys(&document));
        let approval = Approval::Waiting(Sha256::of(b"key"));
        assert_eq!(
            documented("json.md", "builder pki approve"),
            keys(&approval)
        );
    }

    #[test]
    fn an_approval_promises_a_signature_only_for_keys_of_nodes() {
        let name = "etcd-1".parse().unwrap();
        let key = Sha256::of(b"key");
        let text = text(Path::new("out.pki"), &name, Approval::Approved(key));
        assert_eq!(
            text,
            format!(
                "etcd-1: the key {key} is approved. If the recipe has `keys = \"node\"` in [tls], \
                 the next request for this key will be signed\n"
            )
        );
    }

    #[test]
    fn an_error_names_the_expected_file_and_the_nodes_of_the_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let error = format!("{:#}", read(&gone).unwrap_err());
        assert!(
            error.contains("gone, which must be the output of `firstboot csr`: No such file"),
            "{error}"
        );
        let path = folder.path().join("k.toml");
        let text = include_str!("../../recipes/single-node.toml");
        std::fs::write(&path, format!("{text}\n[tls]\nkeys = \"node\"\n")).unwrap();
        let recipe = RecipeFile::open(&path).unwrap();
        let recipe = recipe.current(|_| true, |error| panic!("{error:#}"));
        let error = not_a_node(&"etcd-7".parse().unwrap(), &path, &recipe);
        assert!(
            error.contains("etcd-7 is not a node of ")
                && error.ends_with("k.toml, which contains etcd-1"),
            "{error}"
        );
    }
}
