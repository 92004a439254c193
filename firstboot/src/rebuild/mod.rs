//! A node with a new disk returns to its cluster by itself: its old member is removed, it is added as a learner, starts
//! with the list as it then is, and gets its vote when it is in sync. `observe` asks, `plan` says what is next; here it
//! is written down and done.

mod observe;
mod plan;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use recipes::cluster::Member;

use crate::barrier::{Asker, Past};
use crate::etcd::{Client, Credentials};
use crate::identity::Identity;
use crate::journal::{Event, Journal};
use crate::say::say;
use crate::steps::etcd_conf::Start;
use plan::{Plan, plan};

/// What came of one round.
#[derive(Debug)]
pub(crate) enum Round {
    /// Nothing that lets etcd start; why.
    Wait(String),
    /// etcd may start as this.
    Join(Start),
}

/// The way back into a cluster that lives.
#[derive(Debug)]
pub(crate) struct Rebuild {
    asker: Asker,
}

impl Rebuild {
    /// With the node's certificates.
    pub(crate) fn new(asker: Asker) -> Self {
        Self { asker }
    }

    /// Goes as far as it gets. `living` are the clusters that were seen on the peer ports.
    pub(crate) async fn round(
        &self,
        identity: &Identity,
        journal: &mut Journal,
        living: &BTreeSet<u64>,
    ) -> Result<Round> {
        loop {
            if let Some(round) = self.step(identity, journal, living).await? {
                return Ok(round);
            }
        }
    }

    /// Observes and takes one step; nothing comes of one that was done. One that fails is no error: it may have been
    /// done all the same, and the next round sees.
    async fn step(&self, identity: &Identity, journal: &mut Journal, living: &BTreeSet<u64>) -> Result<Option<Round>> {
        let credentials = Credentials::installed()?;
        let mut observed = observe::all(identity, &self.asker, &credentials, Past::of(journal).added).await?;
        observed.clusters.extend(living.iter());
        let helper = observed.peers.first().and_then(|peer| identity.cluster.member(&peer.name));
        let done = match (plan(&observed), helper) {
            (Plan::Wait(why), _) => return Ok(Some(Round::Wait(why))),
            (Plan::Join(members), _) => {
                let token = identity.cluster.name.to_string();
                let start = Start { state: "existing", token, members };
                say(format!("joining as one of {} members", start.members.len()));
                let Start { token, members, .. } = start.clone();
                journal.add(Event::Join { token, members })?;
                return Ok(Some(Round::Join(start)));
            }
            (Plan::Remove(member), Some(helper)) => {
                let line = format!("removing the member {member:x}, which this node was before its disk was new");
                intend(journal, Event::Remove { member }, &line)?;
                async { connect(helper, &credentials).await?.remove(member).await }.await
            }
            (Plan::Add(cluster), Some(helper)) => {
                let line = format!("adding this node to the cluster {cluster:x} as a learner");
                intend(journal, Event::Add { cluster }, &line)?;
                let added = async { connect(helper, &credentials).await?.add_learner(&observed.peer_url).await };
                match added.await {
                    Ok(member) => Ok(journal.add(Event::Added { member })?),
                    Err(error) => Err(error),
                }
            }
            (_, None) => Ok(()),
        };
        Ok(done.err().map(|error| Round::Wait(format!("etcd did not do it yet: {error:#}"))))
    }
}

/// Says and writes down what will be done; once, however often it has to be tried.
fn intend(journal: &mut Journal, event: Event, line: &str) -> Result<()> {
    if journal.entries.last().is_some_and(|entry| entry.event == event) {
        return Ok(());
    }
    say(line);
    journal.add(event)
}

async fn connect(member: &Member, credentials: &Credentials) -> Result<Client> {
    Client::connect(&member.client_url(), credentials).await
}

/// Why etcd on this node will never be healthy, if that is because its cluster goes on without it. etcd ends with
/// success then, and says so nowhere but in its log.
pub(crate) async fn removed(
    identity: &Identity,
    journal: &Journal,
    credentials: &Credentials,
) -> Result<Option<String>> {
    let Some(own) = Past::of(journal).member else { return Ok(None) };
    let asker = Asker::new(&identity.cluster, &identity.node.tls)?;
    let peers = observe::all(identity, &asker, credentials, None).await?.peers;
    let lists_it = |peer: &plan::Peer| peer.members.iter().any(|member| member.id == own);
    Ok((!peers.is_empty() && !peers.iter().any(lists_it)).then(|| {
        format!(
            "this node is the member {own:x}, and somebody removed that from the cluster. Its data is of no use any \
             more: install the machine anew, and it joins again"
        )
    }))
}

/// Gives this node, a learner, its vote. Any voter passes the request on to the leader, which refuses it until the
/// learner is in sync; who is a voter already is done.
///
/// # Errors
/// Whatever the last voter said; trying again is right for all of it.
pub(crate) async fn promote(
    identity: &Identity,
    journal: &mut Journal,
    credentials: &Credentials,
    member: u64,
) -> Result<()> {
    intend(journal, Event::Promote { member }, "etcd runs as a learner; it gets its vote when it is in sync")?;
    let mut last = Ok(());
    for other in identity.cluster.members.iter().filter(|other| other.name != identity.node.name) {
        // A voter that is down costs a second, not the patience of a call.
        let asked = tokio::time::timeout(Duration::from_secs(2), async {
            connect(other, credentials).await?.promote(member).await
        });
        match asked.await {
            Ok(Ok(())) => {
                say("in sync: this node has its vote");
                return Ok(());
            }
            // ErrMemberNotLearner: an earlier request was done, though its answer was lost.
            Ok(Err(error)) if error.to_string().ends_with("can only promote a learner member") => return Ok(()),
            Ok(Err(error)) => last = Err(error),
            Err(_) => {}
        }
    }
    last
}
