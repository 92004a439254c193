//! `builder init`: writes a first recipe with all settings that have no default.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use recipes::recipe::{Address, NetworkRange, SshKey};
use recipes::{Domain, EtcdVersion, Label, Mac, Severity, Sha256};
use serde::Serialize;

use crate::exit::{Exit, exit_error};
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
    /// The network of all nodes, such as 10.0.0.0/22 [default: the /24 of the first node]
    #[arg(long, value_name = "NETWORK")]
    cidr: Option<NetworkRange>,
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

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.address)?;
        self.mac.map_or(Ok(()), |mac| write!(f, ",{mac}"))
    }
}

/// The report of `builder init`.
#[derive(Debug, Serialize)]
struct Written {
    #[serde(serialize_with = "crate::path_text::serialize")]
    recipe: PathBuf,
}

/// Writes the recipe, and checks it as `builder check` does. Removes a recipe that has errors.
pub(crate) fn run(options: &Options) -> Result<()> {
    let text = text(options, &ssh_keys(&options.ssh_keys)?)?;
    check_nodes(&options.nodes, &text)?;
    let path = options.recipe.display();
    let extension = options.recipe.extension().unwrap_or_default();
    ensure!(
        extension.eq_ignore_ascii_case("toml"),
        "{path}: the name of a recipe must end with .toml; name another file with --recipe"
    );
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&options.recipe);
    let mut file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            anyhow!("{path} already exists: remove the file, or name another file with --recipe")
        }
        _ => anyhow!(error).context(format!("cannot write {path}")),
    })?;
    let done = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    if let Err(error) = done {
        // The disk may be full. The next attempt must not find an incomplete recipe.
        let _ = fs::remove_file(&options.recipe);
        return Err(anyhow!(error).context(format!("cannot write {path}")));
    }
    if let Err(error) = check::checked_recipe(&options.recipe, false) {
        fs::remove_file(&options.recipe).with_context(|| format!("cannot remove {path}"))?;
        return Err(error.context("no recipe was written"));
    }
    let written = Written {
        recipe: options.recipe.clone(),
    };
    Ok(console::report(&written, options.json, |_| {
        format!("{path}: written. Next: run `builder check {path}`, then `builder build {path}`\n")
    })?)
}

/// Refuses nodes that would cause errors in the recipe, which is not yet written. The error names
/// the arguments, because the user has never seen the recipe.
fn check_nodes(nodes: &[Node], recipe: &str) -> Result<()> {
    let findings = recipes::recipe::read(recipe).findings.into_iter();
    let errors = findings.filter(|finding| finding.severity == Severity::Error);
    let errors: Vec<String> = errors
        .map(|error| {
            let before = &recipe[..error.span.start];
            let is_about_node = !before.contains("\n[etcd]\n");
            let count = before.matches("[[node]]\n").count();
            let node = nodes.get(count.wrapping_sub(1)).filter(|_| is_about_node);
            let argument = node.map(|node| format!("the argument `{node}`: "));
            let help = error.help.map(|help| format!("; {help}"));
            format!(
                "{}{}{}",
                argument.unwrap_or_default(),
                error.message,
                help.unwrap_or_default()
            )
        })
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    let message = format!("{}\nno recipe was written", errors.join("\n"));
    Err(exit_error(Exit::Recipe, message))
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
    if let Some(known) = release::known(version).filter(|known| *known != sha256) {
        let message = format!(
            "the argument of --sha256 is not the digest of etcd {version}, which is {known}; no \
             recipe was written"
        );
        return Err(exit_error(Exit::Recipe, message));
    }
    let Options { name, domain, .. } = options;
    let mut parts = vec![
        "# docs/recipe.md describes all other keys and their defaults.\n".to_owned(),
        format!("[cluster]\nname = \"{name}\"\ndomain = \"{domain}\"\n"),
    ];
    if let Some(NetworkRange(cidr)) = options.cidr {
        parts.push(format!("[network]\ncidr = \"{cidr}\"\n"));
    }
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
mod tests;
