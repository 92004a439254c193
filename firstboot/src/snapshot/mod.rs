//! Snapshots: files that hold all that a cluster holds. One that exists is good.

mod boot;
mod schema;
pub(crate) mod verify;

use anyhow::Result;

use crate::exit::Exit;

/// What the command line says.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_required = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check a snapshot, byte by byte and page by page; needs no cluster
    Verify(verify::Options),
}

/// Does what the command line says.
pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    match &options.command {
        Command::Verify(options) => verify::run(options),
    }
}
