//! `firstboot snapshot` without a subcommand: takes one snapshot, for an operator or for the
//! schedule.

use std::time::Duration;

use anyhow::Result;

use super::choose::best_member;
use super::member_comparison::MemberComparison;
use super::scheduled;
use super::source::{ClientUrl, Endpoint};
use super::take::{describe, take, warn_of_differences};
use super::target::{GivenTarget, Target};
use crate::etcd::installed_credentials;
use crate::exit::Exit;
use crate::identity;
use crate::output::{say, show};

/// The command line of `firstboot snapshot`.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each field is a command-line option"
)]
#[group(skip)]
pub(crate) struct Options {
    /// The file or s3://BUCKET/OBJECT to create, or the folder or s3://BUCKET/PREFIX/ in which to
    /// create the snapshot [default: the recipe's destination]
    target: Option<GivenTarget>,
    /// Take the snapshot from the member at this client URL [default: this node's member]
    #[arg(long, value_name = "URL", conflicts_with = "from_any")]
    endpoint: Option<ClientUrl>,
    /// Take the snapshot from the healthy follower with the newest revision, or from the leader if
    /// no follower is healthy
    #[arg(long)]
    from_any: bool,
    /// Print the manifest as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Compare the members' data first, regardless of its size. The comparison blocks writes on
    /// each member for about 2 s per GiB
    #[arg(long)]
    compare: bool,
    /// Take the snapshot only if no member has taken one for the current slot of the schedule, and
    /// then delete old snapshots. The timer uses this option
    #[arg(long, conflicts_with_all = ["target", "endpoint", "from_any", "json"])]
    scheduled: bool,
    /// Wait this many seconds for each member that precedes this member, before this member takes
    /// the scheduled snapshot
    #[arg(
        long,
        requires = "scheduled",
        default_value_t = 30,
        value_name = "SECONDS"
    )]
    spread: u64,
}

/// Takes a snapshot, and prints a description of it.
pub(crate) async fn run(options: &Options) -> Result<Option<Exit>> {
    if options.scheduled {
        return scheduled::run(Duration::from_secs(options.spread), options.compare).await;
    }
    let cluster = identity::cluster()?;
    let target = Target::of(options.target.as_ref(), cluster.backup.as_ref())?;
    let credentials = installed_credentials()?;
    let comparison = MemberComparison::ask(&cluster, &credentials, options.compare).await;
    let source = if options.from_any {
        best_member(&cluster, &credentials, &comparison).await?
    } else {
        Endpoint::at(
            options.endpoint.as_ref().map(ClientUrl::as_str),
            &credentials,
        )
        .await?
    };
    // If the operator names a member, take the snapshot from that member even if its data differs,
    // because the operator may want to examine this data.
    let exit = warn_of_differences(&comparison, &source, options.endpoint.is_some())?;
    let manifest = take(&cluster, &target, &source, &comparison).await?;
    // A snapshot that may lack data of the other members must not replace the scheduled snapshot.
    if exit.is_none() {
        scheduled::record_manual(&cluster, &source, &target.place, &manifest).await;
    }
    if options.json {
        show(&String::from_utf8_lossy(&manifest.text()?))?;
    } else {
        say(describe(&target.place, &manifest));
    }
    Ok(exit)
}
