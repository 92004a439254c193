//! Reads one recipe and builds the image for every node of an etcd cluster.
//!
//! `build` runs these modules in order: `check` (checks the recipe and the files rendered from it),
//! `release` (downloads and verifies upstream's release), `pki` and `nodes` (create the identity of
//! each node), `render` (renders the node's files from kickstart/), `overlay` (packs the node's
//! files), `manifest`, `image_release` (writes the signed document through which running nodes find
//! the image), and `output` (moves everything into place).

mod allow;
mod assign;
mod build;
mod check;
mod client;
mod console;
mod diff;
mod digest;
#[cfg(test)]
#[path = "../../members/src/documentation.rs"]
mod documentation;
mod elf;
mod etcd_version_warning;
mod exit;
mod files;
mod image_release;
mod init;
mod inspect;
mod manifest;
mod mirror;
mod newfile;
mod nodes;
mod output;
mod overlay;
mod path_text;
mod pki;
mod plan;
mod recipe_file;
mod release;
mod render;
mod rotate;
mod serve;
mod sign;
mod status;
mod text_file;
mod tree;
mod tuning;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// Build the image for every node of an etcd cluster from one recipe
#[derive(Debug, Parser)]
#[command(
    version = recipes::program_version(),
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong command line; 3 errors in the recipe or in \
                  a checked file; 4 verify, serve, pki show or diff found faults or differences; 5 \
                  status found a degraded cluster; 6 status found no quorum. See \
                  docs/exit-codes.md.\n\n Environment: SOURCE_DATE_EPOCH sets the date of the \
                  files in the overlay, in seconds since 1970.\n\n Examples:\n  builder init \
                  --ssh-key ~/.ssh/id_ed25519.pub etcd-1=10.0.0.11 etcd-2=10.0.0.12 \
                  etcd-3=10.0.0.13\n  builder check recipe.toml\n  builder build recipe.toml --out \
                  out\n  builder serve out --tree /srv/centos/7.9.2009/os/x86_64"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a first recipe
    Init(init::Options),
    /// Build the image and each node's documents
    Build(build::Options),
    /// Show the contents of a recipe's image, with the CentOS 7 guide's settings next to the
    /// image's own
    Plan(plan::Options),
    /// Report errors in a recipe and all files rendered from it, or in files of a node
    Check(check::Options),
    /// Download etcd, the installation tree and the repositories of a recipe, for a site without
    /// Internet access
    Mirror(mirror::Options),
    /// Serve an output over HTTP: the image to every client, each document to its node's machine,
    /// and the installer to network boot loaders
    Serve(Box<serve::Options>),
    /// Show the state of a running cluster, using your own client certificate
    Status(status::Options),
    /// Allow `serve` to install machines, or to hand out their documents again
    Allow(allow::Options),
    /// Show the differences between two images
    Diff(diff::Options),
    /// Verify every digest in a build output again
    Verify(inspect::VerifyOptions),
    /// List and issue certificates, sign requests, approve keys, assign a PKI folder, and replace
    /// the CA
    #[command(subcommand)]
    Pki(PkiCommand),
}

#[derive(Debug, Subcommand)]
enum PkiCommand {
    /// List the certificates of the CA and of the nodes, each with its subject, names and end of
    /// validity
    Show(inspect::PkiOptions),
    /// Assign a PKI folder to a recipe's cluster, after the cluster's name or addresses have
    /// changed
    Assign(assign::Options),
    /// Sign a node's request for certificates, and print the node document. The first key of a node
    /// is recorded as the node's key
    Sign(sign::SignOptions),
    /// Approve another key for a node, for example after a reinstallation
    Approve(sign::ApproveOptions),
    /// Issue a client certificate for your own machine, for `builder status` and etcdctl
    Client(client::Options),
    /// Create the next CA alongside the trusted CA. The next build issues all node certificates
    /// from the next CA
    Rotate(rotate::RotateOptions),
    /// Stop trusting the previous CA. Run this command after every node has a document that was
    /// built after `rotate`
    Retire(rotate::RetireOptions),
}

/// Returns the program's command line, for its manual pages and shell completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the arguments of this process. Returns the program's exit code.
pub fn main() -> ExitCode {
    if let Err(error) = output::clean_up_on_interrupt() {
        console::error(format_args!("cannot clean up after an interrupt: {error}"));
    }
    let matches = Cli::command().get_matches();
    let json = prints_json(&matches);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match cli.command {
        Command::Init(options) => init::run(&options),
        Command::Build(options) => build::run(&options),
        Command::Plan(options) => plan::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Mirror(options) => mirror::run(&options),
        Command::Serve(options) => serve::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Allow(options) => allow::run(&options),
        Command::Diff(options) => diff::run(&options),
        Command::Verify(options) => inspect::verify(&options),
        Command::Pki(PkiCommand::Show(options)) => inspect::pki(&options),
        Command::Pki(PkiCommand::Assign(options)) => assign::run(&options),
        Command::Pki(PkiCommand::Sign(options)) => sign::sign(&options),
        Command::Pki(PkiCommand::Approve(options)) => sign::approve(&options),
        Command::Pki(PkiCommand::Client(options)) => client::run(&options),
        Command::Pki(PkiCommand::Rotate(options)) => rotate::rotate(&options),
        Command::Pki(PkiCommand::Retire(options)) => rotate::retire(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = exit::with_causes(&error);
            if json {
                console::json_error(&text);
            }
            console::error(text);
            ExitCode::from(exit::code_of(&error))
        }
    }
}

/// Returns whether the command line contains `--json`.
fn prints_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, matches)) => prints_json(matches),
        None => matches!(matches.try_get_one("json"), Ok(Some(true))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_json(command: &clap::Command, path: &str) -> Vec<String> {
        let path = format!("{path} {}", command.get_name());
        if command.has_subcommands() {
            return command
                .get_subcommands()
                .flat_map(|command| without_json(command, &path))
                .collect();
        }
        let has = command
            .get_arguments()
            .any(|argument| argument.get_long() == Some("json"));
        if has { Vec::new() } else { vec![path] }
    }

    #[test]
    fn every_command_prints_json() {
        // `builder pki sign` always prints JSON, so it has no `--json` option.
        assert_eq!(without_json(&command(), ""), [" builder pki sign"]);
    }

    #[test]
    fn the_option_json_is_found_in_any_command() {
        let parse = |words: &[&str]| {
            let words = [&["builder"], words].concat();
            prints_json(&command().try_get_matches_from(words).unwrap())
        };
        assert!(parse(&["verify", "out", "--json"]));
        assert!(parse(&["pki", "show", "out.pki", "--json"]));
        assert!(!parse(&["verify", "out"]));
        assert!(!parse(&["pki", "show", "out.pki"]));
    }
}
