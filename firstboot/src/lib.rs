//! Turns a machine installed from the image into an etcd member.
//!
//! `run` is the flow, from top to bottom:
//! - `node` finds out which node this machine is, with `image_integrity`, `machine`, `metadata` and `identity`;
//! - `steps` say what is missing on the host, and `change` makes it;
//! - `duplicate` looks for a second machine with the same identity;
//! - `barrier` makes sure that a cluster begins only once, and `rebuild` returns a node with a new disk to its cluster;
//! - `data` judges etcd's data, and `guard` does so each time etcd starts;
//! - `health` waits until etcd is a healthy member, and `rotation` replaces a CA.
//!
//! `update` takes over a newer image. `restore`, `leave`, `rejoin`, `exclude` and `accept_data` are the operator's orders. `status` shows the cluster,
//! `explain` the journal, and `snapshot` takes, checks and keeps snapshots. `exec` confines etcd to the system calls
//! that it needs.
//!
//! Below them, `journal` records every decision before firstboot acts on it, `membership` queries the other members,
//! and `domain` has the terms that all of these share. `files`, `systemd` and `etcd` are the only doors to the disk, to
//! systemd and to etcd.

// Tests put damaged files there on purpose.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod accept_data;
mod backoff;
mod barrier;
mod certificates;
mod change;
mod compare;
mod data;
mod diagnosis;
mod domain;
mod duplicate;
mod etcd;
mod exclude;
mod exec;
mod exit;
mod explain;
mod files;
mod guard;
mod health;
#[cfg(test)]
mod idempotence_tests;
mod identity;
mod image_integrity;
mod interface;
mod journal;
mod leave;
mod lock;
mod machine;
mod membership;
mod metadata;
mod node;
mod operator;
mod output;
mod paths;
mod rebuild;
mod rejoin;
mod release;
mod report;
mod restore;
mod rotation;
mod run;
mod snapshot;
mod status;
mod steps;
mod system_command;
mod systemd;
mod update;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Turns a machine installed from the image into an etcd member
#[derive(Debug, Parser)]
#[command(version = recipes::program_version())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make this machine the member that its node document says; on a member that is set up, prove it
    Run(run::Options),
    /// Start again from a snapshot, on every member, or return to what was there before
    Restore(restore::Options),
    /// Take this member out of its cluster safely, and keep it out
    Leave(leave::Options),
    /// Show every member of the cluster
    Status(status::Options),
    /// Tell from the journal what was found, decided and done on this machine, and when
    Explain(explain::Options),
    /// Prove that every file of the image on this machine is as it was packed
    Image,
    /// Take, check and keep snapshots
    Snapshot(snapshot::Options),
    /// Take over a newer image of the cluster, while the cluster serves; or return to the image before
    Update(update::Options),
    /// Become a program that can make only the system calls of a server: how the units start etcd and the scheduled
    /// snapshot
    Exec(exec::Options),
    /// Judge etcd's data before etcd starts: etcd.service runs this
    #[command(hide = true)]
    Guard(guard::Options),
}

/// The command line of the program, for its manual pages and shell completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the arguments of this process, and returns its exit code.
pub fn main() -> ExitCode {
    // What is written here is never meant for others; the files that are say so themselves.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("firstboot: another TLS provider was there first");
    }
    let outcome = match Cli::parse().command {
        Command::Run(options) => run::run(&options).map(|()| None),
        Command::Restore(options) => restore::run(&options).map(|()| None),
        Command::Leave(options) => leave::command(&options).map(|()| None),
        Command::Status(options) => status::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Image => image_integrity::prove().map(|()| None),
        Command::Snapshot(options) => snapshot::run(&options),
        Command::Update(options) => update::run(&options),
        Command::Exec(options) => exec::run(&options).map(|()| None),
        Command::Guard(options) => guard::run(&options).map(|()| None),
    };
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(exit)) => exit.into(),
        Err(error) => {
            let line = format!("{error:#}");
            eprintln!("firstboot: {line}");
            systemd::status(&line);
            exit::code_of(&error).into()
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
