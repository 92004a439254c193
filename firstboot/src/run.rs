//! `firstboot run`: what a node does in its first minute, and proves again at every later boot.

use std::time::Duration;

use anyhow::Result;
use recipes::{Label, Stage};

use crate::change::{self, Change};
use crate::duplicate::{self, DuplicateProbe};
use crate::exit::{Exit, code_of, not_ready, refused};
use crate::files::{self, DesiredDir};
use crate::identity::Identity;
use crate::journal::{Event, Journal, MembershipIntent, NodeState};
use crate::lock::Lock;
use crate::metadata::SourceLog;
use crate::node::{adopt_identity, check_before, identify};
use crate::output::say;
use crate::report::report;
use crate::steps;
use crate::steps::etcd_conf;
use crate::{
    accept_data, barrier, data, diagnosis, exclude, health, leave, paths, rejoin, release, restore, rotation, update,
};

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// For how many seconds to wait for a healthy member once etcd runs
    #[arg(long, default_value_t = 300)]
    deadline: u64,
    /// Begin a new cluster without these members, which will not come. Say the same on each of the others
    #[arg(long, num_args = 1.., value_name = "NAME", value_delimiter = ',')]
    without: Vec<Label>,
    /// Join the cluster again, as a new member, after this node left or was removed. Its old data is put aside
    #[arg(long, conflicts_with_all = ["dry_run", "without"])]
    rejoin: bool,
    /// Take etcd's data directory as it is for this member's newest, as after moving it to another disk. Older data may lose
    /// what clients were told is kept
    #[arg(long, conflicts_with_all = ["dry_run", "without", "rejoin"])]
    accept_data: bool,
}

/// Runs the whole way: image, identity, host, bootstrap barrier, etcd, health.
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
        return plan(&identify(&mut SourceLog::default())?.0);
    }
    let _lock = Lock::take()?;
    match converge(options) {
        Ok(()) => report(Stage::Healthy, None),
        Err(error) => {
            if code_of(&error) == Exit::Refused {
                if let Err(error) = release::forbid() {
                    eprintln!("firstboot: {error:#}");
                }
                report(Stage::Refused, Some(&format!("{error:#}")));
            }
            return Err(error);
        }
    }
    Ok(())
}

fn converge(options: &Options) -> Result<()> {
    let (mut identity, machine) = identify(&mut SourceLog::kept())?;
    if let Some(change) = change::folder(DesiredDir::new(paths::STATE, 0o700, files::ROOT))? {
        change.apply()?;
    }
    let mut journal = Journal::open(paths::JOURNAL)?;
    check_before(&identity, &machine, &journal)?;
    if let MembershipIntent::Left(member) = NodeState::of(&journal).intent {
        leave::enforce_left(&mut journal)?;
        return Err(refused(leave::left(member)));
    }
    if let Some(change) = steps::network::plan(&identity)? {
        change.carry_out()?;
    }
    // Only a machine that has the document's address takes its identity on.
    steps::network::wait_for_address(&identity)?;
    check_source(&identity, &journal)?;
    // Once etcd was let go in this boot that is known.
    let asked = (!release::is_given()).then(|| duplicate::ask(identity.node.address));
    let doubt = asked.as_ref().map_or(Ok(None), DuplicateProbe::first)?;
    adopt_identity(&identity, &machine, &mut journal)?;
    rotation::catch_up(&mut identity, &mut journal)?;
    steps::plan(&identity)?.iter().try_for_each(Change::carry_out)?;
    duplicate::rule_out_duplicate(&identity, &journal, doubt)?;

    restore::resume(&identity, &mut journal)?;
    let start = barrier::run_barrier(&identity, &mut journal);
    // Whatever else is wrong, a second machine is what the operator has to know.
    let doubt = asked.as_ref().map_or(Ok(None), DuplicateProbe::all)?;
    let start = start?;
    duplicate::rule_out_duplicate(&identity, &journal, doubt)?;
    etcd_conf::configure(&identity, &start, NodeState::of(&journal).data.is_some())?;
    data::prepare(&mut journal)?;
    let expected = NodeState::of(&journal).expected(&identity.node.name);
    let patience = Duration::from_secs(options.deadline);
    if let MembershipIntent::Leaving(member) = NodeState::of(&journal).intent {
        // Power was lost while it was being removed. Until it is, the others may need it for their quorum.
        let_etcd_go(&identity, &mut journal, &expected)?;
        match leave::leave(&identity, &mut journal, patience) {
            Ok(()) => return Err(refused(leave::left(member))),
            Err(error) if NodeState::of(&journal).intent == MembershipIntent::None => say(format!("{error:#}")),
            Err(error) => return Err(error),
        }
    } else {
        if !release::is_given() {
            duplicate::check_still_member(&identity, &journal)?;
        }
        let_etcd_go(&identity, &mut journal, &expected)?;
    }
    health::wait(&identity, &mut journal, patience)?;
    rotation::complete(&mut identity, &mut journal)?;
    update::return_turn_of_previous_self(&identity);
    Ok(())
}

/// A new member waits until the others would accept it. One that has data starts all the same: the others reach it.
fn check_source(identity: &Identity, journal: &Journal) -> Result<()> {
    match diagnosis::wrong_source(&identity.cluster, &identity.node.name) {
        Some(why) if NodeState::of(journal).data.is_none() => Err(not_ready(why)),
        why => {
            why.into_iter().for_each(say);
            Ok(())
        }
    }
}

/// Lets etcd start. Which version uses the data is written down first: what the next one may be depends on it. One that was
/// let go earlier in this boot is what it was then.
fn let_etcd_go(identity: &Identity, journal: &mut Journal, expected: &data::Expected) -> Result<()> {
    let etcd = identity.cluster.etcd.version;
    if !release::is_given() && NodeState::of(journal).etcd != Some(etcd) {
        journal.add(Event::Uses { etcd })?;
    }
    release::release(expected)
}

/// Prints what a run would change.
fn plan(identity: &Identity) -> Result<()> {
    let node = &identity.node;
    println!("{} of cluster {} at {}", node.name, node.cluster, node.address);
    let mut changes: Vec<Change> = steps::network::plan(identity)?.into_iter().collect();
    changes.extend(steps::plan(identity)?);
    let journal = Journal::look(paths::JOURNAL)?;
    let past = NodeState::of(&journal);
    let begun = &past.begun;
    if let Some(start) = begun {
        changes.extend(etcd_conf::plan(identity, start, past.data.is_some())?);
    }
    for change in &changes {
        println!("would do: {change}");
    }
    if begun.is_none() {
        println!(
            "would then agree with the other members on a new cluster, or join the one that lives, and start etcd"
        );
    } else if !rotation::is_complete(identity) {
        println!("would then trust and show the document's CAs and certificates, as far as all other members are");
    } else if changes.is_empty() {
        println!("nothing to do");
    }
    Ok(())
}
