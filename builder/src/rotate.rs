//! `builder pki rotate` and `builder pki retire`: replace the cluster's CA.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use time::OffsetDateTime;

use crate::pki::Event;
use crate::{console, pki};

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct RotateOptions {
    /// The folder of the cluster's certificates and keys
    folder: PathBuf,
    /// The lifetime of the next CA in days
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
}

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct RetireOptions {
    /// The folder of the cluster's certificates and keys
    folder: PathBuf,
}

/// Creates the next CA.
pub(crate) fn rotate(options: &RotateOptions) -> Result<()> {
    let events = pki::rotate(&options.folder, options.days, OffsetDateTime::now_utc())?;
    print_events(
        &events,
        "Next: build, and give each node its new document, in any order. Once all nodes have it, \
         and each of your clients trusts the new CA and has a certificate from it, run `builder \
         pki retire`",
    )
}

/// Stops trusting the previous CA.
pub(crate) fn retire(options: &RetireOptions) -> Result<()> {
    let events = pki::retire(&options.folder, OffsetDateTime::now_utc())?;
    print_events(
        &events,
        "Next: build, and give each node its new document, in any order",
    )
}

fn print_events(events: &[Event], next: &str) -> Result<()> {
    let mut text = String::new();
    for event in events {
        writeln!(text, "{event}")?;
    }
    Ok(console::result(text + next + "\n")?)
}
