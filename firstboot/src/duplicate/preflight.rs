//! Asks the other members whether this node may start its member. firstboot asks before etcd
//! starts, and while etcd is not healthy.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use recipes::upgrade::{self, ClusterVersions, EtcdStart};

use super::address::SuspectedDuplicate;
use super::conflict_monitor::ConflictMonitor;
use super::duplicate_timeout::DuplicateTimeout;
use super::queries::Queries;
use super::removal::{known_ids, no_longer_member};
use crate::data::UnusableData;
use crate::etcd::installed_credentials;
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::journal::{Journal, NodeState};
use crate::membership::{self, Liveness, LivenessDetector, OBSERVATION_INTERVAL, PeerClient};
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
    let mut queries = Queries::new(identity, state)?;
    let mut detector = LivenessDetector::default();
    let mut timeout = DuplicateTimeout::default();
    let (mut repetitions, mut logged) = (0, false);
    loop {
        monitor.as_mut().map_or(Ok(()), ConflictMonitor::check)?;
        let answers = queries.run()?;
        if suspected.is_none() {
            suspected.clone_from(&answers.connected);
        }
        let Some(why) = &suspected else {
            if !answers.timed_out || repetitions == MAX_REPETITIONS {
                return Ok(());
            }
            repetitions += 1;
            continue;
        };
        if !logged {
            say(suspicion(why));
            logged = true;
        }
        let liveness = queries.observe_own_member(&answers.peers, &mut detector);
        if let Liveness::Alive(witness) = liveness {
            return Err(duplicate_runs(&witness));
        }
        let overdue = timeout.still_suspected(why).err();
        let may_succeed = overdue.is_some() || monitor.is_none();
        if may_succeed && (liveness == Liveness::Silent || cannot_have_quorum(identity)) {
            return Ok(());
        }
        if let Some(error) = overdue {
            let connected = answers.connected;
            return Err(connected.map_or_else(|| unconfirmed(why), |_| error));
        }
        sleep(quiet_time(identity));
    }
}

/// Returns the time after which a silent member counts as stopped.
fn quiet_time(identity: &Identity) -> Duration {
    OBSERVATION_INTERVAL
        + 2 * Duration::from_millis(identity.cluster.etcd.heartbeat_interval_ms.into())
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
         this member, with this node's disk or a copy of it. Switch off the machine that must not run, then run `systemctl restart firstboot` on the other machine"
    )))
}

fn unconfirmed(why: &Reason) -> anyhow::Error {
    not_ready(ReasonId::DuplicateUnconfirmed.because(format!(
        "{}. Either no other member answered, or the leader, which would receive this member's traffic, did not answer",
        why.text
    )))
}
