//! Turns a machine that was installed from the image into an etcd member.
//!
//! `run` contains the flow, from top to bottom:
//! - `own_keys` manages the private keys that the node generated itself, and `csr` creates the
//!   requests for their certificates;
//! - `node` determines which node this machine is, with `image_integrity`, `machine`, `metadata`
//!   and `identity`;
//! - `steps` determines the missing changes on the host, and `change` makes them;
//! - `duplicate` looks for a second machine with the same identity;
//! - `restore::resume` finishes an interrupted restore;
//! - `barrier` ensures that a cluster is bootstrapped only once, and `rebuild` brings a node with a
//!   new disk back into its cluster;
//! - `data` checks etcd's data, and `guard` checks the data again before each start of etcd;
//! - `health` waits until etcd is a healthy member, and `rotation` replaces a CA.
//!
//! `update` installs a newer image on a running node. `restore`, `leave`, `rejoin`, `exclude` and
//! `accept_data` carry out the operator's orders. `status` shows the cluster, `explain` shows the
//! journal, and `snapshot` takes, checks and manages snapshots. `exec` confines etcd, the scheduled
//! snapshots and the check of the image to the system calls that a server needs. `reason` defines
//! the stable ids of the reasons to refuse, wait or warn.
//!
//! All these modules share a few other modules: `journal` records every decision before firstboot
//! acts on it, `membership` queries the other members, and `domain` defines common types. `files`
//! writes files durably, `systemd` controls the units, `local_time` computes times in the node's
//! time zone, and `etcd` is the client of etcd's API.

// To write damaged files, the tests call methods that clippy.toml disallows.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

use members::{compare, reason};

mod accept_data;
mod backoff;
mod barrier;
mod certificates;
mod change;
mod csr;
mod data;
mod diagnosis;
#[cfg(test)]
#[path = "../../members/src/documentation.rs"]
mod documentation;
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
mod http_client;
#[cfg(test)]
mod idempotence_tests;
mod identity;
mod image_check;
mod image_integrity;
mod interface;
mod journal;
mod lease_lock;
mod leave;
mod local_time;
mod lock;
mod machine;
mod membership;
mod metadata;
mod node;
mod operator;
mod output;
mod own_keys;
mod paths;
mod rebuild;
mod rejoin;
mod report;
mod restore;
mod rotation;
mod run;
mod runtime;
mod snapshot;
mod start_permit;
mod status;
mod steps;
mod system_command;
mod systemd;
mod terminal;
#[cfg(test)]
mod test_root;
mod update;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Turn a machine that was installed from the image into an etcd member
#[derive(Debug, Parser)]
#[command(
    version = recipes::program_version(),
    after_help = "The last line on standard error contains the reason for a refusal or a wait, \
        and ends with an id in brackets, which docs/exit-codes.md explains.\n\nExit codes: 0 \
        done; 1 failed; 2 wrong command line; 3 refused, and another attempt gives the same \
        result; 4 not ready, and another attempt may succeed.\n\nExamples:\n  firstboot status\n  firstboot \
        explain\n  firstboot snapshot --from-any /root/"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Turn this machine into the member named in its node document; on an existing member, check
    /// that it is healthy
    Run(run::Options),
    /// Restore every member from one snapshot, or roll back a restore
    Restore(restore::Options),
    /// Remove this member from its cluster safely, and keep it out
    Leave(leave::Options),
    /// Show the state of every member of the cluster
    Status(status::Options),
    /// Show what firstboot observed, decided and did on this machine, and when
    Explain(explain::Options),
    /// Print this node's request for certificates, if the node generates its own keys
    Csr(csr::Options),
    /// Verify that every file of the image on this machine is unchanged
    Image(image_check::Options),
    /// Take, check and manage snapshots
    Snapshot(snapshot::Options),
    /// Install a newer image and node document on this node without interrupting the cluster, or
    /// return to the previous image
    Update(update::Options),
    /// Renew this node's certificates if they expire soon: request new ones from the server that
    /// signs the nodes' requests
    Renew(update::RenewOptions),
    /// Run a program with only the system calls that a server needs. The units of etcd, of the
    /// scheduled snapshot and of the check of the image use this command
    Exec(exec::Options),
    /// Check etcd's data before etcd starts; etcd.service runs this command
    #[command(hide = true)]
    Guard(guard::Options),
}

impl Command {
    /// Returns whether to print a failure as JSON.
    fn prints_json(&self) -> bool {
        match self {
            Self::Status(options) => options.json,
            Self::Explain(options) => options.json,
            Self::Image(options) => options.json,
            Self::Snapshot(options) => options.prints_json(),
            Self::Run(options) => options.json,
            Self::Restore(options) => options.json,
            Self::Leave(options) => options.json,
            Self::Update(options) => options.prints_json(),
            _ => false,
        }
    }
}

/// Returns the program's command line, for its manual pages and shell completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the arguments of this process, and returns the exit code.
pub fn main() -> ExitCode {
    // Make files private by default. firstboot explicitly sets the mode of each file that other
    // users may read.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("firstboot: a TLS provider is already installed");
    }
    let command = Cli::parse().command;
    let json = command.prints_json();
    if json {
        output::keep_stdout_for_json();
    }
    let outcome = match command {
        Command::Run(options) => run::run(&options).map(|()| None),
        Command::Restore(options) => restore::run(&options).map(|()| None),
        Command::Leave(options) => leave::command(&options).map(|()| None),
        Command::Status(options) => status::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Csr(options) => csr::run(&options).map(|()| None),
        Command::Image(options) => image_check::run(&options).map(|()| None),
        Command::Snapshot(options) => snapshot::run(&options),
        Command::Update(options) => update::run(&options),
        Command::Renew(options) => update::renew(&options).map(|()| None),
        Command::Exec(options) => exec::run(&options).map(|()| None),
        Command::Guard(options) => guard::run(&options).map(|()| None),
    };
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(exit)) => exit.into(),
        Err(error) => {
            let line = format!("{error:#}");
            if json {
                output::show_error(&error);
            }
            output::say_error(&line);
            systemd::notify_status(&line);
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
