//! `builder init`: a first recipe, with all that has no default.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use recipes::{Domain, EtcdVersion, Label, Mac, Sha256};

use crate::{check, release, say};

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The file to write; one that is there is left as it is
    #[arg(long, value_name = "FILE", default_value = "recipe.toml")]
    recipe: PathBuf,
    /// The cluster's name
    #[arg(long, default_value = "etcd")]
    name: Label,
    /// The domain of the nodes' full names
    #[arg(long, default_value = "cluster.local")]
    domain: Domain,
    /// The version of etcd [default: the newest whose digest is known here]
    #[arg(long, value_name = "VERSION")]
    etcd: Option<EtcdVersion>,
    /// The digest of its tarball for linux-amd64, where that is not known here
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<Sha256>,
    /// Each node: its name and address, and the MAC address of its card, as in etcd-1=10.0.0.11,52:54:00:00:00:11
    #[arg(required = true, value_name = "NAME=ADDRESS[,MAC]")]
    nodes: Vec<Node>,
}

/// A node on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    name: Label,
    address: Ipv4Addr,
    mac: Option<Mac>,
}

impl FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, place) = text.split_once('=').ok_or("expected NAME=ADDRESS or NAME=ADDRESS,MAC")?;
        let (address, mac) = place.split_once(',').map_or((place, None), |(address, mac)| (address, Some(mac)));
        Ok(Self {
            name: name.parse().map_err(|error: recipes::name::NameError| error.to_string())?,
            address: address.parse().map_err(|_| format!("`{address}` is no IPv4 address"))?,
            mac: mac.map(str::parse).transpose().map_err(|error| format!("{error}"))?,
        })
    }
}

/// Writes it, and checks it as `builder check` does.
pub(crate) fn run(options: &Options) -> Result<()> {
    let text = text(options)?;
    let path = options.recipe.display();
    let file = OpenOptions::new().write(true).create_new(true).open(&options.recipe);
    let mut file = file.with_context(|| format!("cannot write {path}: remove it, or name another by --recipe"))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(|| format!("cannot write {path}"))?;
    if let Err(error) = check::recipe(&options.recipe, false) {
        fs::remove_file(&options.recipe).with_context(|| format!("cannot remove {path}"))?;
        return Err(error);
    }
    Ok(say::result(format!("{path}: written. Next: `builder check {path}`, `builder build {path}`\n"))?)
}

fn text(options: &Options) -> Result<String> {
    let version = options.etcd.unwrap_or_else(release::newest_known);
    let sha256 = options.sha256.or_else(|| release::known(version)).with_context(|| {
        format!(
            "the digest of etcd {version} is not known here: give it by --sha256, from upstream's SHA256SUMS for \
             etcd-v{version}-linux-amd64.tar.gz"
        )
    })?;
    let Options { name, domain, .. } = options;
    let mut parts = vec![
        "# Every other key, and its default: docs/recipe.md.\n".to_owned(),
        format!("[cluster]\nname = \"{name}\"\ndomain = \"{domain}\"\n"),
    ];
    parts.extend(options.nodes.iter().map(|Node { name, address, mac }| {
        let mac = mac.map_or_else(String::new, |mac| format!("mac = \"{mac}\"\n"));
        format!("[[node]]\nname = \"{name}\"\naddress = \"{address}\"\n{mac}")
    }));
    parts.push(format!("[etcd]\nversion = \"{version}\"\nsha256 = \"{sha256}\"\n"));
    Ok(parts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(nodes: &[&str]) -> Options {
        Options {
            recipe: "recipe.toml".into(),
            name: "prod".parse().unwrap(),
            domain: "example.com".parse().unwrap(),
            etcd: None,
            sha256: None,
            nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn what_is_written_is_a_recipe_of_these_nodes() {
        let text =
            text(&options(&["etcd-1=10.0.0.11,52-54-00-00-00-11", "etcd-2=10.0.0.12", "etcd-3=10.0.0.13"])).unwrap();
        let reading = recipes::recipe::read(&text);
        assert!(reading.findings.is_empty(), "{:?}\n{text}", reading.findings);
        let recipe = reading.recipe.unwrap();
        assert_eq!(recipe.nodes.len(), 3);
        assert_eq!(recipe.nodes[0].machine.mac, "52:54:00:00:00:11".parse().ok());
        assert_eq!(release::known(recipe.etcd.settings.version), Some(recipe.etcd.sha256));
    }

    #[test]
    fn a_version_of_unknown_digest_needs_it_said() {
        let unknown = Options { etcd: "3.5.1".parse().ok(), ..options(&["a=10.0.0.1"]) };
        assert!(text(&unknown).unwrap_err().to_string().contains("--sha256"));
        assert!(
            text(&Options { sha256: "7".repeat(64).parse().ok(), ..unknown }).unwrap().contains("version = \"3.5.1\"")
        );
    }

    #[test]
    fn a_node_that_is_none_is_named() {
        for (text, words) in [
            ("etcd-1", "NAME=ADDRESS"),
            ("etcd_1=10.0.0.1", "`_` is not allowed"),
            ("a=10.0.0", "`10.0.0` is no IPv4 address"),
            ("a=10.0.0.1,52:54", "no MAC address"),
        ] {
            let error = text.parse::<Node>().unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
