//! Decides how a CA is replaced in a running cluster. The rule is a pure function. From the CAs and
//! certificates that each member trusts and presents, the function determines the next step of this
//! member. etcd reads its CAs only when it starts, and its certificates at each handshake
//! (client/pkg/transport/listener.go). Therefore, a member restarts once to trust the new CA, and
//! once more to stop trusting the old CA. No member restarts while another member is down. By this
//! rule, no member presents a certificate that another member does not trust. There are two
//! exceptions outside this module: the certificates in use have expired, or another member has
//! already stopped trusting the old CA (`end_expired_deferral` and `catch_up`).

use std::collections::{BTreeMap, BTreeSet};

use super::tls_probe::ServedCertificate;
use super::trust_bundle::list;
use crate::domain::CaSubject;
use crate::reason::{Reason, ReasonId};

/// The CAs and certificates that one member trusts and presents at its ports, or the reason why the
/// ports cannot be probed.
pub(super) type ServedCertificates = Result<Vec<ServedCertificate>, String>;

/// The observed state of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observed {
    /// The CAs in this node's document.
    pub(super) wanted: BTreeSet<CaSubject>,
    /// The CAs on this node's disk for etcd's next start: the document's CAs, and older CAs that
    /// have not been dropped yet.
    pub(super) installed: BTreeSet<CaSubject>,
    /// The CAs that signed the document's certificates.
    pub(super) issuers: BTreeSet<CaSubject>,
    /// Whether the document's certificates are deferred.
    pub(super) deferred: bool,
    /// The CAs and certificates that etcd on this node trusts and presents.
    pub(super) own: ServedCertificates,
    /// The CAs and certificates that every other member trusts and presents, by the member's name.
    pub(super) others: BTreeMap<String, ServedCertificates>,
    /// The other voters that are not healthy, and all other learners.
    pub(super) unhealthy: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RotationStep {
    /// The rotation is complete.
    Done,
    /// Wait, for this reason.
    Wait(Reason),
    /// Restart etcd, so that it trusts the installed CAs.
    Restart,
    /// Install the document's certificates.
    SwitchCertificates,
    /// Remove from the disk all CAs that are not in the document.
    DropOldCa,
}

pub(super) fn plan(observed: &Observed) -> RotationStep {
    let Observed {
        wanted,
        installed,
        issuers,
        others,
        ..
    } = observed;
    let own = match &observed.own {
        Ok(own) => own,
        Err(why) => {
            return RotationStep::Wait(
                ReasonId::EtcdUnhealthy.because(format!("cannot probe etcd on this node: {why}")),
            );
        }
    };
    if own.iter().any(|port| port.trusts != *installed) {
        return match observed.unhealthy.as_slice() {
            [] => RotationStep::Restart,
            ill => RotationStep::Wait(ReasonId::MembersUnhealthy.because(format!(
                "etcd must restart to trust {}, but firstboot waits until these members are \
                 healthy: {}",
                list(installed),
                ill.join(", ")
            ))),
        };
    }
    if observed.deferred {
        let lacks = |seen: &ServedCertificates| match seen {
            Ok(ports) if ports.iter().all(|port| port.trusts.is_superset(issuers)) => None,
            Ok(_) => Some(format!("does not trust {} yet", list(issuers))),
            Err(why) => Some(format!("cannot be probed ({why})")),
        };
        return match waiting_for(others, lacks) {
            Some(who) => RotationStep::Wait(ReasonId::CaNotTrusted.because(format!(
                "the new certificates are deferred: {who}. Give each of these members its new node document"
            ))),
            None => RotationStep::SwitchCertificates,
        };
    }
    if installed == wanted {
        return RotationStep::Done;
    }
    let dropped = || list(installed.difference(wanted));
    let shows = |seen: &ServedCertificates| match seen {
        Ok(ports) => {
            let old = ports.iter().find(|port| !wanted.contains(&port.issuer))?;
            Some(format!("presents a certificate of {}", old.issuer))
        }
        Err(why) => Some(format!("cannot be probed ({why})")),
    };
    match waiting_for(others, shows) {
        Some(who) => RotationStep::Wait(ReasonId::CaInUse.because(format!(
            "this node keeps trusting {} until no member needs this CA: {who}. Give each of \
            these members its new node document",
            dropped()
        ))),
        None => RotationStep::DropOldCa,
    }
}

/// Returns whether the other members completed the rotation without this node. The CAs in `shown`
/// signed the certificates that this node presents, and the CAs in `issuers` signed the
/// certificates in this node's document. The rotation counts as complete if both conditions are
/// true: every member that answers trusts all CAs in `issuers`, and at least one of these members
/// does not trust all CAs in `shown`.
pub(super) fn is_left_behind(
    shown: &BTreeSet<CaSubject>,
    issuers: &BTreeSet<CaSubject>,
    others: &[BTreeSet<CaSubject>],
) -> bool {
    others.iter().any(|trusted| !trusted.is_superset(shown))
        && others.iter().all(|trusted| trusted.is_superset(issuers))
}

/// Returns the members that are not ready, each with the reason.
fn waiting_for(
    others: &BTreeMap<String, ServedCertificates>,
    why: impl Fn(&ServedCertificates) -> Option<String>,
) -> Option<String> {
    let all: Vec<String> = others
        .iter()
        .filter_map(|(name, seen)| why(seen).map(|why| format!("{name} {why}")))
        .collect();
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests;
