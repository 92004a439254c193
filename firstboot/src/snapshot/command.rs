//! `firstboot snapshot` without a subcommand: takes one snapshot, by hand or for the schedule.

use std::time::Duration;

use anyhow::Result;

use super::agreement::Agreement;
use super::choose::best_member;
use super::scheduled;
use super::source::Endpoint;
use super::take::{describe, judge, take};
use super::target::Target;
use crate::etcd::Credentials;
use crate::exit::Exit;
use crate::identity;
use crate::output::{say, show};

/// What the command line says.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the command line")]
#[group(skip)]
pub(crate) struct Options {
    /// The file or s3://bucket/object to make, or a folder for it [default: the recipe's destination]
    target: Option<String>,
    /// The member to take it from [default: this node's]
    #[arg(long, value_name = "URL", conflicts_with = "from_any")]
    endpoint: Option<String>,
    /// Take it from a healthy member, rather not the leader, with the newest revision
    #[arg(long)]
    from_any: bool,
    /// Print the manifest
    #[arg(long)]
    json: bool,
    /// Compare the members' data first, whatever its size. Each member takes in no write meanwhile, for about 2 s for each GiB
    #[arg(long)]
    compare: bool,
    /// Take it only if no other member has taken it for this run of the schedule; then prune. The timer says this
    #[arg(long, conflicts_with_all = ["target", "endpoint", "from_any", "json"])]
    scheduled: bool,
    /// For how many seconds each member waits for the one before it
    #[arg(long, requires = "scheduled", default_value_t = 30, value_name = "SECONDS")]
    spread: u64,
}

/// Takes a snapshot, and says what it is.
pub(crate) async fn run(options: &Options) -> Result<Option<Exit>> {
    if options.scheduled {
        return scheduled::run(Duration::from_secs(options.spread), options.compare).await;
    }
    let cluster = identity::cluster()?;
    let target = Target::of(options.target.as_deref(), cluster.backup.as_ref())?;
    let credentials = Credentials::installed()?;
    let agreement = Agreement::ask(&cluster, &credentials, options.compare).await;
    let source = if options.from_any {
        best_member(&cluster, &credentials, &agreement).await?
    } else {
        Endpoint::at(options.endpoint.as_deref(), &credentials).await?
    };
    // Who names a member wants that one, as to find out what is wrong with it.
    let exit = judge(&agreement, &source, options.endpoint.is_some())?;
    let manifest = take(&cluster, &target, &source, &agreement).await?;
    scheduled::tell(&cluster, &source, &target.place, &manifest).await;
    if options.json {
        show(&String::from_utf8_lossy(&manifest.text()?))?;
    } else {
        say(describe(&target.place, &manifest));
    }
    Ok(exit)
}
