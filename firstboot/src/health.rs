//! Whether etcd on this node is a healthy member.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::etcd::{Client, Credentials};
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::journal::{Event, Journal};
use crate::pause::pause;
use crate::say::say;
use crate::{paths, rebuild};

/// While it is not: how often the others are asked whether this node is a member at all.
const BETWEEN_ROLL_CALLS: Duration = Duration::from_secs(3);

/// Waits until etcd on this node is a healthy member, a learner with its vote, and writes it down.
///
/// # Errors
/// Refused, where the others say that it is no member any more; not ready, after so long.
pub(crate) fn wait(identity: &Identity, journal: &mut Journal, patience: Duration) -> Result<()> {
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

/// Looks at etcd on this node until it has a quorum behind it, and gives the ids of its cluster and member.
async fn become_healthy(
    identity: &Identity,
    journal: &Journal,
    credentials: &Credentials,
    patience: Duration,
) -> Result<(u64, u64)> {
    let begun = Instant::now();
    let mut told = false;
    let mut asked = Instant::now();
    loop {
        let error = match look(credentials).await {
            Ok(ids) => return Ok(ids),
            Err(error) => error,
        };
        if asked.elapsed() > BETWEEN_ROLL_CALLS {
            if let Some(why) = rebuild::removed(identity, journal, credentials, BETWEEN_ROLL_CALLS).await? {
                return Err(refused(why));
            }
            asked = Instant::now();
        }
        if begun.elapsed() >= patience {
            return Err(not_ready(format!(
                "etcd on this node is not healthy after {} s: {error:#}. See `journalctl -u etcd`, and whether \
                 the other members run: `firstboot status`",
                patience.as_secs()
            )));
        }
        if !told {
            say("etcd is started; waiting until it has a quorum");
            told = true;
        }
        pause(begun).await;
    }
}

/// The ids of the cluster and of the member that etcd on this node is.
///
/// # Errors
/// Where it does not serve, or has no quorum behind it.
pub(crate) async fn look(credentials: &Credentials) -> Result<(u64, u64)> {
    let client = Client::connect(paths::OWN_CLIENT_URL, credentials).await?;
    // Read through raft: a learner says that it must not answer.
    client.healthy().await?;
    let header = client.status().await?.header.unwrap_or_default();
    Ok((header.cluster_id, header.member_id))
}
