//! `builder status`: the state of a running cluster, from the operator's own machine, with the
//! operator's own client certificate.
//!
//! `cluster_access` finds the cluster, the certificate and the newest built image. `report` queries
//! the members. `text` formats the report, and `watch` repeats it.

mod cluster_access;
mod report;
mod text;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use members::survey::{DataComparison, Verdict};

use crate::console;
use crate::exit::{Exit, exit_error};
pub(crate) use cluster_access::ClusterAccess;
pub(crate) use report::Report;
#[cfg(test)]
pub(crate) use report::Update;
pub(crate) use text::word;

/// The command-line options.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every member is healthy; 1 no client certificate, or a file cannot be read; 5 degraded; \
        6 no quorum, or no member answers. See docs/exit-codes.md.\n\n\
        Example: builder pki client alice --pki out.pki && builder status out --json | jq '.members[] | {name, healthy}'"
)]
pub(crate) struct Options {
    /// The output of `builder build`, or a recipe
    #[arg(default_value = "out")]
    out: PathBuf,
    /// The folder of the cluster's certificates and keys, which also contains the client
    /// certificates [default: OUT.pki]
    #[arg(long, value_name = "DIR")]
    pki: Option<PathBuf>,
    /// The folder with ca.crt, client.crt and client.key [default: the folder in the PKI folder
    /// whose client certificate expires last]
    #[arg(long, value_name = "DIR")]
    client: Option<PathBuf>,
    /// Compare the members' data, which blocks writes on each member for about 2 s per GiB
    #[arg(long)]
    compare: bool,
    /// Repeat until interrupted. On a terminal, redraw the report; in a pipe or a file, print one
    /// line per repetition
    #[arg(long)]
    watch: bool,
    /// The interval between two repetitions, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=86400))]
    interval: u64,
    /// Print JSON. With --watch, print one document per line
    #[arg(long)]
    json: bool,
}

/// Prints the state of the cluster. If the cluster is not healthy, returns an error with the
/// matching exit code. With `--watch`, prints the state repeatedly, and returns no such error.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut access = ClusterAccess::open(
        &options.out,
        options.pki.as_deref(),
        options.client.as_deref(),
    )?;
    let comparison = if options.compare {
        DataComparison::Always
    } else {
        DataComparison::Skip
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if options.watch {
        return runtime.block_on(watch::run(
            &mut access,
            comparison,
            options.json,
            Duration::from_secs(options.interval),
        ));
    }
    let report = runtime.block_on(Report::ask(&access, comparison));
    console::report(&report, options.json, text::full)?;
    verdict(&report)
}

/// Converts the verdict into the command's outcome.
fn verdict(report: &Report) -> Result<()> {
    let faulty = report.faulty();
    match report.verdict {
        Verdict::Healthy => Ok(()),
        Verdict::Degraded => Err(exit_error(
            Exit::Degraded,
            format!(
                "the cluster has a quorum, but these members are not healthy voters, or have faults: {}",
                faulty.join(", ")
            ),
        )),
        Verdict::NoQuorum => Err(exit_error(
            Exit::NoQuorum,
            format!(
                "the members that answer are too few for a quorum; unresponsive or faulty members: \
                 {}",
                faulty.join(", ")
            ),
        )),
    }
}
