//! `builder pki assign`: assigns a PKI folder to another cluster, or to the same cluster with new
//! names or addresses.

use std::path::PathBuf;

use anyhow::Result;
use time::OffsetDateTime;

use crate::{check, console, pki};

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder of the cluster's certificates and keys
    folder: PathBuf,
    /// The recipe of the cluster
    recipe: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Records that the folder belongs to the recipe's cluster.
pub(crate) fn run(options: &Options) -> Result<()> {
    let recipe = check::checked_recipe(&options.recipe, false)?.recipe;
    let event = pki::assign(
        &options.folder,
        &pki::ClusterRecord::from(&recipe),
        OffsetDateTime::now_utc(),
    )?;
    Ok(console::report(&event, options.json, |event| {
        format!("{event}\n")
    })?)
}
