//! `builder allow`: permits `builder serve` to install a machine again, or to hand out its document
//! again.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use recipes::Label;

use crate::console;
use crate::serve::Cluster;
use crate::serve::record::{self, DocumentDelivery, Installation, Record};

/// The command-line options.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["install", "document"]))]
pub(crate) struct Options {
    /// The nodes
    #[arg(required_unless_present = "all", value_name = "NAME")]
    nodes: Vec<Label>,
    /// All nodes of the output. With --install, only those without a record
    #[arg(long, conflicts_with = "nodes")]
    all: bool,
    /// Install the machine at its next boot from the network, which wipes its disk. Includes
    /// --document
    #[arg(long)]
    install: bool,
    /// Allow the machine to fetch its document again
    #[arg(long)]
    document: bool,
    /// The served output
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// The folder of the server's records [default: OUT.state]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// Records the permission. A running server takes it into account at once.
pub(crate) fn run(options: &Options) -> Result<()> {
    let out = options.out.canonicalize().with_context(|| {
        format!(
            "cannot open `{}`, which must be a folder that `builder build --out` has written",
            options.out.display()
        )
    })?;
    let state = record::folder(options.state.as_deref(), &out)?;
    let cluster = Cluster::read(&out, &state)?;
    let known: Vec<Label> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let names = if options.all { &known } else { &options.nodes };
    for name in names {
        let all: Vec<&str> = known.iter().map(Label::as_str).collect();
        ensure!(
            cluster.node(name.as_str()).is_some(),
            "{name} is not a node of {}, which has {}",
            out.display(),
            all.join(", ")
        );
    }
    if !cluster.record.is_complete() {
        console::note(format!(
            "warning: {} is not the record that the cluster's first build began: is it the one that the server has (--state)?",
            cluster.record.folder().display()
        ));
    }
    let _lock = cluster.record.lock()?;
    for name in names {
        if options.install {
            console::result(format!(
                "{name}: {}\n",
                install(&cluster.record, name, options.all)?
            ))?;
        }
        if options.document {
            cluster
                .record
                .put_delivery(name, &DocumentDelivery::allowed())?;
            console::result(format!("{name}: its document is handed out again\n"))?;
        }
    }
    Ok(())
}

/// Allows the installation of a node. `--all` covers only the nodes without a record, because an
/// operator types it for a new cluster and may later find it in the shell's history while the
/// cluster is running.
fn install(record: &Record, name: &Label, all: bool) -> Result<String> {
    let known = all && (record.installation(name)?.is_some() || record.delivery(name)?.is_some());
    if known {
        return Ok(format!(
            "unchanged, because it has a record; `builder allow {name} --install` installs it again"
        ));
    }
    record.put_installation(name, &Installation::allowed())?;
    Ok("installed at its next boot from the network, which wipes its disk".to_owned())
}
