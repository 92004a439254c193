//! Reads one recipe, makes the image for every node of an etcd cluster.
//!
//! `build` is the flow: `check` the recipe and what it renders, `release` (what upstream made, verified), `render` (what the node gets,
//! from kickstart/), `overlay` (packed), `pki` and `nodes` (who each node is), `manifest`, `image_release` (the signed
//! pointer by which running nodes find the image), `output` (in its place).

mod allow;
mod assign;
mod build;
mod check;
mod console;
mod diff;
mod digest;
mod elf;
mod exit;
mod files;
mod image_release;
mod init;
mod inspect;
mod manifest;
mod newfile;
mod nodes;
mod output;
mod overlay;
mod pki;
mod plan;
mod release;
mod render;
mod rotate;
mod serve;
mod text_file;
mod tree;
mod tuning;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Makes the image for every node of an etcd cluster from one recipe
#[derive(Debug, Parser)]
#[command(version = recipes::program_version())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a first recipe
    Init(init::Options),
    /// Make the image and each node's documents
    Build(build::Options),
    /// Show what an image of a recipe would hold, with the guide's settings beside its own
    Plan(plan::Options),
    /// Say what is wrong with a recipe and all it renders, or with files of a node
    Check(check::Options),
    /// Serve an output over http: the image to all, each node's document to its machine, and iPXE what installs it
    Serve(serve::Options),
    /// Let `serve` install machines again, or hand out their documents again
    Allow(allow::Options),
    /// Say what one image has otherwise than another
    Diff(diff::Options),
    /// Compare every digest of an output again
    Verify(inspect::VerifyOptions),
    /// Look at the cluster's certificates
    #[command(subcommand)]
    Pki(PkiCommand),
}

#[derive(Debug, Subcommand)]
enum PkiCommand {
    /// List every certificate: whose, for which names, until when
    Show(inspect::PkiOptions),
    /// Record that a PKI folder belongs to a recipe's cluster, after the cluster got another name or other addresses
    Assign(assign::Options),
    /// Make the next CA, beside the one that the nodes trust. The next build issues their certificates again by it
    Rotate(rotate::RotateOptions),
    /// Have the CA before trusted no longer, once every node has a document of a build since `rotate`
    Retire(rotate::RetireOptions),
}

/// The command line of the program, for its manual pages and shell completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the arguments of this process, and returns its exit code.
pub fn main() -> ExitCode {
    if let Err(error) = output::clean_up_on_interrupt() {
        console::error(format_args!("cannot clean up after an interrupt: {error}"));
    }
    let outcome = match Cli::parse().command {
        Command::Init(options) => init::run(&options),
        Command::Build(options) => build::run(&options),
        Command::Plan(options) => plan::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Serve(options) => serve::run(&options),
        Command::Allow(options) => allow::run(&options),
        Command::Diff(options) => diff::run(&options),
        Command::Verify(options) => inspect::verify(&options),
        Command::Pki(PkiCommand::Show(options)) => inspect::pki(&options),
        Command::Pki(PkiCommand::Assign(options)) => assign::run(&options),
        Command::Pki(PkiCommand::Rotate(options)) => rotate::rotate(&options),
        Command::Pki(PkiCommand::Retire(options)) => rotate::retire(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::error(exit::with_causes(&error));
            ExitCode::from(exit::code_of(&error))
        }
    }
}
