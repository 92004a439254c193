//! `builder allow`: permits `builder serve` to install a node's machine, or to hand out the node's
//! document again.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use recipes::Label;
use serde::Serialize;

use crate::console;
use crate::serve::ServedCluster;
use crate::serve::record::{self, DocumentDelivery, Installation, Record};

/// The command-line options.
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["install", "document"]))]
pub(crate) struct Options {
    /// The names of the nodes
    #[arg(required_unless_present = "all", value_name = "NAME")]
    nodes: Vec<Label>,
    /// Apply to all nodes in the output; --install skips the nodes that have a record
    #[arg(long, conflicts_with = "nodes")]
    all: bool,
    /// Install the machine at its next network boot. The installation erases the machine's disk.
    /// `builder serve --power` boots the machine from the network immediately. Implies --document
    #[arg(long)]
    install: bool,
    /// Allow the machine to fetch its document again
    #[arg(long)]
    document: bool,
    /// The output that `builder serve` serves
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// The folder that contains the server's records [default: OUT.state]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The permissions of one node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Permission {
    node: Label,
    /// Whether the machine may be installed. The value is `None` without `--install`, and false if
    /// `--all` skips the node because the node has a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    install: Option<bool>,
    /// Whether `--document` allows the node to fetch its document again.
    document: bool,
}

/// Records the permissions. A running server applies the permissions immediately.
pub(crate) fn run(options: &Options) -> Result<()> {
    let out = options.out.canonicalize().with_context(|| {
        format!(
            "cannot open `{}`, which must be a folder that `builder build --out` has written",
            options.out.display()
        )
    })?;
    let state = record::folder(options.state.as_deref(), &out)?;
    let cluster = ServedCluster::read(&out, &state)?;
    let known: Vec<Label> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let names = if options.all { &known } else { &options.nodes };
    for name in names {
        let all: Vec<&str> = known.iter().map(Label::as_str).collect();
        ensure!(
            cluster.node(name.as_str()).is_some(),
            "{name} is not a node of {}, which contains {}",
            out.display(),
            all.join(", ")
        );
    }
    if !cluster.record.is_complete() {
        let folder = cluster.record.folder().display();
        let wrong = format!("{folder} is not the record that the cluster's first build created");
        // Without the record of the first build, every node looks like a new node.
        ensure!(
            !(options.all && options.install),
            "{wrong}, so it does not show which machines are members of a running cluster. Name \
             the server's folder with --state, or name each machine whose disk may be erased"
        );
        console::note(format!(
            "warning: {wrong}: check that --state names the server's folder"
        ));
    }
    let _lock = cluster.record.lock()?;
    let permissions: Vec<Permission> = names
        .iter()
        .map(|name| permission(options, &cluster.record, name))
        .collect::<Result<_>>()?;
    for (number, permission) in permissions.iter().enumerate() {
        if let Err(error) = record_permission(&cluster.record, permission) {
            // The permissions that were recorded before the error are already in effect.
            for done in &permissions[..number] {
                console::note(text(done).trim_end());
            }
            return Err(error.context(format!("cannot permit {}", permission.node)));
        }
    }
    Ok(console::report(
        permissions.as_slice(),
        options.json,
        |permissions| permissions.iter().map(text).collect(),
    )?)
}

fn text(permission: &Permission) -> String {
    let name = &permission.node;
    let mut text = match permission.install {
        None => String::new(),
        Some(true) => {
            format!("{name}: will be installed at its next network boot, which erases its disk\n")
        }
        Some(false) => format!(
            "{name}: unchanged, because it has a record; run `builder allow {name} --install` to \
             reinstall it\n"
        ),
    };
    if permission.document {
        text.push_str(name.as_str());
        text.push_str(": its document can be fetched again\n");
    }
    text
}

/// Reads the record of a node, and decides what to permit. The caller reads all records before it
/// writes any, so that a damaged record of one node prevents all permissions. `--all` covers only
/// nodes without a record, because an operator might repeat the command from the shell's history
/// while the cluster is running.
fn permission(options: &Options, record: &Record, name: &Label) -> Result<Permission> {
    let is_skipped = options.all
        && options.install
        && (record.installation(name)?.is_some() || record.delivery(name)?.is_some());
    Ok(Permission {
        node: name.clone(),
        install: options.install.then_some(!is_skipped),
        document: options.document,
    })
}

fn record_permission(record: &Record, permission: &Permission) -> Result<()> {
    let name = &permission.node;
    if permission.install == Some(true) {
        record.put_installation(name, &Installation::allowed())?;
    }
    if permission.document {
        record.put_delivery(name, &DocumentDelivery::allowed())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_permission() {
        let permission = Permission {
            node: "etcd-1".parse().unwrap(),
            install: Some(true),
            document: false,
        };
        assert_eq!(documented("json.md", "builder allow"), keys(&permission));
    }
}
