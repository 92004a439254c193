//! Brings a node with a new disk back into its cluster: firstboot removes the node's old member,
//! adds the node as a learner, starts etcd with the current member list, and promotes the learner
//! to a voter when the learner is in sync. `observe` queries the node and the members, `plan`
//! decides on the next step, and this module writes the step to the journal and executes it.

mod observe;
mod plan;
mod promote;

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Result;

use crate::domain::InitialCluster;
use crate::duplicate::{self, DuplicateProbe, DuplicateTimeout};
use crate::etcd::{Client, Credentials, installed_credentials};
use crate::identity::Identity;
use crate::journal::{Event, Journal, NodeState};
use crate::membership::{ActiveStreams, PeerClient, remove_member};
use crate::output::say;
use crate::reason::{Reason, ReasonId};
use observe::observe;
use plan::{ENTRIES_BEFORE_COMPACTION, RebuildStep, plan};
pub(crate) use promote::{promote_learner, record_promotion};

/// The key that a node writes repeatedly so that the members compact their raft logs.
const FILLER_KEY: &str = "/etcd-image/join";

/// The result of one round.
#[derive(Debug)]
pub(crate) enum JoinProgress {
    /// etcd may not start yet, for this reason.
    Wait(Reason),
    /// etcd may start with these parameters.
    Join(InitialCluster),
}

/// The rebuild of this node in a running cluster.
#[derive(Debug)]
pub(crate) struct Rebuild {
    peer_client: PeerClient,
    streams: ActiveStreams,
    duplicate_timeout: DuplicateTimeout,
    arp_probe: DuplicateProbe,
}

impl Rebuild {
    /// Prepares the rebuild, which starts when `advance` is called. In the background, probes the
    /// network for a second machine with this node's address.
    pub(crate) fn new(identity: &Identity, peer_client: PeerClient) -> Self {
        let arp_probe = duplicate::start_probe(identity.node.address);
        Self {
            peer_client,
            streams: ActiveStreams::default(),
            duplicate_timeout: DuplicateTimeout::default(),
            arp_probe,
        }
    }

    /// Executes steps until a step must wait or etcd may start. `live_clusters` contains the
    /// clusters whose members answer on their peer ports.
    pub(crate) async fn advance(
        &mut self,
        identity: &Identity,
        journal: &mut Journal,
        live_clusters: &BTreeSet<u64>,
    ) -> Result<JoinProgress> {
        loop {
            if let Some(round) = self.step(identity, journal, live_clusters).await? {
                return Ok(round);
            }
        }
    }

    /// Observes the cluster and executes one step. Returns `None` after a step that succeeded. A
    /// failed request to etcd is not an error, because etcd may have executed the request anyway.
    /// The next round observes whether etcd has executed it.
    async fn step(
        &mut self,
        identity: &Identity,
        journal: &mut Journal,
        live_clusters: &BTreeSet<u64>,
    ) -> Result<Option<JoinProgress>> {
        let credentials = installed_credentials()?;
        let mut observed = observe(
            identity,
            &self.peer_client,
            &credentials,
            NodeState::of(journal).added_member_id,
        )
        .await?;
        observed.clusters.extend(live_clusters.iter());
        self.streams
            .retain_active(&mut observed.peers, Instant::now());
        let helper = observed.peers.first().map(|peer| peer.url.as_str());
        let step = plan(&observed);
        if !matches!(step, RebuildStep::DuplicateMember(_)) {
            self.duplicate_timeout = DuplicateTimeout::default();
        }
        let done = match (step, helper) {
            (RebuildStep::Wait(why), _) => return Ok(Some(JoinProgress::Wait(why))),
            (RebuildStep::DuplicateMember(why), _) => {
                // If a second machine in the same network uses this node's address, the probe
                // detects it immediately. firstboot then refuses at once, and does not wait for the
                // timeout.
                self.arp_probe.current_result()?;
                self.duplicate_timeout.still_suspected(&why)?;
                return Ok(Some(JoinProgress::Wait(why)));
            }
            (RebuildStep::Join(members), _) => {
                let start = join(identity, journal, members)?;
                return Ok(Some(JoinProgress::Join(start)));
            }
            (RebuildStep::CompactRaftLog, Some(helper)) => compact_log(helper, &credentials).await,
            (RebuildStep::Remove(member), Some(helper)) => {
                // Probe again, because this node may have waited for days. Even if all connections
                // to this node's member are closed, another machine may be running the member.
                self.arp_probe.current_result()?;
                let line =
                    format!("removing this node's former member {member:x}, whose data is lost");
                journal.record_next_step(Event::Remove { member }, &line)?;
                remove_member(helper, member, &credentials).await
            }
            (RebuildStep::Add(cluster), Some(helper)) => {
                let line = format!("adding this node to the cluster {cluster:x} as a learner");
                journal.record_next_step(Event::Add { cluster }, &line)?;
                let added = async {
                    Client::connect(helper, &credentials)
                        .await?
                        .add_learner(&observed.peer_url)
                        .await
                };
                match added.await {
                    Ok(member) => Ok(journal.add(Event::Added { member })?),
                    Err(error) => Err(error),
                }
            }
            (_, None) => Ok(()),
        };
        Ok(done.err().map(|error| {
            JoinProgress::Wait(
                ReasonId::EtcdCallFailed.because(format!("the request to etcd failed: {error:#}")),
            )
        }))
    }
}

fn join(
    identity: &Identity,
    journal: &mut Journal,
    members: Vec<(String, String)>,
) -> Result<InitialCluster> {
    let token = identity.cluster.name.to_string();
    let start = InitialCluster {
        state: "existing",
        token,
        members,
    };
    say(format!(
        "etcd joins the cluster as one of {} members",
        start.members.len()
    ));
    let InitialCluster { token, members, .. } = start.clone();
    journal.add(Event::Join { token, members })?;
    Ok(start)
}

/// Writes enough entries to make every member compact its raft log. A member that has compacted its
/// log does not send the first entries to a new member.
async fn compact_log(url: &str, credentials: &Credentials) -> Result<()> {
    say(
        "the members' logs still contain their first entries, which etcd on this node may not be able to read: writing entries until the members have compacted their raft logs",
    );
    let client = Client::connect(url, credentials).await?;
    for entry in 0..ENTRIES_BEFORE_COMPACTION {
        let value = entry.to_string().into_bytes();
        client.transact(&[], &[(FILLER_KEY, Some(value))]).await?;
    }
    client.transact(&[], &[(FILLER_KEY, None)]).await.map(drop)
}
