//! `firstboot leave`: takes this member out of its cluster and keeps it out. `plan` says what is next; here it is
//! observed, written down and done.

mod plan;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::etcd::{Client, Credentials};
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::journal::{Event, Journal, MembershipIntent, NodeState, archive_data};
use crate::membership::{PATIENCE, PeerClient, is_listed, others, removed};
use crate::metadata::SourceLog;
use crate::node::identify;
use crate::output::say;
use crate::{files, operator, paths, release};
use plan::{Observed, Plan, plan};

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(300);

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// For how many seconds to try
    #[arg(long, default_value_t = 60)]
    deadline: u64,
}

/// Leaves, or says why it cannot.
pub(crate) fn command(options: &Options) -> Result<()> {
    let (identity, _) = identify(&mut SourceLog::default())?;
    if options.dry_run {
        return show(&identity);
    }
    operator::with_journal(|journal| {
        if let MembershipIntent::Left(member) = NodeState::of(journal).intent {
            enforce_left(journal)?;
            say(left(member));
            return Ok(());
        }
        leave(&identity, journal, Duration::from_secs(options.deadline))
    })
}

/// What a node that left says of itself.
pub(crate) fn left(member: u64) -> String {
    format!(
        "this node was the member {member:x} and has left its cluster; etcd stays down. `firstboot run --rejoin` brings \
         it back"
    )
}

/// Takes the member out, within this time or not at all.
///
/// # Errors
/// Refused or not ready, and the node goes on as a member.
pub(crate) fn leave(identity: &Identity, journal: &mut Journal, patience: Duration) -> Result<()> {
    let member = own(journal)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(remove_member(identity, journal, member, patience))?;
    enforce_left(journal)?;
    say(left(member));
    Ok(())
}

/// Sees to it that a member that was taken out stays out.
pub(crate) fn enforce_left(journal: &mut Journal) -> Result<()> {
    release::halt()?;
    // etcd's guard writes the progress when etcd stops, and does not run again on a node that left.
    files::remove_unfinished(Path::new(paths::PROGRESS))?;
    archive_data("left", journal)
}

/// The member that this node is.
pub(crate) fn own(journal: &Journal) -> Result<u64> {
    NodeState::of(journal)
        .member
        .ok_or_else(|| refused("this node is no member of its cluster yet; `firstboot status`"))
}

async fn remove_member(identity: &Identity, journal: &mut Journal, member: u64, patience: Duration) -> Result<()> {
    let end = Instant::now() + patience;
    let mut logged = String::new();
    loop {
        let observed = look(identity, &NodeState::of(journal), member).await?;
        let step = plan(&observed);
        // Looked at once more after the last try: it may have been done.
        let over = Instant::now() >= end;
        let done = match step {
            Plan::AlreadyRemoved => {
                return if NodeState::of(journal).intent == MembershipIntent::Leaving(member) {
                    journal.add(Event::Left { member })
                } else {
                    Err(refused(removed(member)))
                };
            }
            Plan::Refuse(why) => {
                cancel(journal, member)?;
                return Err(refused(why));
            }
            Plan::Wait(why) if over => {
                cancel(journal, member)?;
                return Err(not_ready(format!("this node did not leave, and goes on as a member: {why}")));
            }
            _ if over => {
                cancel(journal, member)?;
                return Err(not_ready(format!(
                    "this node did not leave in time, and goes on as a member. The last word was: {logged}"
                )));
            }
            Plan::Wait(why) => Err(anyhow::anyhow!(why)),
            Plan::TransferLeadership(to) => {
                say(format!("this node leads; handing the leadership to {to:x}"));
                let credentials = Credentials::installed()?;
                async { Client::connect(paths::OWN_CLIENT_URL, &credentials).await?.move_leader(to).await }.await
            }
            Plan::Remove(through) => {
                journal
                    .record_intent(Event::Leave { member }, &format!("removing this node, the member {member:x}"))?;
                let credentials = Credentials::installed()?;
                async { Client::connect(&through, &credentials).await?.remove(member).await }.await
            }
        };
        if let Err(error) = done {
            let why = format!("{error:#}");
            if why != logged {
                say(format!("not yet: {why}"));
                logged = why;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What was intended is given up: it is never taken up at a later boot, when nobody thinks of it any more.
fn cancel(journal: &mut Journal, member: u64) -> Result<()> {
    if NodeState::of(journal).intent == MembershipIntent::Leaving(member) {
        journal.add(Event::Stay { member })?;
    }
    Ok(())
}

/// What etcd on this node and the others say.
async fn look(identity: &Identity, state: &NodeState, member: u64) -> Result<Observed> {
    let credentials = Credentials::installed()?;
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let (peers, _) = others(identity, &peer_client, &credentials, PATIENCE).await;
    let own = async {
        let client = Client::connect(paths::OWN_CLIENT_URL, &credentials).await?;
        let leader = client.status().await?.leader;
        // A list that no quorum stands behind may be old; where there is no other voter, this one is the quorum.
        client.healthy().await?;
        let voters = client.members(true).await?.into_iter().filter(|member| !member.is_learner);
        Ok::<_, anyhow::Error>((leader, voters.map(|member| member.id).collect::<Vec<_>>()))
    };
    let own = own.await.ok();
    Ok(Observed {
        member,
        cluster: state.cluster,
        leader: own.as_ref().map(|(leader, _)| *leader).filter(|leader| *leader != 0),
        alone: own.is_some_and(|(_, voters)| voters == [member]),
        peers,
    })
}

/// Whether the others say, with a quorum behind them, that the member is none any more.
///
/// # Errors
/// Not ready, where nobody can say.
pub(crate) fn is_removed(identity: &Identity, journal: &Journal, member: u64) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let observed = runtime.block_on(look(identity, &NodeState::of(journal), member))?;
    if observed.alone || is_listed(&observed.peers, member) {
        return Ok(false);
    }
    match plan(&observed) {
        Plan::AlreadyRemoved => Ok(true),
        Plan::Refuse(why) => Err(refused(why)),
        Plan::Wait(why) => Err(not_ready(format!("whether this node was removed cannot be told: {why}"))),
        Plan::TransferLeadership(_) | Plan::Remove(_) => Ok(false),
    }
}

fn show(identity: &Identity) -> Result<()> {
    let journal = Journal::look(paths::JOURNAL)?;
    if let MembershipIntent::Left(member) = NodeState::of(&journal).intent {
        println!("{}", left(member));
        return Ok(());
    }
    let member = own(&journal)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match plan(&runtime.block_on(look(identity, &NodeState::of(&journal), member))?) {
        Plan::AlreadyRemoved => println!("{}", removed(member)),
        Plan::Refuse(why) => return Err(refused(why)),
        Plan::Wait(why) => return Err(not_ready(why)),
        step => {
            if let Plan::TransferLeadership(to) = step {
                println!("would hand the leadership to {to:x}");
            }
            println!("would remove this node, the member {member:x}");
            println!("would stop etcd, for this boot and all later ones");
            println!("would put {} aside below {}", paths::DATA, paths::ASIDE);
        }
    }
    Ok(())
}
