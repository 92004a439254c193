//! Determines the steps that a change of etcd's minor version requires before this node's etcd is
//! replaced. The next step is a pure function of the members' reports.
//!
//! An older etcd opens a member's data only if neither the cluster version nor the storage version
//! in the data is newer than that etcd (etcd's server/etcdserver/api/membership/cluster.go,
//! Recover; server/storage/schema/schema.go, Validate, at v3.5.33, v3.6.14 and v3.7.1). The leader
//! raises the cluster version as soon as every member runs the newer minor version. After
//! `downgrade enable`, the leader lowers the cluster version if every member answers
//! (server/etcdserver/version/monitor.go). Each member then migrates its storage. Once one member
//! runs the older minor version, the leader cannot raise the cluster version. firstboot can then
//! cancel the downgrade, and the other members can change to the older minor version without
//! another downgrade.

use recipes::EtcdVersion;
use recipes::upgrade::{coexistence_obstacle, is_downgradable};

use crate::membership::MemberReport;
use crate::reason::{Reason, ReasonId};

/// The reports of the members.
#[derive(Debug, Default)]
pub(super) struct MemberReports {
    /// The report of this node's member, if the member answers a linearizable read.
    pub(super) own: Option<MemberReport>,
    /// The reports of the other members that answer a linearizable read.
    pub(super) others: Vec<MemberReport>,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Replace etcd, because etcd of the target version can start with this member's data.
    Replace,
    /// Enable the downgrade of the cluster to the target's minor version.
    Enable,
    /// Do neither of these steps.
    Blocked(Obstacle),
}

/// Why a node does not replace etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The obstacle may disappear, so wait.
    Wait(Reason),
    /// The obstacle is permanent, so refuse the change to the target version.
    Refuse(Reason),
}

/// Returns the reason why a node with this version of etcd must not run alongside the other
/// members, or `None` if the node may run alongside them. A node calls this function before it
/// takes the turn.
pub(super) fn obstacle(target: EtcdVersion, others: &[MemberReport]) -> Option<Reason> {
    let apart = others
        .iter()
        .find_map(|peer| coexistence_obstacle(target, &peer.name, peer.version));
    if let Some(obstacle) = apart {
        return Some(ReasonId::EtcdVersion.because(obstacle.to_string()));
    }
    let downgrade = others.iter().find_map(|peer| peer.downgrade)?;
    (downgrade != target.minor).then(|| in_force(downgrade))
}

fn in_force(minor: u64) -> Reason {
    ReasonId::UpdateDowngrade.because(format!(
        "a downgrade of the cluster to etcd 3.{minor} is in force: install an image with etcd 3.{minor}, or run `etcdctl \
         downgrade cancel`"
    ))
}

/// Returns the next step towards this version.
pub(super) fn next_step(target: EtcdVersion, members: &MemberReports) -> NextStep {
    let wait =
        |why: String| NextStep::Blocked(Obstacle::Wait(ReasonId::UpdateDowngrade.because(why)));
    let minor = target.minor;
    let all = || members.own.iter().chain(&members.others);
    let downgrade = all().find_map(|peer| peer.downgrade);
    if let Some(other) = downgrade.filter(|other| *other != minor) {
        return NextStep::Blocked(Obstacle::Wait(in_force(other)));
    }
    let cluster_minor = all().filter_map(|peer| peer.cluster_minor).max();
    if let Some(cluster_minor) = cluster_minor.filter(|cluster_minor| *cluster_minor > minor) {
        return if !is_downgradable(cluster_minor) || cluster_minor > minor + 1 {
            let why = format!(
                "the cluster's version is 3.{cluster_minor}, and etcd does not downgrade it to {target}. Build an image with etcd \
                 3.{cluster_minor}"
            );
            NextStep::Blocked(Obstacle::Refuse(ReasonId::UpdateDowngrade.because(why)))
        } else if let Some(silent) = silent(members) {
            wait(format!(
                "the cluster's version is 3.{cluster_minor}, and {silent} does not answer: etcd lowers the version of the cluster \
                 only while every member is running"
            ))
        } else if downgrade.is_some() {
            wait(format!(
                "etcd is lowering the version of the cluster from 3.{cluster_minor} to 3.{minor}"
            ))
        } else {
            NextStep::Enable
        };
    }
    let storage = members.own.as_ref().and_then(|own| own.storage);
    match storage.filter(|storage| *storage > minor) {
        Some(storage) => wait(format!(
            "etcd on this node is migrating its data from the storage version 3.{storage} to 3.{minor}"
        )),
        None => NextStep::Replace,
    }
}

/// If a downgrade of the cluster to this minor version is in force, returns a member that reports
/// the downgrade. A downgrade to another minor version is not the downgrade that firstboot enabled.
pub(super) fn reports_downgrade(minor: u64, members: &MemberReports) -> Option<&MemberReport> {
    let mut all = members.own.iter().chain(&members.others);
    all.find(|peer| peer.downgrade == Some(minor))
}

/// Returns the name of a member that does not answer, if there is one.
fn silent(members: &MemberReports) -> Option<String> {
    let Some(own) = &members.own else {
        return Some("etcd on this node".to_owned());
    };
    let heard =
        |id: u64| own.member_id == id || members.others.iter().any(|peer| peer.member_id == id);
    own.members
        .iter()
        .find(|member| !heard(member.id))
        .map(crate::etcd::Member::title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::Member;

    fn version(text: &str) -> EtcdVersion {
        text.parse().unwrap()
    }

    /// Returns a member of a cluster of three members.
    fn member(id: u64, etcd: &str, cluster_minor: u64) -> MemberReport {
        let member = |id| Member {
            id,
            name: format!("etcd-{id}"),
            ..Member::default()
        };
        MemberReport {
            version: version(etcd),
            cluster_minor: Some(cluster_minor),
            storage: (version(etcd).minor >= 6).then_some(cluster_minor),
            ..MemberReport::example(1, id, &[1, 2, 3].map(member))
        }
    }

    /// Returns three members, the last of which is this node's member.
    fn cluster(versions: [&str; 3], cluster_minor: u64) -> MemberReports {
        let [one, two, own] = versions;
        MemberReports {
            own: Some(member(3, own, cluster_minor)),
            others: vec![member(1, one, cluster_minor), member(2, two, cluster_minor)],
        }
    }

    #[track_caller]
    fn waits(step: &NextStep, words: &str) {
        assert!(
            matches!(step, NextStep::Blocked(Obstacle::Wait(why)) if why.text.contains(words)),
            "{step:?}"
        );
    }

    #[test]
    fn an_upgrade_requires_no_cluster_step() {
        for (target, versions, cluster_minor) in [
            ("3.6.14", ["3.5.33"; 3], 5),
            ("3.6.14", ["3.6.14", "3.6.14", "3.5.33"], 5),
            ("3.7.1", ["3.6.14"; 3], 6),
        ] {
            let members = cluster(versions, cluster_minor);
            assert_eq!(obstacle(version(target), &members.others), None);
            assert_eq!(next_step(version(target), &members), NextStep::Replace);
        }
    }

    #[test]
    fn a_member_that_is_too_old_is_named_before_the_turn() {
        for (target, other, words) in [
            ("3.6.14", "3.5.1", "runs 3.5.32 or later"),
            ("3.7.1", "3.5.33", "does not support skipping a minor"),
        ] {
            let why = obstacle(version(target), &[member(1, other, 5)]).unwrap();
            assert_eq!(why.id, Some(ReasonId::EtcdVersion));
            assert!(why.text.starts_with("etcd-1 is etcd") && why.text.contains(words));
        }
    }

    #[test]
    fn the_previous_minor_version_can_be_restored_while_another_member_runs_it() {
        let mixed = cluster(["3.5.33", "3.6.14", "3.6.14"], 5);
        assert_eq!(next_step(version("3.5.33"), &mixed), NextStep::Replace);
        let mixed = cluster(["3.4.23", "3.5.33", "3.5.33"], 4);
        assert_eq!(next_step(version("3.4.23"), &mixed), NextStep::Replace);
    }

    #[test]
    fn once_all_members_run_the_newer_minor_version_the_cluster_must_be_downgraded_first() {
        let target = version("3.5.33");
        let mut members = cluster(["3.6.14"; 3], 6);
        assert_eq!(next_step(target, &members), NextStep::Enable);
        for peer in members.own.iter_mut().chain(&mut members.others) {
            peer.downgrade = Some(5);
        }
        waits(&next_step(target, &members), "from 3.6 to 3.5");
        for peer in members.own.iter_mut().chain(&mut members.others) {
            peer.cluster_minor = Some(5);
        }
        waits(&next_step(target, &members), "storage version 3.6 to 3.5");
        members.own.as_mut().unwrap().storage = Some(5);
        assert_eq!(next_step(target, &members), NextStep::Replace);
        assert_eq!(obstacle(target, &members.others), None);
    }

    #[test]
    fn etcd_downgrades_only_while_every_member_answers() {
        let mut members = cluster(["3.7.1"; 3], 7);
        let _ = members.others.pop();
        waits(
            &next_step(version("3.6.14"), &members),
            "etcd-2 does not answer",
        );
        members.own = None;
        waits(&next_step(version("3.6.14"), &members), "etcd on this node");
    }

    #[test]
    fn a_downgrade_that_etcd_does_not_support_is_refused() {
        for (target, runs, cluster_minor) in [("3.4.23", "3.5.33", 5), ("3.5.33", "3.7.1", 7)] {
            let step = next_step(version(target), &cluster([runs; 3], cluster_minor));
            assert!(
                matches!(&step, NextStep::Blocked(Obstacle::Refuse(why)) if why.id == Some(ReasonId::UpdateDowngrade)),
                "{step:?}"
            );
        }
    }

    #[test]
    fn the_update_waits_for_a_downgrade_to_another_version() {
        let mut members = cluster(["3.6.14"; 3], 5);
        members.others[0].downgrade = Some(5);
        waits(
            &next_step(version("3.6.16"), &members),
            "etcdctl downgrade cancel",
        );
        assert!(obstacle(version("3.6.16"), &members.others).is_some());
    }

    #[test]
    fn a_downgrade_to_another_minor_version_is_not_mistaken_for_the_enabled_downgrade() {
        let mut members = cluster(["3.7.1"; 3], 7);
        assert!(reports_downgrade(5, &members).is_none());
        members.others[0].downgrade = Some(6);
        assert!(reports_downgrade(5, &members).is_none());
        assert_eq!(reports_downgrade(6, &members).unwrap().name, "etcd-1");
    }
}
