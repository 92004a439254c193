//! Records for each other member the result of the last probe, the time since which the result has
//! been the same, and the member's last answer. From these facts, this module composes the status
//! line that `systemctl status` shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use recipes::Label;
use time::OffsetDateTime;
use time::macros::format_description;

use super::decide::{Action, LocalState, PeerObservation, PeerObservations, starts_second_cluster};
use crate::domain::BootstrapMode;
use crate::membership::{BarrierPhase, NO_ANSWER, NO_ROUTE, PeerState, ProbeResult};
use crate::reason::{Reason, ReasonId};

/// The observations about one member, with the times at which they were made.
#[derive(Debug, Clone)]
struct TrackedPeer {
    observation: PeerObservation,
    /// The time at which the member last answered.
    last_answer_at: Option<SystemTime>,
    /// The result of the last probe.
    now: ProbeResult,
    /// The time since which all probes have had this result.
    since: SystemTime,
}

/// Tracks all other members of the recipe.
#[derive(Debug, Default)]
pub(crate) struct PeerTracker(BTreeMap<Label, TrackedPeer>);

impl PeerTracker {
    /// Records the result of a probe.
    pub(crate) fn record(&mut self, name: &Label, heard: ProbeResult, at: SystemTime) {
        let before = self.0.remove(name);
        let (heard, since) = match &before {
            Some(before) => before.followed_by(heard, at),
            None => (heard, at),
        };
        let (observation, spoke) = match &heard {
            ProbeResult::State(state) => (
                PeerObservation {
                    state: Some(state.clone()),
                    answered_last_probe: true,
                },
                Some(at),
            ),
            ProbeResult::Unreachable(_) | ProbeResult::UnexpectedResponder(_) => match before {
                Some(before) => (
                    PeerObservation {
                        answered_last_probe: false,
                        ..before.observation
                    },
                    before.last_answer_at,
                ),
                None => (PeerObservation::default(), None),
            },
        };
        self.0.insert(
            name.clone(),
            TrackedPeer {
                observation,
                last_answer_at: spoke,
                now: heard,
                since,
            },
        );
    }

    /// Returns the observations that `decide` needs.
    pub(crate) fn observations(&self) -> PeerObservations {
        self.0
            .iter()
            .map(|(name, peer)| (name.clone(), peer.observation.clone()))
            .collect()
    }

    /// Returns the clusters of the members on which etcd runs, according to the last probes.
    pub(crate) fn live_clusters(&self) -> BTreeSet<u64> {
        let of = |peer: &TrackedPeer| match peer.now {
            ProbeResult::State(PeerState::Etcd { cluster_id }) => Some(cluster_id),
            _ => None,
        };
        self.0.values().filter_map(of).collect()
    }

    /// Describes why the node waits. The text stays the same as long as the observations stay the
    /// same.
    pub(crate) fn describe(&self, local: &LocalState, action: &Action) -> Reason {
        let mut parts = Vec::new();
        for (name, peer) in &self.0 {
            parts.extend(peer.describe(name, local));
        }
        let parts = parts.join("; ");
        if *action == Action::JoinRunningCluster {
            // `rebuild` reports this reason with its id.
            return Reason::from(format!(
                "this node has no data, and a cluster is running, or was running when one of its members last answered. \
                 Therefore, this node does not bootstrap a new cluster: {parts}"
            ));
        }
        ReasonId::MembersNotReady.because(if local.only_joins {
            format!(
                "this node was a member and its data is lost, so this node only joins a running \
                 cluster, but no member is running: {parts}. Start a member that has its data. If \
                 no member has data, restore a snapshot with `firstboot restore`, or reinstall all \
                 nodes to bootstrap an empty cluster"
            )
        } else if local.mode.is_new() {
            format!("waiting until all initial members agree: {parts}")
        } else {
            format!(
                "this node was ordered to {}, and is waiting until the other members have the same \
                 order: {parts}",
                local.mode
            )
        })
    }

    /// Explains why the state of the named member makes this node abandon its order. `own_cluster`
    /// is the id of the cluster of this node's previous data.
    pub(crate) fn abandon_reason(
        &self,
        local: &LocalState,
        name: &Label,
        own_cluster: Option<u64>,
    ) -> Reason {
        match self.0.get(name).map(|peer| &peer.now) {
            Some(ProbeResult::State(PeerState::Firstboot { mode, .. })) => ReasonId::OrdersDiffer.because(format!(
                "this node was ordered to {}, but {name} was ordered to {mode}. Both orders are \
                 cancelled; give all members the same order",
                local.mode
            )),
            Some(ProbeResult::State(PeerState::Etcd { cluster_id }))
                if own_cluster.is_some_and(|own| own != *cluster_id) =>
            {
                ReasonId::OrderWithdrawn.because(format!(
                    "{name} runs etcd in the cluster {cluster_id:x}, which is not the previous cluster of this node: \
                     {name} may have completed its restore without this node. If that cluster is healthy, reinstall \
                     this node"
                ))
            }
            _ => ReasonId::OrderWithdrawn
                .because(format!("{name} abandoned its order to {}; its etcd runs with its previous data", local.mode)),
        }
    }
}

impl TrackedPeer {
    /// Returns the member's result after a further probe at the time `at`, and the time at which
    /// the member first had this result. If a member does not answer, all errors count as the same
    /// result.
    fn followed_by(&self, heard: ProbeResult, at: SystemTime) -> (ProbeResult, SystemTime) {
        match (&self.now, &heard) {
            // While a machine is off, probes of this machine alternately return these two errors.
            // Keep the error that says more, because each change of the text is logged.
            (ProbeResult::Unreachable(before), ProbeResult::Unreachable(now))
                if before == NO_ROUTE && now == NO_ANSWER =>
            {
                (self.now.clone(), self.since)
            }
            (ProbeResult::Unreachable(_), ProbeResult::Unreachable(_)) => (heard, self.since),
            (before, now) if before == now => (heard, self.since),
            _ => (heard, at),
        }
    }

    fn describe(&self, name: &Label, local: &LocalState) -> Option<String> {
        let since = clock(self.since);
        let is_excluded = local.without.contains(name);
        if !local.mode.is_new() {
            return self.describe_for_order(name, local, &since);
        }
        Some(match &self.now {
            // The message omits an excluded member that has never answered.
            ProbeResult::Unreachable(_) | ProbeResult::UnexpectedResponder(_)
                if is_excluded && self.observation.state.is_none() =>
            {
                return None;
            }
            ProbeResult::Unreachable(why) => {
                format!(
                    "{name} has not answered since {since} ({why}; {})",
                    self.last_heard()
                )
            }
            ProbeResult::UnexpectedResponder(why) => {
                format!(
                    "an unexpected program has answered on {name}'s peer port since {since}: {why}"
                )
            }
            ProbeResult::State(PeerState::Etcd { cluster_id }) => {
                format!("{name} has run etcd in the cluster {cluster_id:x} since {since}")
            }
            ProbeResult::State(PeerState::Firstboot { .. }) if is_excluded => {
                format!(
                    "{name} has been waiting since {since}, but this node was ordered to exclude it"
                )
            }
            ProbeResult::State(PeerState::Firstboot { mode, .. }) if !mode.is_new() => {
                format!(
                    "{name} has had an order to {mode} since {since}: run `firstboot restore \
                     --from {name}` here as well"
                )
            }
            ProbeResult::State(PeerState::Firstboot { without, .. })
                if *without != local.without =>
            {
                let set: Vec<&str> = without.iter().map(Label::as_str).collect();
                let set = if set.is_empty() {
                    "all members of the recipe".into()
                } else {
                    format!("all but {}", set.join(", "))
                };
                format!(
                    "{name} has waited for {set} since {since}: run `firstboot run --without` with the same names on each \
                     member"
                )
            }
            ProbeResult::State(PeerState::Firstboot {
                phase: BarrierPhase::NotAccepted,
                ..
            }) => format!("the disk of {name} is empty as well"),
            ProbeResult::State(PeerState::Firstboot { phase, .. }) => ready(name, *phase, local),
        })
    }

    /// Describes the state of one member, for the status line of a node that has an order to
    /// restore or to roll back.
    fn describe_for_order(&self, name: &Label, local: &LocalState, since: &str) -> Option<String> {
        let is_excluded = local.without.contains(name);
        Some(match &self.now {
            ProbeResult::State(PeerState::Etcd { cluster_id })
                if local.mode
                    == BootstrapMode::Rollback {
                        cluster: *cluster_id,
                    } =>
            {
                format!("{name} runs etcd in that cluster")
            }
            _ if is_excluded => return self.describe_excluded(name, local, since),
            ProbeResult::State(PeerState::Etcd { cluster_id }) => {
                format!("{name} runs etcd in the cluster {cluster_id:x} and has no order yet")
            }
            ProbeResult::Unreachable(why) => {
                format!(
                    "{name} has not answered since {since} ({why}; {})",
                    self.last_heard()
                )
            }
            ProbeResult::UnexpectedResponder(why) => {
                format!(
                    "an unexpected program has answered on {name}'s peer port since {since}: {why}"
                )
            }
            ProbeResult::State(PeerState::Firstboot {
                mode: BootstrapMode::New,
                ..
            }) => format!(
                "{name} has no data and no order yet{}",
                match local.mode {
                    BootstrapMode::Restore { .. } =>
                        format!(": run `firstboot restore --from {}` there", local.name),
                    _ => String::new(),
                }
            ),
            ProbeResult::State(PeerState::Firstboot { mode, .. })
                if local.mode.merge(*mode).is_none() =>
            {
                format!("{name} has had an order to {mode} since {since}")
            }
            ProbeResult::State(PeerState::Firstboot { without, .. })
                if *without != local.without =>
            {
                format!(
                    "{name} has had a different --without list since {since}: give all members the same order"
                )
            }
            ProbeResult::State(PeerState::Firstboot {
                phase: BarrierPhase::NotAccepted,
                ..
            }) => {
                format!("{name} has the same order")
            }
            ProbeResult::State(PeerState::Firstboot { phase, .. }) => ready(name, *phase, local),
        })
    }

    /// Describes an excluded member if a node with an order waits because of that member.
    fn describe_excluded(&self, name: &Label, local: &LocalState, since: &str) -> Option<String> {
        match &self.now {
            ProbeResult::State(PeerState::Etcd { .. }) => Some(format!(
                "{name} was excluded, but runs etcd: stop it, or give it the same order"
            )),
            ProbeResult::State(PeerState::Firstboot { mode, .. })
                if starts_second_cluster(local.mode, *mode) =>
            {
                Some(format!(
                    "{name} was excluded, but has had an order to {mode} since {since}: cancel one \
                     of the two orders"
                ))
            }
            _ => None,
        }
    }

    fn last_heard(&self) -> String {
        let what = match &self.observation.state {
            None => return "it never answered".to_owned(),
            Some(PeerState::Etcd { cluster_id }) => {
                format!("as etcd in the cluster {cluster_id:x}")
            }
            Some(PeerState::Firstboot { mode, .. }) if !mode.is_new() => {
                format!("with an order to {mode}")
            }
            Some(PeerState::Firstboot {
                phase: BarrierPhase::NotAccepted,
                ..
            }) => "with an empty disk".to_owned(),
            Some(PeerState::Firstboot { .. }) => "ready to bootstrap".to_owned(),
        };
        let at = self.last_answer_at.map(clock).unwrap_or_default();
        format!("it last answered at {at}, {what}")
    }
}

/// Describes a member that has accepted a proposal. If the images of the nodes list different
/// members, the nodes accept different proposals, and none of the proposals can be carried out.
fn ready(name: &Label, phase: BarrierPhase, local: &LocalState) -> String {
    if local.proposals.is_empty() || phase == local.phase() {
        return format!("{name} is ready");
    }
    format!(
        "{name} is ready, but not for the same cluster as this node: if this state remains, the nodes' images list \
         different members. Install the same image on all nodes"
    )
}

fn clock(time: SystemTime) -> String {
    let format = format_description!("[hour]:[minute]:[second] UTC");
    OffsetDateTime::from(time)
        .format(format)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
