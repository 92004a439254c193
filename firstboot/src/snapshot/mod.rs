//! Takes and manages snapshots. A snapshot is a file or an object that contains all of a cluster's
//! data. A snapshot that has its final name is complete and has been checked.
//!
//! `command` chooses a member (`source`, `choose`) and compares its data with the data of the other
//! members (`member_comparison`). `take` receives the snapshot (`receive`) and checks its pages
//! (`examine`). Only after these checks does the snapshot get its name (`target`) and its
//! `manifest`. A `store` is a folder (`dir_store`) or a `bucket`; `list` shows the snapshots in a
//! store, and `prune` deletes old ones. `scheduled` ensures that the members take one snapshot for
//! each slot of the schedule. `encode` compresses a snapshot and encrypts it with `age`; `decode`
//! decrypts and decompresses it.

mod age;
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
mod growing_file;
pub(crate) mod list;
mod listed;
pub(crate) mod manifest;
mod member_comparison;
mod prune;
mod receive;
pub(crate) mod remote;
pub(crate) mod scheduled;
mod schema;
mod source;
mod store;
mod store_error;
mod take;
mod target;
mod trial_start;
mod upload;
mod verify;

use std::future::Future;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;

/// The command line of `firstboot snapshot`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 the snapshot is taken and checked; 1 failed; 3 refused; 4 not ready, try again; \
        5 the snapshot is taken, but the members' data differs.\n\n\
        Environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN for s3:// (default: \
        /etc/firstboot/s3-keys).\n\n\
        Examples:\n  firstboot snapshot\n  firstboot snapshot --from-any /root/\n  \
        firstboot snapshot --json s3://backups/etcd/"
)]
pub(crate) struct Options {
    #[command(flatten)]
    take: command::Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check every byte and every page of a snapshot, without a cluster
    Verify(verify::Options),
    /// List the snapshots in a folder or bucket
    List(list::Options),
    /// Delete snapshots that the retention policy of the recipe no longer keeps
    Prune(prune::Options),
}

impl Options {
    /// Returns whether to print a failure as JSON.
    pub(crate) fn prints_json(&self) -> bool {
        match &self.command {
            None => self.take.json,
            Some(Command::List(options)) => options.json,
            Some(Command::Verify(options)) => options.json,
            Some(Command::Prune(options)) => options.json,
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    match &options.command {
        None => interruptible(command::run(&options.take)),
        Some(Command::Verify(options)) => verify::run(options),
        Some(Command::List(options)) => {
            interruptible(async { list::run(options).await.map(|()| None) })
        }
        Some(Command::Prune(options)) => {
            interruptible(async { prune::run(options).await.map(|()| None) })
        }
    }
}

/// Runs the work until it ends or a signal interrupts it. After a signal, deletes partial files and
/// ends the program with the signal's exit code.
fn interruptible(work: impl Future<Output = Result<Option<Exit>>>) -> Result<Option<Exit>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
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
        cleanup::wait().await;
        ended
    });
    // Do not wait for other threads, because they end when the program exits. After an
    // interruption, the files to which they write have already been deleted.
    runtime.shutdown_background();
    match outcome? {
        Ok(exit) => Ok(exit),
        Err(code) => {
            eprintln!("firstboot: interrupted; the partial files were removed");
            std::process::exit(code)
        }
    }
}
