//! `firstboot leave`: removes this node's member from the cluster, and keeps etcd stopped. `plan`
//! decides on the next step from what `observe` has observed. This module executes the step. Before
//! it removes the member, it records the removal in the journal.

mod observe;
mod plan;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::etcd::{Client, Credentials, installed_credentials};
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::journal::{ArchiveReason, Event, Journal, MembershipIntent, NodeState, archive_data};
use crate::membership::{is_listed, remove_member, removed_reason};
use crate::metadata::SourceLog;
use crate::node::obtain_identity;
use crate::output::{say, show_json};
use crate::reason::{Reason, ReasonId};
use crate::runtime::block_on;
use crate::terminal::TerminalSignals;
use crate::{files, operator, paths, start_permit, update};
use observe::observe;
use plan::{LeaveStep, plan};

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(300);

/// The command line of `firstboot leave`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the node left; 3 refused; 4 the node did not leave within the deadline.\n\n\
    Example: firstboot leave --dry-run && firstboot leave"
)]
pub(crate) struct Options {
    /// Print the planned changes without making them
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = crate::operator::timeout_parser())]
    deadline: u64,
}

/// The result as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonOutput {
    /// The member id, in hexadecimal digits.
    member: String,
    /// Whether the member has left the cluster.
    left: bool,
    /// The planned changes, in the order in which the command would make them.
    planned: Vec<String>,
}

impl JsonOutput {
    fn left(member: u64) -> Self {
        Self {
            member: format!("{member:x}"),
            left: true,
            planned: Vec::new(),
        }
    }
}

pub(crate) fn command(options: &Options) -> Result<()> {
    let (identity, _) = obtain_identity(&mut SourceLog::default())?;
    let answer = if options.dry_run {
        plan_only(&identity)?
    } else {
        // Prevent updates, because after the removal, the updater would wait forever for this
        // node's member to become healthy, and would keep the turn.
        let _updates = update::prevent()?;
        operator::with_journal(|journal| {
            if let Some(member) = NodeState::of(journal).has_left() {
                enforce_left(journal)?;
                say(left_reason(member).to_string());
                return Ok(JsonOutput::left(member));
            }
            let member = own_member_id(&identity, journal)?;
            let patience = Duration::from_secs(options.deadline);
            leave(&identity, journal, patience, true)?;
            Ok(JsonOutput::left(member))
        })?
    };
    if options.json {
        show_json(&answer)?;
    }
    Ok(())
}

/// Returns the message for a node that has left its cluster.
pub(crate) fn left_reason(member: u64) -> Reason {
    ReasonId::MemberLeft.because(format!(
        "this node, formerly the member {member:x}, has left its cluster, and etcd stays stopped. To join again, run \
         `firstboot run --rejoin`"
    ))
}

/// Removes the member, stops etcd and archives the data. If the member cannot be removed within
/// `patience`, abandons the removal. With `at_terminal`, a signal from the terminal also abandons
/// the removal. If the removal has begun and no other member answers, does not abandon the removal,
/// because the other members may have executed it.
///
/// # Errors
/// Returns a refusal if the member has already been removed, if the node was never a member, or if
/// the member must not leave. Returns a "not ready" error if the member could not leave in time, or
/// if firstboot does not know whether the member was removed.
pub(crate) fn leave(
    identity: &Identity,
    journal: &mut Journal,
    patience: Duration,
    at_terminal: bool,
) -> Result<()> {
    let member = own_member_id(identity, journal)?;
    block_on(async {
        let mut end = LeaveEnd::after(patience, at_terminal)?;
        remove_own_member(identity, journal, member, &mut end).await
    })?;
    enforce_left(journal)?;
    say(left_reason(member).to_string());
    Ok(())
}

/// Stops etcd and archives the data, so that the removed member never starts again.
pub(crate) fn enforce_left(journal: &mut Journal) -> Result<()> {
    start_permit::revoke_and_stop_etcd()?;
    // etcd's guard writes the WAL checkpoint when etcd stops. If a crash interrupted that write,
    // remove the unfinished file here, because the guard does not run again on a node that has
    // left.
    files::remove_unfinished(Path::new(paths::WAL_CHECKPOINT))?;
    archive_data(ArchiveReason::Left, journal)
}

/// Returns the member id of this node.
pub(crate) fn own_member_id(identity: &Identity, journal: &Journal) -> Result<u64> {
    let ids = NodeState::of(journal).ids(&identity.node.name);
    ids.member.ok_or_else(|| {
        refused(
            ReasonId::NotAMember
                .because("this node is not a member of its cluster yet: see `firstboot status`"),
        )
    })
}

/// The end of the attempts to leave: the deadline, or a signal from the terminal.
struct LeaveEnd {
    at: Instant,
    signals: Option<TerminalSignals>,
}

impl LeaveEnd {
    /// The caller must be inside an async runtime.
    fn after(patience: Duration, at_terminal: bool) -> Result<Self> {
        Ok(Self {
            at: Instant::now() + patience,
            signals: at_terminal.then(TerminalSignals::listen).transpose()?,
        })
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.at
    }

    /// Waits before the next attempt. After a signal, the next attempt is the last one.
    async fn pause(&mut self) {
        let pause = tokio::time::sleep(PAUSE);
        match &mut self.signals {
            None => pause.await,
            Some(signals) => tokio::select! {
                () = pause => {}
                _ = signals.next() => self.at = Instant::now(),
            },
        }
    }
}

async fn remove_own_member(
    identity: &Identity,
    journal: &mut Journal,
    member: u64,
    end: &mut LeaveEnd,
) -> Result<()> {
    let mut logged = String::new();
    loop {
        let observed = observe(identity, &NodeState::of(journal), member).await?;
        let step = plan(&observed);
        // Observe the cluster again after the last attempt, because that attempt may have
        // succeeded.
        let over = end.is_over();
        let done = match step {
            LeaveStep::AlreadyRemoved => {
                return if is_leaving(journal, member) {
                    journal.add(Event::Left { member })
                } else {
                    Err(refused(removed_reason(member)))
                };
            }
            LeaveStep::Refuse(why) => {
                cancel(journal, member)?;
                return Err(refused(why));
            }
            LeaveStep::Wait(why) if over => {
                // The other members may have executed the removal.
                if observed.peers.is_empty() && is_leaving(journal, member) {
                    return Err(not_ready(may_have_left(why)));
                }
                cancel(journal, member)?;
                return Err(not_ready(why.map(|why| {
                    format!("this node could not leave and remains a member: {why}")
                })));
            }
            _ if over => {
                cancel(journal, member)?;
                return Err(not_ready(ReasonId::LeaveTimeout.because(format!(
                    "this node did not leave in time and remains a member. Last status: {logged}"
                ))));
            }
            LeaveStep::Wait(why) => Err(anyhow::anyhow!(why)),
            LeaveStep::TransferLeadership(to) => {
                say(format!(
                    "this node is the leader; transferring the leadership to {to:x}"
                ));
                let credentials = installed_credentials()?;
                move_leader(to, &credentials).await
            }
            LeaveStep::Remove(through) => {
                journal.record_next_step(
                    Event::Leave { member },
                    &format!("removing this node's member {member:x}"),
                )?;
                let credentials = installed_credentials()?;
                remove_member(&through, member, &credentials).await
            }
        };
        if let Err(error) = done {
            let why = format!("{error:#}");
            if why != logged {
                say(format!("this node cannot leave yet: {why}"));
                logged = why;
            }
        }
        end.pause().await;
    }
}

/// Returns the message for a node that does not know whether its member was removed.
/// firstboot.service continues the removal.
fn may_have_left(why: Reason) -> Reason {
    why.map(|why| format!("this node may have left its cluster: {why}. The removal continues when another member answers"))
}

/// Transfers the leadership to another member through this node's etcd.
async fn move_leader(to: u64, credentials: &Credentials) -> Result<()> {
    let client = Client::connect(paths::OWN_CLIENT_URL, credentials).await?;
    client.move_leader(to).await
}

/// Returns whether the removal of this node's member has begun.
fn is_leaving(journal: &Journal, member: u64) -> bool {
    NodeState::of(journal).intent == MembershipIntent::Leaving(member)
}

/// Cancels the intent to leave, so that a later boot does not resume the removal unexpectedly.
fn cancel(journal: &mut Journal, member: u64) -> Result<()> {
    if is_leaving(journal, member) {
        journal.add(Event::LeaveCancelled { member })?;
    }
    Ok(())
}

/// Returns whether the other members report, by a linearizable read, that the member was removed.
///
/// # Errors
/// Returns a "not ready" error if no other member answers, or if the members disagree. Returns a
/// refusal if the other members belong to a different cluster.
pub(crate) fn is_removed(identity: &Identity, journal: &Journal, member: u64) -> Result<bool> {
    let observed = block_on(observe(identity, &NodeState::of(journal), member))?;
    if observed.alone || is_listed(&observed.peers, member) {
        return Ok(false);
    }
    match plan(&observed) {
        LeaveStep::AlreadyRemoved => Ok(true),
        LeaveStep::Refuse(why) => Err(refused(why)),
        LeaveStep::Wait(why) => Err(not_ready(why.map(|why| {
            format!("cannot determine whether this node's member was removed: {why}")
        }))),
        LeaveStep::TransferLeadership(_) | LeaveStep::Remove(_) => Ok(false),
    }
}

/// Prints what the command would do.
fn plan_only(identity: &Identity) -> Result<JsonOutput> {
    let journal = Journal::open_read_only(paths::JOURNAL)?;
    if let Some(member) = NodeState::of(&journal).has_left() {
        say(left_reason(member).to_string());
        return Ok(JsonOutput::left(member));
    }
    let member = own_member_id(identity, &journal)?;
    let mut planned = Vec::new();
    match plan(&block_on(observe(
        identity,
        &NodeState::of(&journal),
        member,
    ))?) {
        LeaveStep::AlreadyRemoved => {
            say(removed_reason(member).to_string());
            return Ok(JsonOutput::left(member));
        }
        LeaveStep::Refuse(why) => return Err(refused(why)),
        LeaveStep::Wait(why) => return Err(not_ready(why)),
        LeaveStep::TransferLeadership(to) => {
            planned.push(format!("transfer the leadership to {to:x}"));
        }
        LeaveStep::Remove(_) => {}
    }
    planned.push(format!(
        "remove this node's member {member:x} from the cluster"
    ));
    planned.push("stop etcd in this boot and all later ones".to_owned());
    planned.push(format!("move {} to {}", paths::DATA, paths::ARCHIVE));
    for step in &planned {
        say(format!("would {step}"));
    }
    Ok(JsonOutput {
        member: format!("{member:x}"),
        left: false,
        planned,
    })
}

#[cfg(test)]
mod tests;
