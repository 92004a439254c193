//! `builder init`: writes a first recipe with all settings that have no default.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use recipes::recipe::{Address, SshKey};
use recipes::{Domain, EtcdVersion, Label, Mac, Sha256};
use serde::Serialize;

use crate::{check, console, release, text_file};

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The file to write; an existing file is never overwritten
    #[arg(long, value_name = "FILE", default_value = "recipe.toml")]
    recipe: PathBuf,
    /// The name of the cluster
    #[arg(long, default_value = "etcd")]
    name: Label,
    /// The domain of the nodes' full names
    #[arg(long, default_value = "cluster.local")]
    domain: Domain,
    /// The version of etcd [default: the newest version in the builder's table of digests]
    #[arg(long, value_name = "VERSION")]
    etcd: Option<EtcdVersion>,
    /// The SHA-256 digest of etcd's linux-amd64 tarball, required if the builder's table does not
    /// contain the version
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<Sha256>,
    /// Allow root logins with the public SSH keys in this file, such as ~/.ssh/id_ed25519.pub. Can
    /// be repeated
    #[arg(long = "ssh-key", value_name = "FILE")]
    ssh_keys: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The name, the address and optionally the MAC address of each node, such as
    /// etcd-1=10.0.0.11,52:54:00:00:00:11
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
        let (name, place) = text
            .split_once('=')
            .ok_or("expected NAME=ADDRESS or NAME=ADDRESS,MAC")?;
        let (address, mac) = place
            .split_once(',')
            .map_or((place, None), |(address, mac)| (address, Some(mac)));
        Ok(Self {
            name: name
                .parse()
                .map_err(|error: recipes::name::NameError| error.to_string())?,
            address: address
                .parse::<Address>()
                .map_err(|error| format!("`{address}`: {error}"))?
                .0,
            mac: mac
                .map(str::parse)
                .transpose()
                .map_err(|error| format!("{error}"))?,
        })
    }
}

/// The report of `builder init`.
#[derive(Debug, Serialize)]
struct Written {
    recipe: PathBuf,
}

/// Writes the recipe, and checks it as `builder check` does. Removes a recipe that has errors.
pub(crate) fn run(options: &Options) -> Result<()> {
    let text = text(options, &ssh_keys(&options.ssh_keys)?)?;
    let path = options.recipe.display();
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&options.recipe);
    let mut file = file.with_context(|| {
        format!("cannot write {path}: if the file exists, remove the file, or name another file with --recipe")
    })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {path}"))?;
    if let Err(error) = check::checked_recipe(&options.recipe, false) {
        fs::remove_file(&options.recipe).with_context(|| format!("cannot remove {path}"))?;
        return Err(error);
    }
    let written = Written {
        recipe: options.recipe.clone(),
    };
    Ok(console::report(&written, options.json, |_| {
        format!("{path}: written. Next: run `builder check {path}`, then `builder build {path}`\n")
    })?)
}

/// Reads the keys from these files, without duplicates.
fn ssh_keys(files: &[PathBuf]) -> Result<Vec<SshKey>> {
    let mut keys = Vec::new();
    for file in files {
        for key in keys_in(file)? {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    Ok(keys)
}

/// Reads the keys from a `.pub` file or an `authorized_keys` file, which has one key per line.
/// Empty lines and comments are allowed.
fn keys_in(file: &Path) -> Result<Vec<SshKey>> {
    let text = text_file::read(file, "a public SSH key such as ~/.ssh/id_ed25519.pub")?;
    let shown = file.display();
    // Check the whole file first, because only the first line of a private key shows that it is a
    // private key.
    if text.contains("PRIVATE KEY-----") || text.starts_with("PuTTY-User-Key-File-") {
        bail!(
            "{shown} is a private key, which must stay secret: name the file of the public key, \
             which ends with .pub"
        );
    }
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.parse() {
            Ok(key) => keys.push(key),
            Err(error) => bail!("{shown}:{}: not a public SSH key: {error}", number + 1),
        }
    }
    if keys.is_empty() {
        bail!(
            "{shown} has no public SSH key: name a file with a line such as `ssh-ed25519 AAAA… \
             me@example.com`"
        );
    }
    Ok(keys)
}

fn text(options: &Options, ssh_keys: &[SshKey]) -> Result<String> {
    let version = options.etcd.unwrap_or_else(release::newest_known);
    let sha256 = options.sha256.or_else(|| release::known(version)).with_context(|| {
        format!(
            "the builder's table does not contain the digest of etcd {version}: set --sha256 to \
             the digest of etcd-v{version}-linux-amd64.tar.gz in upstream's SHA256SUMS"
        )
    })?;
    let Options { name, domain, .. } = options;
    let mut parts = vec![
        "# docs/recipe.md describes all other keys and their defaults.\n".to_owned(),
        format!("[cluster]\nname = \"{name}\"\ndomain = \"{domain}\"\n"),
    ];
    parts.extend(options.nodes.iter().map(|Node { name, address, mac }| {
        let mac = mac.map_or_else(String::new, |mac| format!("mac = \"{mac}\"\n"));
        format!("[[node]]\nname = \"{name}\"\naddress = \"{address}\"\n{mac}")
    }));
    parts.push(format!(
        "[etcd]\nversion = \"{version}\"\nsha256 = \"{sha256}\"\n"
    ));
    if !ssh_keys.is_empty() {
        // A JSON string without control characters is also a TOML string.
        let lines: Vec<String> = ssh_keys
            .iter()
            .map(|key| format!("    {},\n", serde_json::Value::from(key.to_string())))
            .collect();
        parts.push(format!("[install]\nssh-keys = [\n{}]\n", lines.concat()));
    }
    Ok(parts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A public key that `ssh-keygen` 9.2 generated.
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG9B4rFIiw+jpESNIw+TajrS8TLG4p+A6N0NGinRRdn1";

    fn options(nodes: &[&str]) -> Options {
        Options {
            recipe: "recipe.toml".into(),
            name: "prod".parse().unwrap(),
            domain: "example.com".parse().unwrap(),
            etcd: None,
            sha256: None,
            json: false,
            ssh_keys: Vec::new(),
            nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn the_recipe_has_these_nodes_and_keys_and_no_findings() {
        let keys = [KEY.to_owned(), format!("{KEY} Jane \"of\" C:\\ops")]
            .map(|key| key.parse::<SshKey>().unwrap());
        let nodes = [
            "etcd-1=10.0.0.11,52-54-00-00-00-11",
            "etcd-2=10.0.0.12",
            "etcd-3=10.0.0.13",
        ];
        let text = text(&options(&nodes), &keys).unwrap();
        let reading = recipes::recipe::read(&text);
        assert!(
            reading.findings.is_empty(),
            "{:?}\n{text}",
            reading.findings
        );
        let recipe = reading.recipe.unwrap();
        assert_eq!(recipe.nodes.len(), 3);
        assert_eq!(
            recipe.nodes[0].machine.mac,
            "52:54:00:00:00:11".parse().ok()
        );
        assert_eq!(recipe.install.ssh_keys, keys);
        assert_eq!(
            release::known(recipe.etcd.settings.version),
            Some(recipe.etcd.sha256)
        );
    }

    #[test]
    fn without_a_key_the_only_finding_is_that_no_one_can_log_in() {
        let text = text(&options(&["etcd-1=10.0.0.11"]), &[]).unwrap();
        let reading = recipes::recipe::read(&text);
        let [finding] = reading.findings.as_slice() else {
            panic!("{:?}\n{text}", reading.findings)
        };
        assert!(finding.message.contains("no one can log in"), "{finding:?}");
        assert!(
            finding.help.as_ref().unwrap().contains("--ssh-key FILE"),
            "{finding:?}"
        );
        assert!(reading.recipe.is_some());
    }

    #[test]
    fn a_key_in_several_files_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let one = file("id.pub", &format!("{KEY} me\r\n"));
        let more = file(
            "authorized_keys",
            &format!("# operators\n\n{KEY} me\n{KEY} you\n"),
        );
        let keys: Vec<String> = ssh_keys(&[one, more])
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(keys, [format!("{KEY} me"), format!("{KEY} you")]);
    }

    #[test]
    fn a_file_without_a_public_key_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        for (text, words) in [
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n",
                "id is a private key, which must stay secret",
            ),
            (
                "PuTTY-User-Key-File-3: ssh-ed25519\n",
                "id is a private key",
            ),
            (
                &format!("{KEY} me\n{} me\n", &KEY[..KEY.len() - 8]),
                "id:2: not a public SSH key: the key after",
            ),
            (
                "ssh-dss AAAAB3 me\n",
                "id:1: not a public SSH key: expected a line from a .pub file",
            ),
            ("# nothing\n", "id has no public SSH key"),
        ] {
            fs::write(&path, text).unwrap();
            let error = ssh_keys(std::slice::from_ref(&path))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(words) && !error.contains("b3Blbn"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_version_with_an_unknown_digest_requires_the_sha256_option() {
        let unknown = Options {
            etcd: "3.5.1".parse().ok(),
            ..options(&["a=10.0.0.1"])
        };
        assert!(
            text(&unknown, &[])
                .unwrap_err()
                .to_string()
                .contains("--sha256")
        );
        let given = Options {
            sha256: "7".repeat(64).parse().ok(),
            ..unknown
        };
        assert!(text(&given, &[]).unwrap().contains("version = \"3.5.1\""));
    }

    #[test]
    fn an_invalid_node_is_refused_with_its_fault() {
        for (text, words) in [
            ("etcd-1", "NAME=ADDRESS"),
            ("etcd_1=10.0.0.1", "`_` is not allowed"),
            ("a=10.0.0", "`10.0.0`: expected an IPv4 address"),
            ("a=10.0.0.1:2379", "without a port"),
            ("a=10.0.0.1,52:54", "not a MAC address"),
        ] {
            let error = text.parse::<Node>().unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
