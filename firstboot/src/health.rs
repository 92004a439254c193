//! Whether etcd on this node is a healthy member.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::backoff::pause;
use crate::data::{self, Contents, Progress, Seen, Verdict, contents, judge};
use crate::diagnosis::Watch;
use crate::etcd::{Credentials, probe_local};
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::journal::{Event, Journal, NodeState};
use crate::output::say;
use crate::steps::etcd_conf::configure;
use crate::{duplicate, paths, rebuild, release};

/// While it is not: how often the others are asked whether this node is a member at all.
const BETWEEN_ROLL_CALLS: Duration = Duration::from_secs(3);
/// What is told as long as nothing is known to be wrong.
const WAITING: &str = "etcd is started; waiting until it has a quorum";
/// Between two looks for etcd's first log: from then on etcd may soon vote.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until etcd on this node is a healthy member, a learner with its vote, and writes it down.
///
/// # Errors
/// Refused, where the others say that it is no member any more; not ready, after so long.
pub(crate) fn wait(identity: &Identity, journal: &mut Journal, patience: Duration) -> Result<()> {
    let begun = Instant::now();
    until_begun(identity, journal, patience)?;
    let patience = patience.saturating_sub(begun.elapsed());
    let credentials = Credentials::installed()?;
    let learner = rebuild::learner(journal)?;
    let vote = async {
        if let Some(member) = learner {
            rebuild::vote(identity, &credentials, member).await?;
        }
        // With a vote, too, it is to become healthy first.
        std::future::pending().await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (cluster, member) = runtime.block_on(async {
        tokio::select! {
            ids = become_healthy(identity, journal, &credentials, patience) => ids,
            error = vote => error,
        }
    })?;
    let healthy = Event::Healthy { cluster, member };
    if journal.last(|event| matches!(event, Event::Healthy { .. }).then_some(event)) != Some(&healthy) {
        journal.add(healthy)?;
    }
    say(format!("{} is a healthy member of {}", identity.node.name, identity.node.cluster));
    Ok(())
}

/// Waits until etcd has made its log, where it has none yet, and writes down which data is the member's. A learner gets its
/// vote after that: whatever a voter acknowledges, its data is known by then.
fn until_begun(identity: &Identity, journal: &mut Journal, patience: Duration) -> Result<()> {
    let begun = Instant::now();
    let mut watch = Watch::new();
    while NodeState::of(journal).data.is_none() {
        let past = NodeState::of(journal);
        if contents(Path::new(paths::DATA))? == Contents::Log {
            let seen = Seen::at(Path::new(paths::DATA))?;
            match judge(&past.expected(&identity.node.name), &seen, None) {
                Verdict::Begun(known) => {
                    // Before the journal says that it was: a run that is cut short here does it again.
                    if let (Some(life), Ok(log)) = (past.disk_id, seen.log) {
                        Progress::starting(life, log).write()?;
                    }
                    journal.add(Event::DataBegun(known))?;
                }
                Verdict::Lost(why) => return Err(not_ready(format!("{}: {why}", paths::DATA))),
                _ => {}
            }
        }
        if begun.elapsed() >= patience {
            return Err(not_ready(format!(
                "etcd on this node has not begun after {} s. {}See `journalctl -u etcd`",
                patience.as_secs(),
                watch.reason()
            )));
        }
        watch.look(identity, "etcd is started; waiting until it has begun its log");
        std::thread::sleep(LOOK);
    }
    let past = NodeState::of(journal);
    release::renew(&past.expected(&identity.node.name))?;
    past.begun.iter().try_for_each(|start| configure(identity, start, past.data.is_some()))
}

/// Looks at etcd on this node until it has a quorum behind it, and gives the ids of its cluster and member.
async fn become_healthy(
    identity: &Identity,
    journal: &Journal,
    credentials: &Credentials,
    patience: Duration,
) -> Result<(u64, u64)> {
    let begun = Instant::now();
    let mut watch = Watch::new();
    let mut asked = Instant::now();
    let mut said = false;
    loop {
        let error = match probe_local(credentials).await {
            Ok(ids) => return Ok(ids),
            Err(error) => error,
        };
        if !said {
            say(WAITING);
            said = true;
        }
        if asked.elapsed() > BETWEEN_ROLL_CALLS {
            if !data::is_in_place(&NodeState::of(journal).expected(&identity.node.name))? {
                return Err(not_ready(format!("{} is not the data that etcd had when it started", paths::DATA)));
            }
            if let Some(why) = duplicate::removed(identity, journal, credentials, BETWEEN_ROLL_CALLS).await? {
                return Err(refused(why));
            }
            asked = Instant::now();
        }
        if begun.elapsed() >= patience {
            return Err(not_ready(format!(
                "etcd on this node is not healthy after {} s: {error:#}. {}See `journalctl -u etcd`, and whether \
                 the other members run: `firstboot status`",
                patience.as_secs(),
                watch.reason()
            )));
        }
        watch.look(identity, WAITING);
        pause(begun).await;
    }
}
