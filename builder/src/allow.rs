//! `builder allow`: permits `builder serve` to reinstall a machine, or to hand out its document
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
    /// The names of the nodes
    #[arg(required_unless_present = "all", value_name = "NAME")]
    nodes: Vec<Label>,
    /// Apply to all nodes of the output. With --install, only to those without a record
    #[arg(long, conflicts_with = "nodes")]
    all: bool,
    /// Install the machine at its next network boot, which erases its disk. Implies --document
    #[arg(long)]
    install: bool,
    /// Allow the machine to fetch its document again
    #[arg(long)]
    document: bool,
    /// The output that `builder serve` serves
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// The folder of the server's records [default: OUT.state]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// Records the permission. It applies to a running server immediately.
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
            "warning: {} is not the record that the cluster's first build began: is this the \
             server's folder (--state)?",
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
            console::result(format!(
                "{name}: the machine may fetch its document again\n"
            ))?;
        }
    }
    Ok(())
}

/// Allows the installation of a node. `--all` covers only the nodes without a record: an operator
/// may repeat the command from the shell's history when the cluster is already running.
fn install(record: &Record, name: &Label, all: bool) -> Result<String> {
    let known = all && (record.installation(name)?.is_some() || record.delivery(name)?.is_some());
    if known {
        return Ok(format!(
            "unchanged, because it has a record; run `builder allow {name} --install` to reinstall \
             it"
        ));
    }
    record.put_installation(name, &Installation::allowed())?;
    Ok("will be installed at its next network boot, which erases its disk".to_owned())
}
