//! `firstboot renew`: renews the certificates of an enrolled node before they expire. When a third
//! of the certificates' lifetime is left, the command sends the node's request again to the server
//! that `[tls] enrol` names. The node signs the request with keys that the server already knows, so
//! no operator has to approve the request. etcd reads the new certificates at the next handshake,
//! and the command probes the ports to check that etcd presents the new certificates. Each run
//! checks every step again, so the command does not need to record the progress of earlier runs.

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
    /// After a failure, wait for the recorded time of the next attempt; firstboot-renew.service
    /// uses this option
    #[arg(long, hide = true)]
    scheduled: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    // Do nothing before firstboot.service has set the node up.
    if !files::exists(Path::new(paths::ACCEPTED))? {
        return Ok(());
    }
    let own = ThisNode::read()?;
    let server = own.cluster.enrol.clone().ok_or_else(|| {
        refused(ReasonId::RenewalNoServer.because(
            "the recipe of this image has no `enrol` in [tls], so an operator must renew the certificates",
        ))
    })?;
    let before = RenewalFailure::read()?;
    let waits = before.as_ref().is_some_and(|before| before.waits(now()));
    if options.scheduled && waits {
        return Ok(());
    }
    let (until, due) = expiry(&own)?;
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

/// Requests new certificates if a `server` is given, installs the accepted certificates, and checks
/// that etcd presents them.
fn renew(own: &ThisNode, until: UnixTime, server: Option<&Url>) -> Result<()> {
    let installs = server.map_or(Ok(true), |server| request(own, server, until))?;
    let own = ThisNode::read()?;
    let identity = own.identity()?;
    let changed = installs && install(&identity)?;
    if installs {
        restart_refused()?;
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
            "{server} does not have newer certificates. If the CA expires at the same time, \
             replace the CA"
        ))),
        Err(error) => Err(failed(format!("{server}: {error:#}"))),
    }
}

/// Installs the certificates that the node must use from now on (`identity.tls`). Returns whether
/// the installed certificates have changed. If `firstboot run` is running or has not installed any
/// certificates yet, it installs the certificates instead.
fn install(identity: &Identity) -> Result<bool> {
    let Ok(_lock) = Lock::take() else {
        return Ok(false);
    };
    if tls::installed()?.is_none() {
        return Ok(false);
    }
    let changes = steps::certificates(identity)?;
    if !changes.is_empty() {
        tls::check(identity, &identity.document_tls)?;
        changes.iter().try_for_each(Change::apply_and_log)?;
    }
    own_keys::promote(&identity.document_tls)?;
    Ok(!changes.is_empty())
}

/// Starts firstboot.service again if the service refused the certificates that the node has since
/// renewed. Without this start, a node that was off when its certificates expired would not start
/// etcd.
fn restart_refused() -> Result<()> {
    let seen = systemd::properties(FIRSTBOOT_UNIT, &["ActiveState", "StatusText"])?;
    let has = |name: &str, word: &str| seen.get(name).is_some_and(|value| value.contains(word));
    let refused = [ReasonId::CertificateRefused, ReasonId::EnrolmentRefused];
    if has("ActiveState", "failed")
        && refused
            .iter()
            .any(|id| has("StatusText", &format!("[{id}]")))
    {
        systemd::start(FIRSTBOOT_UNIT)?;
    }
    Ok(())
}
