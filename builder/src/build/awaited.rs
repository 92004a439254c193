//! Reports what an operator must do after a build if the nodes generate their own keys.

use std::path::Path;

use anyhow::Result;
use recipes::Recipe;

use crate::nodes::Node;
use crate::pki::Pki;
use crate::release::Progress;

/// Reports the nodes that have no certificates yet, and warns if the PKI folder contains the object
/// store's credentials but the node documents do not. The paths are the output, the PKI folder and
/// the recipe of the build.
pub(super) fn report(
    paths: [&Path; 3],
    recipe: &Recipe,
    pki: &Pki,
    nodes: &[Node],
    progress: &dyn Progress,
) -> Result<()> {
    if recipe.tls.keys.is_document() {
        return Ok(());
    }
    let awaited: Vec<&str> = nodes
        .iter()
        .filter_map(|node| match node {
            Node::Awaited(identity) => Some(identity.name.as_str()),
            Node::Enrolled(_) => None,
        })
        .collect();
    if !awaited.is_empty() {
        progress.say(&no_certificates(recipe, &awaited, paths));
    }
    if pki.store_keys()?.is_some() {
        progress.say(
            "warning: the node documents do not contain the object store's credentials, because \
             the documents may be public if keys = \"node\". Write the credentials to \
             /etc/firstboot/s3-keys on each node, with mode 0600",
        );
    }
    Ok(())
}

/// Explains how the nodes without certificates get their certificates. The paths are the output,
/// the PKI folder and the recipe of the build.
fn no_certificates(recipe: &Recipe, awaited: &[&str], [out, pki, file]: [&Path; 3]) -> String {
    let awaited = awaited.join(", ");
    match &recipe.tls.enrol {
        Some(url) => format!(
            "no certificates yet for {awaited}: each node requests them from {url} when it boots. \
             To sign these requests, run `builder serve {} --pki {} --recipe {}`",
            out.display(),
            pki.display(),
            file.display()
        ),
        None => format!(
            "no certificates yet for {awaited}: run `firstboot csr` on each node, and sign the \
             requests with `builder pki sign`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_starts_the_server_if_the_recipe_names_it_and_otherwise_signs_the_requests() {
        let text = |tls: &str| {
            let text = include_str!("../../../recipes/single-node.toml");
            let recipe = recipes::recipe::read(&format!("{text}\n[tls]\nkeys = \"node\"\n{tls}"));
            let recipe = recipe.recipe.unwrap();
            let paths = ["out", "out.pki", "recipe.toml"].map(Path::new);
            no_certificates(&recipe, &["etcd-1", "etcd-2"], paths)
        };
        let by_hand = text("");
        assert!(
            by_hand.contains("etcd-1, etcd-2: run `firstboot csr`")
                && by_hand.contains("`builder pki sign`"),
            "{by_hand}"
        );
        let by_server = text("enrol = \"https://10.0.0.5:8443/\"\n");
        assert!(
            by_server.contains("from https://10.0.0.5:8443/ when it boots")
                && by_server.contains("`builder serve out --pki out.pki --recipe recipe.toml`")
                && !by_server.contains("pki sign"),
            "{by_server}"
        );
    }
}
