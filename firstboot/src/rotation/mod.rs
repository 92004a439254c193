//! Replaces a CA in a running cluster. When a member's document contains the new CA, the member
//! trusts the new CA in addition to the old CA. When all other members trust the new CA, the member
//! presents certificates of the new CA. When no member presents a certificate of the old CA, the
//! member stops trusting the old CA. The nodes may receive their documents in any order. `interim`
//! decides which certificates are on the disk during the rotation, `tls_probe` reads what a running
//! etcd trusts and presents, and `plan` decides on the next step. This module writes the step to
//! the journal and executes it.

mod interim;
mod observe;
mod plan;
mod presented;
mod restart;
mod tls_probe;
pub(crate) mod trust_bundle;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use recipes::node::NodeTls;

use crate::change::Change;
use crate::domain::CaSubject;
use crate::etcd::installed_credentials;
use crate::health;
use crate::identity::Identity;
use crate::journal::{Event, Journal, NodeState};
use crate::output::say;
use crate::runtime::block_on;
use crate::steps::{self, tls};
use observe::{member, observe};
use plan::{Observed, RotationStep, plan};
pub(crate) use presented::check_presented;
use trust_bundle::{TrustBundle, list};

/// The minimum and the maximum pause between two observations. Within these limits, the pause is a
/// tenth of the time since progress was last made, because the other members may need days to
/// receive their documents.
const PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15)];

/// If this node can use other certificates in the meantime, defers the document's certificates that
/// the other members might not trust yet. A member then uses its installed certificates, and a new
/// node uses the previous CA's certificates from its document.
pub(crate) fn defer_certificates(identity: &mut Identity, journal: &Journal) -> Result<()> {
    let state = NodeState::of(journal);
    let installed = if state.initial_cluster.is_some() {
        tls::installed()?
    } else {
        None
    };
    defer(identity, installed, &state.trusted_by_all)
}

/// Defers certificates as `defer_certificates` does. `installed` contains the installed
/// certificates of a member, and is `None` on a new node.
fn defer(
    identity: &mut Identity,
    installed: Option<NodeTls>,
    trusted_by_all: &BTreeSet<CaSubject>,
) -> Result<()> {
    if installed.as_ref() == Some(&identity.document_tls) {
        return Ok(());
    }
    let works = |tls: &NodeTls| tls::check(identity, tls).is_ok();
    let trusted = installed.as_ref().map(|installed| installed.ca.clone());
    let meanwhile = installed
        .filter(works)
        .or_else(|| identity.previous_ca_tls.clone().filter(works));
    // Do not defer unusable certificates, so that a later check reports the document's faults.
    if let Some(meanwhile) = meanwhile.filter(|_| works(&identity.document_tls)) {
        identity.tls =
            interim::interim_certificates(&identity.document_tls, &meanwhile, trusted_by_all)?;
    }
    // Keep the installed CAs even if a power cut has separated an installed certificate from its
    // key, because other members may still present certificates of these CAs.
    if let Some(Ok(ca)) = trusted.map(|trusted| interim::merge(&identity.tls.ca, &trusted)) {
        identity.tls.ca = ca;
    }
    Ok(())
}

/// Returns whether this node is left behind. Two conditions must be true: at least one other member
/// no longer trusts the certificates that this node still presents, and all other members that
/// answer trust the certificates in this node's document. A node that is rebuilt during a rotation
/// can be left behind: between its removal and its return, the node is not a member, so the other
/// members may complete the rotation without it.
pub(crate) async fn is_left_behind(identity: &Identity) -> Result<bool> {
    if interim::same_pairs(&identity.tls, &identity.document_tls) {
        return Ok(false);
    }
    let (known, next) = issuers(identity)?;
    let shown = interim::issuers(&identity.tls, &known)
        .context("no known CA signed the certificates on the disk")?;
    Ok(plan::is_left_behind(
        &shown,
        &next,
        &observe::trusted_by_others(identity, &known).await,
    ))
}

/// Stops deferring the document's certificates if this node is left behind (see
/// [`is_left_behind`]).
pub(crate) fn catch_up(identity: &mut Identity, journal: &mut Journal) -> Result<()> {
    if !block_on(is_left_behind(identity))? {
        return Ok(());
    }
    let (_, next) = issuers(identity)?;
    let line = format!(
        "all other members that answer trust {}, and at least one of them no longer trusts the previous CA",
        list(&next)
    );
    journal.record_next_step(Event::CertificatesTrustedByAll { authorities: next }, &line)?;
    defer_certificates(identity, journal)
}

/// Returns the CAs in this node's trust bundle, and the CAs that signed the document's
/// certificates.
fn issuers(identity: &Identity) -> Result<(TrustBundle, BTreeSet<CaSubject>)> {
    let known = TrustBundle::read(&identity.tls.ca)?;
    let next = interim::issuers(&identity.document_tls, &known).context(
        "a certificate in the node document is not valid now, or no trusted CA signed it",
    )?;
    Ok((known, next))
}

/// Returns the subjects of the CAs in this PEM text.
pub(crate) fn authorities(pem: &str) -> Result<BTreeSet<CaSubject>> {
    Ok(TrustBundle::read(pem)?.names())
}

/// Returns whether the CAs and certificates on the disk are exactly those in the document.
pub(crate) fn is_complete(identity: &Identity) -> bool {
    identity.tls == identity.document_tls
}

/// Continues the rotation, without a time limit, until this member trusts the CAs and presents the
/// certificates in its document.
///
/// # Errors
/// Returns an error if the member no longer exists (see [`health::ensure_still_member`]).
pub(crate) fn complete(identity: &mut Identity, journal: &mut Journal) -> Result<()> {
    let (mut logged, mut since) = (String::new(), Instant::now());
    loop {
        if end_expired_deferral(identity, journal)? {
            apply_certificates(identity)?;
            since = Instant::now();
        }
        let observed = block_on(observe_cluster(identity, journal))?;
        let why = match plan(&observed) {
            RotationStep::Done => return Ok(()),
            RotationStep::Wait(why) => Some(why),
            RotationStep::Restart => {
                let authorities = observed.installed.clone();
                let line = format!("restarting etcd so that it trusts {}", list(&authorities));
                journal.record_next_step(Event::Trust { authorities }, &line)?;
                let member = member(journal)?;
                block_on(async { anyhow::Ok(restart::restart(identity, member).await) })?
            }
            RotationStep::SwitchCertificates => {
                journal.record_next_step(
                    Event::CertificatesTrustedByAll {
                        authorities: observed.issuers.clone(),
                    },
                    &format!(
                        "all members trust {}: switching to the document's certificates",
                        list(&observed.issuers)
                    ),
                )?;
                defer_certificates(identity, journal)?;
                apply_certificates(identity)?;
                None
            }
            RotationStep::DropOldCa => {
                let dropped = list(observed.installed.difference(&observed.wanted));
                say(format!(
                    "no member presents a certificate of {dropped} any longer: this node stops \
                    trusting {dropped}"
                ));
                identity.tls = identity.document_tls.clone();
                apply_certificates(identity)?;
                None
            }
        };
        let Some(why) = why.map(|why| why.to_string()) else {
            since = Instant::now();
            continue;
        };
        if why != logged {
            say(&why);
            logged = why;
        }
        let [shortest, longest] = PAUSE;
        std::thread::sleep((since.elapsed() / 10).clamp(shortest, longest));
    }
}

/// Observes the cluster, and checks that the member still exists if etcd on this node does not
/// answer.
async fn observe_cluster(identity: &Identity, journal: &Journal) -> Result<Observed> {
    let observed = observe(identity, journal).await?;
    if observed.own.is_err() {
        let credentials = installed_credentials()?;
        health::ensure_still_member(identity, journal, &credentials).await?;
    }
    Ok(observed)
}

/// Stops deferring the document's certificates once the certificates in use have expired, because
/// no member accepts expired certificates. Does not change the CAs. Returns whether the
/// certificates in use have changed.
fn end_expired_deferral(identity: &mut Identity, journal: &Journal) -> Result<bool> {
    let works = |tls: &NodeTls| tls::check(identity, tls).is_ok();
    if works(&identity.tls) || !works(&identity.document_tls) {
        return Ok(false);
    }
    let ca = std::mem::replace(&mut identity.tls, identity.document_tls.clone()).ca;
    defer_certificates(identity, journal)?;
    identity.tls.ca = ca;
    say(
        "the certificates in use expired before all members trusted the new CA: switching to \
         other certificates of the document",
    );
    Ok(true)
}

fn apply_certificates(identity: &Identity) -> Result<()> {
    steps::certificates(identity)?
        .iter()
        .try_for_each(Change::apply_and_log)
}

#[cfg(test)]
mod tests;
