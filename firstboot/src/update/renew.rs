//! `firstboot renew`: renews the certificates of an enrolled node before they expire. When a third
//! of the certificates' lifetime is left, the command sends the node's request again to the server
//! that `[tls] enrol` names. The node signs the request with keys that the server already knows, so
//! no operator has to approve the request. etcd reads the new certificates at the next handshake,
//! and the command probes the ports to check that etcd presents the new certificates. Each run
//! checks every step again, so the command does not need to record the progress of earlier runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use members::timestamp::{date, now};
use reqwest::Url;
use rustls::pki_types::UnixTime;

use super::document;
use super::renewal_failure::RenewalFailure;
use super::this_node::ThisNode;
use crate::change::Change;
use crate::exit::{not_ready, reason_of, refused};
use crate::identity::Identity;
use crate::lock::Lock;
use crate::output::say;
use crate::reason::ReasonId;
use crate::steps::{self, tls};
use crate::systemd::FIRSTBOOT_UNIT;
use crate::{certificates, files, own_keys, paths, rotation, systemd};

/// The command line of `firstboot renew`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the certificates are renewed, or no renewal is due; 1 failed; 3 the recipe names no server; \
    4 the certificates are not renewed, try again.\n\n\
    Example: firstboot renew"
)]
pub(crate) struct Options {
    /// After a failure, do nothing before the recorded time of the next attempt;
    /// firstboot-renew.service uses this option
    #[arg(long, hide = true)]
    scheduled: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    // Do nothing before firstboot.service has set the node up.
    if !files::exists(Path::new(paths::ACCEPTED_DOCUMENT))? {
        return Ok(());
    }
    let own = ThisNode::read()?;
    let server = own.cluster.enrol.clone().ok_or_else(|| {
        refused(ReasonId::RenewalNoServer.because(
            "the recipe of this image has no `enrol` in [tls], so an operator must renew the certificates",
        ))
    })?;
    let (until, due) = expiry(&own)?;
    let before = RenewalFailure::read()?;
    let waits = |before: &RenewalFailure| before.waits(now(), until.as_secs());
    if options.scheduled && before.as_ref().is_some_and(waits) {
        return Ok(());
    }
    let due = due.then_some(&server);
    let Err(error) = renew(&own, until, due) else {
        return RenewalFailure::clear();
    };
    let why = reason_of(&error);
    RenewalFailure::after(before.as_ref(), now(), until.as_secs(), &why).write()?;
    Err(error)
}

fn expiry(own: &ThisNode) -> Result<(UnixTime, bool)> {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now()));
    certificates::expiry(&own.document().tls, now)
}

/// Requests new certificates if a `server` is given, installs the certificates of the accepted
/// document, and checks that etcd presents them.
fn renew(own: &ThisNode, until: UnixTime, server: Option<&Url>) -> Result<()> {
    let installs = server.map_or(Ok(true), |server| request(own, server, until))?;
    let own = ThisNode::read()?;
    let identity = own.identity()?;
    let changed = installs && install(&identity)?;
    if installs {
        continue_service(&identity)?;
    }
    if rotation::check_presented(&identity)? && changed {
        let until = date(expiry(&own)?.0);
        say(format!(
            "etcd presents the renewed certificates, which expire on {until}"
        ));
    }
    Ok(())
}

/// Requests a newer document and accepts it. Returns whether the caller must install the document's
/// certificates.
fn request(own: &ThisNode, server: &Url, until: UnixTime) -> Result<bool> {
    let failed = |why: String| {
        not_ready(ReasonId::RenewalFailed.because(format!(
            "the certificates, which expire on {}, cannot be renewed: {why}",
            date(until)
        )))
    };
    match document::from_server(own, server) {
        Ok(Some(newer)) if newer.changes_something() => newer.accept(),
        Ok(_) => Err(failed(format!(
            "{server} does not have newer certificates. If the CA expires at the same time as the \
             certificates, replace the CA"
        ))),
        Err(error) => Err(failed(format!("{server}: {error:#}"))),
    }
}

/// Installs the certificates that the node must use from now on (`identity.tls`). Returns whether
/// the installed certificates have changed. Does nothing if `firstboot run` has not installed any
/// certificates yet, or if another command has the lock that a change needs.
fn install(identity: &Identity) -> Result<bool> {
    if tls::installed()?.is_none() {
        return Ok(false);
    }
    let changes = || steps::certificates(identity);
    // While this command has the lock, firstboot.service and the updater fail. This command runs
    // often, so take the lock only if a file must change.
    let is_needed = !changes()?.is_empty();
    if is_needed {
        let Ok(_lock) = Lock::take() else {
            return Ok(false);
        };
        tls::check(identity, &identity.document_tls)?;
        changes()?.iter().try_for_each(Change::apply_and_log)?;
    }
    own_keys::activate_next_keys(&identity.document_tls)?;
    Ok(is_needed)
}

/// Starts or restarts firstboot.service if this is necessary for the node to use the certificates
/// of its document.
fn continue_service(identity: &Identity) -> Result<()> {
    let names = ["ActiveState", "SubState", "StatusText"];
    let seen = systemd::properties(FIRSTBOOT_UNIT, &names)?;
    match next_action(&seen, rotation::is_complete(identity)) {
        ServiceAction::None => Ok(()),
        ServiceAction::Start => systemd::start(FIRSTBOOT_UNIT),
        ServiceAction::Restart => systemd::restart(FIRSTBOOT_UNIT),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServiceAction {
    None,
    /// The service refused the certificates, and the node has renewed them since then. Without this
    /// start, the service would stay failed, and etcd would not start.
    Start,
    /// The service has finished, but another CA signed the renewed certificates, so they are
    /// deferred. Without this restart, the node would present its old certificates until they
    /// expire.
    Restart,
}

/// Decides whether firstboot.service must be started or restarted. `is_complete` is set if the node
/// uses the CAs and the certificates of its document.
fn next_action(seen: &BTreeMap<String, String>, is_complete: bool) -> ServiceAction {
    let has = |name: &str, word: &str| seen.get(name).is_some_and(|value| value.contains(word));
    let refused = [ReasonId::CertificateRefused, ReasonId::EnrolmentRefused];
    if has("ActiveState", "failed")
        && refused
            .iter()
            .any(|id| has("StatusText", &format!("[{id}]")))
    {
        ServiceAction::Start
    } else if !is_complete && has("SubState", "exited") {
        ServiceAction::Restart
    } else {
        ServiceAction::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_started_only_if_the_renewed_certificates_let_it_continue() {
        let action = |active: &str, sub: &str, status: &str, is_complete| {
            let pairs = [
                ("ActiveState", active),
                ("SubState", sub),
                ("StatusText", status),
            ];
            let seen = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            next_action(&seen.into(), is_complete)
        };
        for refused in ["expired [certificate-refused]", "no [enrolment-refused]"] {
            assert_eq!(
                action("failed", "failed", refused, true),
                ServiceAction::Start
            );
        }
        let other = "files were changed [image-altered]";
        for is_complete in [true, false] {
            assert_eq!(
                action("failed", "failed", other, is_complete),
                ServiceAction::None
            );
        }
        let healthy = "etcd-1 is a healthy member";
        assert_eq!(
            action("active", "exited", healthy, true),
            ServiceAction::None
        );
        assert_eq!(
            action("active", "exited", healthy, false),
            ServiceAction::Restart,
            "a new CA signed the certificates"
        );
        let waits = "etcd-3 does not trust the new CA yet [ca-not-trusted]";
        assert_eq!(
            action("active", "running", waits, false),
            ServiceAction::None,
            "the service replaces the CA"
        );
    }
}
