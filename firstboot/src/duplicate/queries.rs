//! The queries of the other members before etcd starts.

use std::time::{Duration, Instant};

use anyhow::Result;
use recipes::upgrade::{self, EtcdStart};
use tokio::runtime::Runtime;

use super::address::SuspectedDuplicate;
use super::removal::{known_ids, no_longer_member};
use crate::etcd::{Credentials, installed_credentials};
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::journal::NodeState;
use crate::membership::{
    self, ActiveStreams, Liveness, LivenessDetector, MemberReport, PeerClient,
};
use crate::reason::ReasonId;

/// The repeated queries about this node's member.
pub(super) struct Queries<'a> {
    identity: &'a Identity,
    state: &'a NodeState,
    /// The id of this node's member, once the journal or another member has named it.
    member: Option<u64>,
    credentials: Credentials,
    client: PeerClient,
    runtime: Runtime,
    streams: ActiveStreams,
}

/// The answers to one query.
pub(super) struct Answers {
    /// The reports of the members that answered. A report shows only the connections that are in
    /// use.
    pub(super) peers: Vec<MemberReport>,
    /// The reason to suspect a duplicate, if another member has a connection from this node's
    /// member.
    pub(super) connected: SuspectedDuplicate,
    /// Whether no member answered within the time limit. If all members refuse connections, the
    /// query ends before the limit.
    pub(super) timed_out: bool,
}

impl<'a> Queries<'a> {
    pub(super) fn new(identity: &'a Identity, state: &'a NodeState) -> Result<Self> {
        Ok(Self {
            identity,
            state,
            member: state.member_id,
            credentials: installed_credentials()?,
            client: PeerClient::new(&identity.cluster, &identity.tls)?,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            streams: ActiveStreams::default(),
        })
    }

    /// Queries all other members.
    ///
    /// # Errors
    /// Fails if the answers show that this node must not start its member.
    pub(super) fn run(&mut self) -> Result<Answers> {
        let (identity, limit) = (self.identity, answer_timeout(self.identity));
        let begun = Instant::now();
        let query = membership::query_others(identity, &self.client, &self.credentials, limit);
        let (mut peers, clusters) = self.runtime.block_on(query);
        let timed_out = clusters.is_empty() && begun.elapsed() >= limit;
        check_peers(identity, self.state, &peers)?;
        let own = identity.member()?;
        self.member = self
            .member
            .or_else(|| membership::listed_member_id(&peers, own.name.as_str(), &own.peer_url()));
        self.streams.retain_active(&mut peers, Instant::now());
        let connected = self
            .member
            .and_then(|member| membership::find_duplicate(&peers, member));
        Ok(Answers {
            peers,
            connected,
            timed_out,
        })
    }

    /// Observes whether the other members receive traffic from this node's member.
    pub(super) fn observe_own_member(
        &self,
        peers: &[MemberReport],
        detector: &mut LivenessDetector,
    ) -> Liveness {
        match self.member {
            Some(member) => {
                let others = membership::recipe_peers(self.identity)
                    .into_iter()
                    .chain(membership::extra_peers(self.identity, peers))
                    .collect();
                let traffic = membership::read_traffic(others, &self.client);
                detector.observe(member, &self.runtime.block_on(traffic))
            }
            None if peers.is_empty() => Liveness::Unknown,
            None => Liveness::Silent,
        }
    }
}

/// Returns the time limit for each other member's answer to a query before etcd starts. An answer
/// takes about 12 round trips. etcd's tuning guide recommends a heartbeat interval of about the
/// longest round trip, so the time limit includes 15 heartbeat intervals.
fn answer_timeout(identity: &Identity) -> Duration {
    let heartbeat = Duration::from_millis(identity.cluster.etcd.heartbeat_interval_ms.into());
    Duration::from_millis(500) + 15 * heartbeat
}

/// Returns an error if the other members removed this node's member, or if this node's version of
/// etcd must not run alongside their versions.
fn check_peers(identity: &Identity, state: &NodeState, peers: &[MemberReport]) -> Result<()> {
    if let Some(why) = no_longer_member(peers, known_ids(state)) {
        return Err(refused(why));
    }
    if state.member_id.is_some()
        && let Some(obstacle) = upgrade::obstacle(
            identity.cluster.etcd.version,
            EtcdStart::WithData(None),
            &membership::versions(peers),
        )
    {
        return Err(not_ready(
            ReasonId::EtcdVersion.because(format!("{obstacle}. etcd does not start")),
        ));
    }
    Ok(())
}
