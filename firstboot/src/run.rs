//! `firstboot run`: turns a machine into a member at its first boot, and verifies at every later
//! boot that the machine is still a member.

mod dry_run;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::Result;
use recipes::node::KeyOrigin;
use recipes::{InstallStage, Label};

use crate::change::{self, Change};
use crate::duplicate::{self, DuplicateProbe};
use crate::exit::{Exit, code_of, not_ready, refused};
use crate::files::{self, DesiredDir};
use crate::identity::Identity;
use crate::journal::{Event, Journal, MembershipIntent, NodeState, remove_installer_copy};
use crate::lock::Lock;
use crate::metadata::SourceLog;
use crate::node::{accept_identity, obtain_identity, refuse_other_disk, store_received};
use crate::output::{say, show, show_json};
use crate::report::report;
use crate::steps;
use crate::steps::etcd_conf;
use crate::{
    accept_data, barrier, data, diagnosis, exclude, health, identity, leave, own_keys, paths,
    rejoin, restore, rotation, start_permit, update,
};

/// The command line of `firstboot run`.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each field is a command-line option"
)]
#[command(
    after_help = "Exit codes: 0 the member is healthy; 1 failed; 3 refused; 4 not ready, try again. \
    docs/exit-codes.md explains each id in brackets at the end of a message.\n\n\
    Examples:\n  firstboot run --dry-run\n  firstboot run --without etcd-4,etcd-5"
)]
pub(crate) struct Options {
    /// Print the planned changes without making them
    #[arg(long)]
    dry_run: bool,
    /// Print the planned changes as JSON
    #[arg(long, requires = "dry_run")]
    pub(crate) json: bool,
    /// Give up if the member is not healthy this many seconds after firstboot started etcd
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = crate::operator::timeout_parser())]
    deadline: u64,
    /// Bootstrap without these members. Pass the same list on all remaining members
    #[arg(long, num_args = 1.., value_name = "NAME", value_delimiter = ',', conflicts_with = "dry_run")]
    without: Vec<Label>,
    /// Join the cluster again as a new member after this node left or was removed. The old data is
    /// archived
    #[arg(long, conflicts_with_all = ["dry_run", "without"])]
    rejoin: bool,
    /// Confirm that etcd's data directory contains this member's newest data, for example after a
    /// move to another disk. With older data, acknowledged writes may be lost
    #[arg(long, conflicts_with_all = ["dry_run", "without", "rejoin"])]
    accept_data: bool,
}

/// Runs the command. With `--without`, `--rejoin` or `--accept-data`, records the operator's order.
/// With `--dry-run`, shows the planned changes. Otherwise, checks the image and the identity,
/// configures the host, waits at the bootstrap barrier, starts etcd, and waits until etcd is
/// healthy.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.without.is_empty() {
        return exclude::record(&options.without.iter().cloned().collect());
    }
    if options.rejoin {
        return rejoin::record();
    }
    if options.accept_data {
        return accept_data::accept();
    }
    if options.dry_run {
        let planned = dry_run::plan(&obtain_identity(&mut SourceLog::default())?.0)?;
        return if options.json {
            show_json(&planned)
        } else {
            Ok(show(&planned.to_string())?)
        };
    }
    let _lock = Lock::take()?;
    match converge(options) {
        Ok(()) => report(InstallStage::Healthy, None),
        Err(error) => {
            if code_of(&error) == Exit::Refused {
                if let Err(error) = start_permit::revoke() {
                    eprintln!("firstboot: {error:#}");
                }
                report(InstallStage::Refused, Some(&format!("{error:#}")));
            }
            return Err(error);
        }
    }
    Ok(())
}

fn converge(options: &Options) -> Result<()> {
    if identity::cluster()?.keys == KeyOrigin::Node {
        own_keys::ensure()?;
    }
    let (mut identity, machine) = obtain_identity(&mut SourceLog::kept())?;
    if let Some(change) = change::folder(DesiredDir::new(paths::STATE, 0o700, files::ROOT))? {
        change.apply()?;
    }
    store_received(&identity)?;
    let mut journal = Journal::open(paths::JOURNAL)?;
    remove_installer_copy(&journal)?;
    refuse_other_disk(&identity, &machine, &journal)?;
    refuse_left(&mut journal)?;
    if let Some(change) = steps::network::plan(&identity)? {
        change.apply_and_log()?;
    }
    // The machine accepts its identity only after it has the address that its document names.
    steps::network::wait_for_address(&identity)?;
    check_source_address(&identity, &journal)?;
    // If firstboot has already allowed etcd to start in this boot, an earlier run has made the
    // checks for a duplicate. While etcd is running, the other members receive its traffic, so
    // these checks would mistake this machine for the duplicate.
    let checked = start_permit::was_granted()?;
    let probe = (!checked).then(|| duplicate::start_probe(identity.node.address));
    let suspected = probe
        .as_ref()
        .map_or(Ok(None), DuplicateProbe::first_result)?;
    accept_identity(&identity, &machine, &mut journal)?;
    rotation::catch_up(&mut identity, &mut journal)?;
    steps::plan(&identity)?
        .iter()
        .try_for_each(Change::apply_and_log)?;
    duplicate::rule_out_duplicate(&identity, &journal, suspected)?;

    restore::resume(&identity, &mut journal)?;
    // The first check accepts a node that has left its cluster but has a restore order. Check
    // again, because firstboot may have abandoned the order since then.
    refuse_left(&mut journal)?;
    let start = barrier::run_barrier(&identity, &mut journal);
    // If the probe has found a duplicate, report the duplicate instead of the barrier's error.
    let suspected = probe
        .as_ref()
        .map_or(Ok(None), DuplicateProbe::final_result)?;
    let start = start?;
    duplicate::rule_out_duplicate(&identity, &journal, suspected)?;
    etcd_conf::configure(&identity, &start, NodeState::of(&journal).data.is_some())?;
    data::create_data_dir(&mut journal)?;
    let expected = NodeState::of(&journal).recorded_data(&identity.node.name);
    let patience = Duration::from_secs(options.deadline);
    if let MembershipIntent::Leaving(member) = NodeState::of(&journal).intent {
        // An earlier run was interrupted during the removal of this node's member. Start etcd,
        // because the other members may need the vote of this member until they remove it.
        allow_etcd(&identity, &mut journal, &expected)?;
        match leave::leave(&identity, &mut journal, patience, false) {
            Ok(()) => return Err(refused(leave::left_reason(member))),
            Err(error) if NodeState::of(&journal).intent == MembershipIntent::None => {
                say(format!("{error:#}"));
            }
            Err(error) => return Err(error),
        }
    } else {
        if !start_permit::was_granted()? {
            duplicate::check_before_start(&identity, &journal)?;
        }
        allow_etcd(&identity, &mut journal, &expected)?;
    }
    health::promote_and_wait_until_healthy(&identity, &mut journal, patience)?;
    // Release the turn first, because the rotation waits for members that cannot restart while this
    // node has the turn.
    update::release_turn_of_previous_disk(&identity);
    rotation::complete(&mut identity, &mut journal)?;
    Ok(())
}

/// Refuses a node that has left its cluster, and ensures that etcd does not run.
fn refuse_left(journal: &mut Journal) -> Result<()> {
    let Some(member) = NodeState::of(journal).has_left() else {
        return Ok(());
    };
    leave::enforce_left(journal)?;
    Err(refused(leave::left_reason(member)))
}

/// Returns a "not ready" error if a new member would reach the other members from a wrong source
/// address. If the member has data, only logs the fault, because the other members can still reach
/// this member.
fn check_source_address(identity: &Identity, journal: &Journal) -> Result<()> {
    match diagnosis::wrong_source(&identity.cluster, &identity.node.name) {
        Some(why) if NodeState::of(journal).data.is_none() => Err(not_ready(why)),
        why => {
            if let Some(why) = why {
                say(why.to_string());
            }
            Ok(())
        }
    }
}

/// Allows etcd to start, and records the version of etcd in the journal, because the permitted
/// upgrades depend on the version that last used the data. Does not record the version if firstboot
/// has already allowed etcd to start in this boot, because the version has not changed since then.
fn allow_etcd(
    identity: &Identity,
    journal: &mut Journal,
    expected: &data::RecordedData,
) -> Result<()> {
    let etcd = identity.cluster.etcd.version;
    if !start_permit::was_granted()? && NodeState::of(journal).etcd_version != Some(etcd) {
        journal.add(Event::EtcdVersionRecorded { etcd })?;
    }
    start_permit::grant(expected)
}
