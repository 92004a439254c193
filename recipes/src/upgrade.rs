//! Decides which releases of etcd can run in one cluster at the same time, and lists the releases
//! that are known to damage data.
//!
//! The sources are etcd's upgrade guides for 3.4 to 3.7, etcd-io/etcd#19557 and #20793 (the
//! promotion of a learner is not saved in the v3 store), #20967 (removed members reappear),
//! `server/etcdserver/cluster_util.go` and `server/etcdserver/version` at v3.5.33, v3.6.14 and
//! v3.7.1. The behaviour of joins during a downgrade was tested with 3.6.16, 3.5.35 and 3.7.3.

use std::cmp::Ordering;

use crate::EtcdVersion;

/// A member of a cluster, and the version of etcd that it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningMember {
    /// The member's name.
    pub name: String,
    /// The version of the member's etcd.
    pub version: EtcdVersion,
}

/// The versions of a cluster, as its members report them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterVersions {
    /// The members that answered.
    pub members: Vec<RunningMember>,
    /// The minor version that the members have agreed on, if known. This minor version is never
    /// higher than the minor version of any member.
    pub cluster_minor: Option<u64>,
    /// Whether a downgrade is enabled (`etcdctl downgrade enable`).
    pub downgrading: bool,
}

/// How etcd starts on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtcdStart {
    /// etcd starts as a new member, without data.
    AsNewMember,
    /// etcd starts with its existing data. The value is the version that last used the data, if
    /// known.
    WithData(Option<EtcdVersion>),
}

/// The reason why a version of etcd cannot run as a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The versions are two or more minor versions apart.
    #[error(
        "{other} is etcd {theirs}, and {own} cannot run alongside it: etcd does not support skipping \
         a minor version. Upgrade through the newest release of each minor version in between"
    )]
    Skipped {
        /// The member or the data with the other version.
        other: String,
        /// The version that cannot run.
        own: EtcdVersion,
        /// The other version.
        theirs: EtcdVersion,
    },
    /// The version with the lower minor version does not have the patch that the higher minor
    /// version requires.
    #[error(
        "{other} is etcd {theirs}, and {own} cannot run alongside it: {higher} requires that every \
         {lower} member runs {floor} or later ({why}). Upgrade to {floor} first"
    )]
    Below {
        /// The member or the data with the other version.
        other: String,
        /// The version that cannot run.
        own: EtcdVersion,
        /// The other version.
        theirs: EtcdVersion,
        /// The higher minor version, such as `3.6`.
        higher: String,
        /// The lower minor version.
        lower: String,
        /// The minimum release of the lower minor version.
        floor: EtcdVersion,
        /// The reason why an earlier release is not allowed.
        why: &'static str,
    },
    /// The cluster has agreed on a newer version.
    #[error(
        "the cluster's version is 3.{cluster_minor}, and {own} is older, so etcd refuses to start. \
         Install an image with etcd 3.{cluster_minor}, or restore an earlier snapshot"
    )]
    Older {
        /// The version that cannot run.
        own: EtcdVersion,
        /// The minor version that the cluster has agreed on.
        cluster_minor: u64,
    },
    /// etcd refuses a new member while a downgrade is in progress.
    #[error(
        "a downgrade is in progress, and etcd does not admit a new member until the downgrade \
         ends: `etcdctl downgrade cancel` ends it"
    )]
    Downgrading,
}

/// Returns the minimum patch that every member of one minor version must have before a member of
/// the next minor version starts, and the reason for this requirement.
const fn floor(lower_minor: u64) -> Option<(u64, &'static str)> {
    match lower_minor {
        5 => Some((
            32,
            "older patches can lose the quorum: etcd-io/etcd#19557, #20793, #20967",
        )),
        6 => Some((11, "upstream's upgrade guide for 3.7")),
        _ => None,
    }
}

/// Returns why members with these two versions cannot run in one cluster at the same time, or
/// `None` if they can. `other` describes the member, node or data that has the version `theirs`.
pub fn coexistence_obstacle(
    own: EtcdVersion,
    other: &str,
    theirs: EtcdVersion,
) -> Option<Obstacle> {
    let (low, high) = (own.min(theirs), own.max(theirs));
    let other = other.to_owned();
    if low.minor == high.minor {
        return None;
    }
    if low.minor + 1 < high.minor {
        return Some(Obstacle::Skipped { other, own, theirs });
    }
    let (patch, why) = floor(low.minor)?;
    (low.patch < patch).then(|| Obstacle::Below {
        other,
        own,
        theirs,
        higher: format!("3.{}", high.minor),
        lower: format!("3.{}", low.minor),
        floor: EtcdVersion { patch, ..low },
        why,
    })
}

/// Returns why this version of etcd cannot start as a member of a cluster, or `None` if it can.
///
/// The function compares `own` with the version of each member, and with the version that last used
/// the data. If no member is running, only the version that last used the data reveals that a minor
/// version was skipped. Until the cluster agrees on a newer version, the function admits an
/// existing member whose version is lower than that of the other members. The function does not
/// admit a new member with a lower version. A new member replaces an old one, and the other members
/// may agree on a newer version as soon as the old member is removed.
pub fn obstacle(own: EtcdVersion, start: EtcdStart, cluster: &ClusterVersions) -> Option<Obstacle> {
    if start == EtcdStart::AsNewMember && cluster.downgrading {
        return Some(Obstacle::Downgrading);
    }
    let pairs = cluster
        .members
        .iter()
        .find_map(|member| coexistence_obstacle(own, &member.name, member.version));
    let data = match start {
        EtcdStart::WithData(Some(version)) => {
            coexistence_obstacle(own, "the version that last used this node's data", version)
        }
        _ => None,
    };
    let lowest = cluster
        .members
        .iter()
        .map(|member| member.version.minor)
        .min();
    let cluster_minor = match start {
        EtcdStart::AsNewMember => lowest.max(cluster.cluster_minor),
        EtcdStart::WithData(_) => cluster.cluster_minor.or(lowest),
    };
    let older = cluster_minor
        .filter(|cluster_minor| own.minor < *cluster_minor)
        .map(|cluster_minor| Obstacle::Older { own, cluster_minor });
    pairs.or(data).or(older)
}

/// How the members of a cluster change, one at a time, from one version of etcd to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionChange {
    /// Both versions have the same minor version number.
    Patch,
    /// The new version belongs to the next minor version. The cluster version rises as soon as
    /// every member runs the new version.
    Upgrade,
    /// The new version belongs to the previous minor version. If the cluster has agreed on the
    /// newer minor version, etcd must lower the cluster version (`etcdctl downgrade enable`) before
    /// a member can run the older minor version.
    Downgrade,
}

/// The first minor version from which etcd can downgrade a cluster (etcd's downgrade guides for 3.6
/// and 3.7).
const FIRST_DOWNGRADE: u64 = 6;

/// Returns whether etcd can lower the version of a cluster that has agreed on this minor version.
pub const fn is_downgradable(cluster_minor: u64) -> bool {
    cluster_minor >= FIRST_DOWNGRADE
}

/// Returns how nodes change from an image with one version to an image with another version.
///
/// # Errors
/// Returns the obstacle if the nodes cannot change to that image.
pub fn version_change(from: EtcdVersion, to: EtcdVersion) -> Result<VersionChange, Box<Obstacle>> {
    if let Some(obstacle) = coexistence_obstacle(to, "a node with the old image", from) {
        return Err(Box::new(obstacle));
    }
    match to.minor.cmp(&from.minor) {
        Ordering::Equal => Ok(VersionChange::Patch),
        Ordering::Greater => Ok(VersionChange::Upgrade),
        Ordering::Less if is_downgradable(from.minor) => Ok(VersionChange::Downgrade),
        Ordering::Less => Err(Box::new(Obstacle::Older {
            own: to,
            cluster_minor: from.minor,
        })),
    }
}

/// A known fault of etcd that damages data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownFault {
    /// The first patch of the minor version that does not have this fault.
    pub fixed_in: u64,
    /// The effect of the fault.
    pub what: &'static str,
}

/// The known faults that lose data or make the data of members differ, each with its minor version
/// and the patch that fixes the fault (etcd's changelogs for 3.4 to 3.7).
const FAULTS: [(u64, KnownFault); 10] = {
    const fn fault(minor: u64, fixed_in: u64, what: &'static str) -> (u64, KnownFault) {
        (minor, KnownFault { fixed_in, what })
    }
    const ALONE: &str = "a cluster of one member can lose acknowledged writes (etcd-io/etcd#14370)";
    const AUTH: &str = "members can differ after a member recovers from a snapshot while \
        authentication is enabled (etcd-io/etcd#14571)";
    const COMPACTION: &str =
        "the revision can decrease after a crash during a compaction (etcd-io/etcd#17780)";
    const DEFRAG: &str = "a database can be damaged if it is defragmented while the member \
        receives a snapshot (etcd-io/etcd#20271)";
    [
        fault(4, 21, ALONE),
        fault(4, 22, AUTH),
        fault(4, 32, COMPACTION),
        fault(4, 38, DEFRAG),
        fault(
            5,
            3,
            "members can differ after a crash under load (etcd-io/etcd#13766)",
        ),
        fault(5, 5, ALONE),
        fault(
            5,
            6,
            "members can differ after a crash during a defragmentation (etcd-io/etcd#14685)",
        ),
        fault(5, 14, COMPACTION),
        fault(5, 23, DEFRAG),
        fault(6, 5, DEFRAG),
    ]
};

/// Returns the known faults that damage data in a release, in the order of the patches that fix the
/// faults.
pub fn faults(version: EtcdVersion) -> Vec<KnownFault> {
    let of = FAULTS
        .iter()
        .filter(|(minor, fault)| *minor == version.minor && version.patch < fault.fixed_in);
    of.map(|(_, fault)| *fault).collect()
}

#[cfg(test)]
mod tests;
