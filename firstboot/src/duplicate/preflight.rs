//! Asks the other members whether this node may start its member. firstboot asks before etcd
//! starts, and while etcd is not healthy.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use recipes::upgrade::{self, ClusterVersions, EtcdStart};
use tokio::runtime::Runtime;

use super::address::SuspectedDuplicate;
use super::conflict_monitor::ConflictMonitor;
use super::duplicate_timeout::DuplicateTimeout;
use crate::data::{Ids, UnusableData};
use crate::etcd::{Credentials, installed_credentials};
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::journal::{Journal, NodeState};
use crate::membership::{
    self, ActiveStreams, Liveness, LivenessDetector, MemberReport, OBSERVATION_INTERVAL, PeerClient,
};
use crate::output::say;
use crate::paths;
use crate::reason::{Reason, ReasonId};

/// The pause between two queries of the other members.
const QUERY_PAUSE: Duration = Duration::from_secs(1);

/// The time limit for a TCP connection to another member.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The maximum number of times that the query is repeated if no member answers in time. A refused
/// connection shows that a machine does not run etcd, so the query is then not repeated.
const MAX_REPETITIONS: u32 = 2;

/// Refuses to start etcd with its old data if this version of etcd must not use the data, if this
/// node's member was removed while etcd was stopped, or if the member is running on another
/// machine. The other members need not answer: when a whole rack boots, the first member finds no
/// other member running.
pub(crate) fn check_before_start(identity: &Identity, journal: &Journal) -> Result<()> {
    let state = NodeState::of(journal);
    let version = identity.cluster.etcd.version;
    if let Some(obstacle) = upgrade::obstacle(
        version,
        EtcdStart::WithData(state.etcd_version),
        &ClusterVersions::default(),
    ) {
        return Err(refused(ReasonId::EtcdVersion.because(format!(
            "{obstacle}. etcd does not start, and its data is unchanged"
        ))));
    }
    if state.member_id.is_some() {
        wait_until_unique(identity, &state, None, None)
    } else {
        Ok(())
    }
}

/// Returns a refusal if this node is the only member, because no other member has the data that
/// this node lost.
pub(crate) fn refuse_only_member(identity: &Identity, why: &UnusableData) -> Result<()> {
    if identity.cluster.members.len() > 1 {
        return Ok(());
    }
    Err(refused(why.reason().map(|why| {
        format!(
            "{why}. According to the recipe of its image, this node is the only member of its \
             cluster, so no other member has the data. Put the data back, or restore a snapshot \
             with `firstboot restore`. If {} contains this member's newest data, run `firstboot run \
             --accept-data`. If the cluster has grown since this image was built, reinstall this \
             node from the newer image",
            paths::DATA
        )
    })))
}

/// Waits until the other members have a quorum without this node's old member, and until no other
/// machine is running as that member. firstboot may then archive the member's data.
///
/// # Errors
/// Returns a refusal if this node is the only member, if a duplicate is running, or if the other
/// members report that this node's member was removed.
pub(crate) fn wait_until_replaceable(
    identity: &Identity,
    state: &NodeState,
    why: &UnusableData,
) -> Result<()> {
    refuse_only_member(identity, why)?;
    say(why
        .reason()
        .map(|why| format!("etcd must not start: {why}"))
        .to_string());
    wait_until_unique(identity, state, None, None)?;
    let credentials = installed_credentials()?;
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut logged = false;
    loop {
        let (peers, _) = runtime.block_on(membership::query_others(
            identity,
            &peer_client,
            &credentials,
            membership::QUERY_TIMEOUT,
        ));
        if let Some(why) = no_longer_member(&peers, known_ids(state)) {
            return Err(refused(why));
        }
        if !peers.is_empty() {
            return Ok(());
        }
        if !logged {
            let line = why.reason().map(|why| {
                format!(
                    "{why}. Waiting until the other members have a quorum; then this node moves \
                     its data to {} and joins as a new member. If {} contains this member's \
                     newest data, run `firstboot run --accept-data`",
                    paths::ARCHIVE,
                    paths::DATA
                )
            });
            say(line.to_string());
            logged = true;
        }
        sleep(QUERY_PAUSE);
    }
}

/// If a duplicate is suspected, checks that no copy of this machine is running as this node's
/// member. During the check, etcd is stopped on this machine, so any traffic that the other members
/// receive from this node's member comes from a copy. The check waits long enough to detect a copy
/// that is just starting.
///
/// # Errors
/// Returns a refusal if a copy of this machine is running or starting, or if there is no other
/// member to query. Returns a "not ready" error if the answers of the other members do not rule out
/// a copy.
pub(crate) fn rule_out_duplicate(
    identity: &Identity,
    journal: &Journal,
    suspected: SuspectedDuplicate,
) -> Result<()> {
    let Some(suspected) = suspected else {
        return Ok(());
    };
    if identity.cluster.members.len() == 1 {
        return Err(refused(suspected));
    }
    let monitor = ConflictMonitor::open(identity.node.address)?;
    wait_until_unique(identity, &NodeState::of(journal), Some(suspected), monitor)
}

/// Queries the other members until nothing prevents etcd from starting. If the caller passes a
/// `monitor`, a copy of this machine may be starting. In this case, the function succeeds only
/// after a minute during which it detects no copy.
fn wait_until_unique(
    identity: &Identity,
    state: &NodeState,
    mut suspected: SuspectedDuplicate,
    mut monitor: Option<ConflictMonitor>,
) -> Result<()> {
    let credentials = installed_credentials()?;
    let client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (quiet, patience) = (quiet_time(identity), answer_timeout(identity));
    let mut streams = ActiveStreams::default();
    let mut detector = LivenessDetector::default();
    let mut timeout = DuplicateTimeout::default();
    let (mut silences, mut logged) = (0, false);
    let own = identity.member()?;
    let mut member = state.member_id;
    loop {
        monitor.as_mut().map_or(Ok(()), ConflictMonitor::check)?;
        let begun = Instant::now();
        let (mut peers, clusters) = runtime.block_on(membership::query_others(
            identity,
            &client,
            &credentials,
            patience,
        ));
        check_peers(identity, state, &peers)?;
        member = member
            .or_else(|| membership::listed_member_id(&peers, own.name.as_str(), &own.peer_url()));
        streams.retain_active(&mut peers, Instant::now());
        let connected = member.and_then(|member| membership::find_duplicate(&peers, member));
        if suspected.is_none() {
            suspected.clone_from(&connected);
        }
        let Some(why) = &suspected else {
            if !clusters.is_empty() || begun.elapsed() < patience || silences == MAX_REPETITIONS {
                return Ok(());
            }
            silences += 1;
            continue;
        };
        if !logged {
            say(suspicion(why));
            logged = true;
        }
        let verdict = observe(identity, &peers, member, &mut detector, &runtime, &client);
        if let Liveness::Alive(witness) = verdict {
            return Err(duplicate_runs(&witness));
        }
        let over = timeout.still_suspected(why).err();
        let is_over = over.is_some() || monitor.is_none();
        if is_over && (verdict == Liveness::Silent || cannot_have_quorum(identity)) {
            return Ok(());
        }
        if let Some(error) = over {
            return Err(connected.map_or_else(|| unconfirmed(why), |_| error));
        }
        sleep(quiet);
    }
}

/// Observes whether the other members receive traffic from this node's member.
fn observe(
    identity: &Identity,
    peers: &[MemberReport],
    member: Option<u64>,
    detector: &mut LivenessDetector,
    runtime: &Runtime,
    peer_client: &PeerClient,
) -> Liveness {
    match member {
        Some(member) => {
            let whom = membership::recipe_peers(identity)
                .into_iter()
                .chain(membership::extra_peers(identity, peers))
                .collect();
            let heard = runtime.block_on(membership::read_traffic(whom, peer_client));
            detector.observe(member, &heard)
        }
        None if peers.is_empty() => Liveness::Unknown,
        None => Liveness::Silent,
    }
}

/// Returns the time limit for each other member's answer to a query before etcd starts. An answer
/// takes about 12 round trips. etcd's tuning guide recommends a heartbeat interval of about the
/// longest round trip, so the time limit includes 15 heartbeat intervals.
fn answer_timeout(identity: &Identity) -> Duration {
    let heartbeat = Duration::from_millis(identity.cluster.etcd.heartbeat_interval_ms.into());
    Duration::from_millis(500) + 15 * heartbeat
}

/// Returns the time after which a silent member counts as stopped.
fn quiet_time(identity: &Identity) -> Duration {
    OBSERVATION_INTERVAL
        + 2 * Duration::from_millis(identity.cluster.etcd.heartbeat_interval_ms.into())
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

fn suspicion(why: &Reason) -> String {
    let line = why.clone().map(|why| {
        format!("{why}. Checking whether a second machine is running this node's member")
    });
    line.to_string()
}

/// Returns whether too many members refuse connections for the cluster to have a quorum. Counts
/// this node's member as running, because a duplicate may run it.
fn cannot_have_quorum(identity: &Identity) -> bool {
    let members = &identity.cluster.members;
    let runs = |url: &str| {
        let address = url.trim_start_matches("https://").parse();
        let tried = address.map(|address| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT));
        !matches!(tried, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused)
    };
    let others = members
        .iter()
        .filter(|member| member.name != identity.node.name);
    let perhaps = others.filter(|member| runs(&member.client_url())).count();
    perhaps + 1 < members.len() / 2 + 1
}

fn duplicate_runs(witness: &str) -> anyhow::Error {
    refused(ReasonId::DuplicateRunning.because(format!(
        "{witness} receives raft traffic from this node's member although etcd is stopped here: another machine is running as \
         this member, with this node's disk or a copy of it. Switch the wrong machine off, then run `systemctl restart firstboot` on the right machine"
    )))
}

fn unconfirmed(why: &Reason) -> anyhow::Error {
    not_ready(ReasonId::DuplicateUnconfirmed.because(format!(
        "{}. Either no other member answered, or the leader, which would receive this member's traffic, did not answer",
        why.text
    )))
}

/// Queries the other members. If they do not list this node's member, or if they belong to another
/// cluster, returns the reason to report. An etcd that learns of its removal through raft exits
/// with status 0, and only its log contains the reason. A member that was never healthy may have
/// been excluded, and the other members may have bootstrapped another cluster. etcd has not
/// reported the ids of such a member, so firstboot computes them from the token and the peer URLs
/// on which the members agreed.
pub(crate) async fn removal_reason(
    identity: &Identity,
    journal: &Journal,
    credentials: &Credentials,
    patience: Duration,
) -> Result<Option<Reason>> {
    let ids = NodeState::of(journal).ids(&identity.node.name);
    if ids.member.is_none() {
        return Ok(None);
    }
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let (peers, _) = membership::query_others(identity, &peer_client, credentials, patience).await;
    Ok(no_longer_member(&peers, ids))
}

/// Returns the ids that etcd has reported to this node.
fn known_ids(state: &NodeState) -> Ids {
    Ids {
        member: state.member_id,
        cluster: state.cluster_id,
    }
}

fn no_longer_member(peers: &[MemberReport], ids: Ids) -> Option<Reason> {
    let own = ids.member?;
    if peers.is_empty() {
        return None;
    }
    membership::another_cluster(peers, ids.cluster)
        .or_else(|| (!membership::is_listed(peers, own)).then(|| membership::removed_reason(own)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{InitialCluster, cluster_id, member_id};

    fn peer(cluster_id: u64, members: &[u64]) -> MemberReport {
        let member = |id: &u64| crate::etcd::Member {
            id: *id,
            ..crate::etcd::Member::default()
        };
        MemberReport::example(
            cluster_id,
            2,
            &members.iter().map(member).collect::<Vec<_>>(),
        )
    }

    /// This node agreed with the other members on a cluster and started etcd, but was then excluded
    /// before any other member started.
    #[test]
    fn a_member_that_was_excluded_before_it_was_healthy_belongs_to_another_cluster() {
        let (url, token) = ("https://10.0.0.1:2380", "demo-1");
        let state = NodeState {
            initial_cluster: Some(InitialCluster {
                state: "new",
                token: token.to_owned(),
                members: vec![("etcd-1".to_owned(), url.to_owned())],
            }),
            ..NodeState::default()
        };
        let ids = state.ids(&"etcd-1".parse().unwrap());
        let (member, cluster) = (member_id(url, token), cluster_id([url], token));
        assert_eq!(
            no_longer_member(&[peer(cluster, &[member, 2])], ids),
            None,
            "the first start of the cluster"
        );
        let why = no_longer_member(&[peer(7, &[2, 3])], ids).unwrap();
        assert_eq!(why.id, Some(ReasonId::AnotherCluster));
        assert_eq!(
            no_longer_member(&[peer(7, &[2, 3])], known_ids(&state)),
            None
        );
    }
}
