//! Snapshots: files that hold all that a cluster holds. One that exists is good.
//!
//! `command` chooses a member (`source`, `choose`) and compares it with the others (`agreement`). `take` receives the
//! snapshot (`receive`), walks its pages (`examine`), and only then gives it its name (`target`) and its `manifest`. A
//! `store` is a folder (`dir_store`) or a `bucket`; `list` and `prune` read it, and `scheduled` makes the members take
//! one snapshot for each slot of the schedule. `encode` compresses a snapshot and encrypts it by `age`; `decode`
//! reverses that.

mod age;
mod agreement;
mod background_sync;
mod bucket;
mod choose;
mod cleanup;
mod command;
mod credentials;
pub(crate) mod decode;
mod dir_store;
mod encode;
pub(crate) mod examine;
pub(crate) mod list;
mod listed;
pub(crate) mod manifest;
mod prune;
mod receive;
pub(crate) mod remote;
pub(crate) mod scheduled;
mod schema;
mod source;
mod spool_tee;
mod store;
mod take;
mod target;
mod trial_start;
mod upload;
mod verify;

use std::future::Future;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;

/// What the command line says.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(flatten)]
    take: command::Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check a snapshot, byte by byte and page by page; needs no cluster
    Verify(verify::Options),
    /// Show the snapshots that lie at a place
    List(list::Options),
    /// Remove the snapshots that the recipe does not keep
    Prune(prune::Options),
}

/// Does what the command line says.
pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    match &options.command {
        None => interruptible(command::run(&options.take)),
        Some(Command::Verify(options)) => verify::run(options),
        Some(Command::List(options)) => interruptible(async { list::run(options).await.map(|()| None) }),
        Some(Command::Prune(options)) => interruptible(async { prune::run(options).await.map(|()| None) }),
    }
}

/// Does some work until it is done, or until a signal says to stop: then what was half-made is gone, and the program
/// ends with the signal's code.
fn interruptible(work: impl Future<Output = Result<Option<Exit>>>) -> Result<Option<Exit>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let ended = tokio::select! {
            done = work => done.map(Ok),
            _ = interrupt.recv() => Ok(Err(130)),
            _ = terminate.recv() => Ok(Err(143)),
            _ = hangup.recv() => Ok(Err(129)),
        };
        cleanup::done().await;
        ended
    });
    // Work of other threads ends with the program; its files are gone with the future that was dropped.
    runtime.shutdown_background();
    match outcome? {
        Ok(exit) => Ok(exit),
        Err(code) => {
            eprintln!("firstboot: stopped; what was half-made is removed");
            std::process::exit(code)
        }
    }
}
