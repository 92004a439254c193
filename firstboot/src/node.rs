//! Determines which node this machine is. A machine that has accepted an identity refuses any other
//! identity.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use recipes::node::KeyOrigin;
use recipes::{ClusterDocument, Label, PublicKey};
use rustls::pki_types::UnixTime;

use crate::exit::{Exit, code_of, not_ready, reason_of, refused};
use crate::files::{self, DesiredFile};
use crate::identity::{self, Identity};
use crate::journal::{Event, Journal};
use crate::machine::Machine;
use crate::metadata::{FoundDocument, SourceLog};
use crate::output::say;
use crate::own_keys::OwnKeys;
use crate::reason::{Reason, ReasonId};
use crate::{certificates, csr, image_integrity, metadata, own_keys, paths, rotation};

/// Checks the image's files, and determines and verifies the identity of this machine. Requests
/// certificates from the server if no source has a document, if the documents are for other keys,
/// or if the certificates have expired. Records the sources' answers in `log`.
pub(crate) fn obtain_identity(log: &mut SourceLog) -> Result<(Identity, Machine)> {
    image_integrity::verify_changed()?;
    let machine = Machine::observe()?;
    let cluster = identity::cluster()?;
    let (own, signing_key) = (OwnKeys::read()?, identity::signing_public_key()?);
    let found = match metadata::find(&cluster.metadata, &machine, log) {
        Err(error) if code_of(&error) == Exit::NotReady => {
            enrol(&cluster, &machine, &own, &signing_key, log).unwrap_or(Err(error))
        }
        found => found,
    };
    let found = found.map_err(|error| with_id(error, cluster.keys, &own))?;
    let verified = match identity::verify(found, &signing_key, cluster.clone(), &machine, &own) {
        Err(error) if is_for_other_keys(&error) => {
            match other_document(&cluster, &machine, &own, &signing_key, log)? {
                Some(other) => {
                    say(format!("{error:#}"));
                    Ok(other)
                }
                None => Err(error),
            }
        }
        verified => verified,
    };
    let verified = verified.inspect_err(|error| log.refuse(error))?;
    let (mut identity, outdated) = identity::newest(verified, &signing_key, &machine, &own)?;
    if let Some(why) = outdated {
        say(why.to_string());
        log.use_copy();
    }
    if let Some(found) = renew_if_expired(&identity, &machine, &own, &signing_key, log)? {
        identity = identity::verify(found, &signing_key, identity.cluster, &machine, &own)?;
    }
    rotation::defer_certificates(&mut identity, &Journal::open_read_only(paths::JOURNAL)?)?;
    Ok((identity, machine))
}

/// Requests new certificates if the document's certificates have expired, for example on a machine
/// that was off for longer than their lifetime. On a running machine, `firstboot renew` renews the
/// certificates before they expire.
fn renew_if_expired(
    identity: &Identity,
    machine: &Machine,
    own: &OwnKeys,
    signing_key: &PublicKey,
    log: &mut SourceLog,
) -> Result<Option<FoundDocument>> {
    let now = members::timestamp::now();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
    // Ignore faults in the certificates, because a later check reports them.
    let Ok((until, _)) = certificates::expiry(&identity.node.tls, at) else {
        return Ok(None);
    };
    if identity.cluster.enrol.is_none() || until > at {
        return Ok(None);
    }
    say(format!(
        "the certificates of the node document expired on {}, and this node's clock shows {}",
        certificates::date(until),
        certificates::date(at)
    ));
    enrol(&identity.cluster, machine, own, signing_key, log).transpose()
}

/// Returns whether a document is refused because its certificates are for keys that this node does
/// not have.
fn is_for_other_keys(error: &anyhow::Error) -> bool {
    reason_of(error).id == Some(ReasonId::DocumentOtherKey)
}

/// Returns the document to use if the certificates in a source's document are for other keys: the
/// accepted copy, or a new document for this node's keys. After the keys have changed, a source on
/// the node's own disk still contains the old document. If the node has lost its keys, the accepted
/// copy is for other keys too.
fn other_document(
    cluster: &ClusterDocument,
    machine: &Machine,
    own: &OwnKeys,
    signing_key: &PublicKey,
    log: &mut SourceLog,
) -> Result<Option<Identity>> {
    let verify = |found| identity::verify(found, signing_key, cluster.clone(), machine, own);
    if let Some(bytes) = files::read_if_there(paths::ACCEPTED_DOCUMENT)? {
        match verify(FoundDocument::parse(paths::ACCEPTED_DOCUMENT, &bytes)?) {
            Err(error) if is_for_other_keys(&error) && cluster.enrol.is_some() => {}
            verified => {
                log.use_copy();
                return verified.map(Some);
            }
        }
    }
    let enrolled = enrol(cluster, machine, own, signing_key, log).transpose()?;
    enrolled.map(verify).transpose()
}

/// Requests certificates for this node's own keys from the server that the recipe names. Returns
/// `None` if the recipe does not name a server, or if this node did not generate its own keys.
fn enrol(
    cluster: &ClusterDocument,
    machine: &Machine,
    own: &OwnKeys,
    signing_key: &PublicKey,
    log: &mut SourceLog,
) -> Option<Result<FoundDocument>> {
    let url = cluster.enrol.as_ref()?;
    let (request, key) = match csr::request(own, cluster, machine).transpose()? {
        Ok(request) => request,
        Err(error) => return Some(Err(error)),
    };
    say(format!(
        "requesting certificates from {url} for the key {key}"
    ));
    let found = metadata::enrol(url, machine, &request, signing_key);
    if let Ok(found) = &found {
        log.taken_from(&found.origin);
    }
    Some(found)
}

/// If an error of a metadata source has no reason id, adds one.
fn with_id(error: anyhow::Error, keys: KeyOrigin, own: &OwnKeys) -> anyhow::Error {
    match (code_of(&error), reason_of(&error)) {
        (Exit::NotReady, Reason { id: None, text }) if keys == KeyOrigin::Node => {
            let text = format!("{text}. {}", own.request_hint());
            not_ready(ReasonId::CertificatesAwaited.because(text))
        }
        (Exit::NotReady, Reason { id: None, text }) => {
            not_ready(ReasonId::DocumentMissing.because(text))
        }
        (Exit::Refused, Reason { id: None, text }) => {
            refused(ReasonId::DocumentRefused.because(text))
        }
        _ => error,
    }
}

/// Returns the node's name and the machine that the journal recorded last.
fn accepted(journal: &Journal) -> Option<(&Label, &Machine)> {
    journal.last(|event| match event {
        Event::IdentityAccepted { name, machine } => Some((name, machine)),
        _ => None,
    })
}

/// Refuses a disk that belongs to a different node or machine.
pub(crate) fn refuse_other_disk(
    identity: &Identity,
    machine: &Machine,
    journal: &Journal,
) -> Result<()> {
    let before = accepted(journal);
    if let Some((name, _)) = before
        && *name != identity.node.name
    {
        return Err(refused(ReasonId::DiskOfAnotherNode.because(format!(
            "this disk was set up as {name}, but the node document is for {0}. To turn the machine into {0}, reinstall it",
            identity.node.name
        ))));
    }
    identity::check_clone(machine, before.map(|(_, machine)| machine))
}

/// Stores the document until the node accepts it. If a later run requests the document again, the
/// stored document proves to the server that this machine has already received it.
pub(crate) fn store_received(identity: &Identity) -> Result<()> {
    if files::exists(Path::new(paths::ACCEPTED_DOCUMENT))? {
        return Ok(());
    }
    let received = DesiredFile::new(
        paths::RECEIVED_DOCUMENT,
        serde_json::to_vec(&identity.envelope)?,
    )
    .mode(0o600, files::ROOT);
    if received.is_current()? {
        return Ok(());
    }
    received.write()
}

/// Accepts the identity: writes it to the journal, and stores the document for the next boot. If
/// the document's certificates are for the keys in next-keys.pem, makes these keys the node's
/// current keys.
pub(crate) fn accept_identity(
    identity: &Identity,
    machine: &Machine,
    journal: &mut Journal,
) -> Result<()> {
    let node = &identity.node;
    let before = accepted(journal).map(|(_, before)| before.clone());
    if before.is_none() {
        say(format!(
            "this is {} of cluster {} ({machine})",
            node.name, node.cluster
        ));
    }
    let machine = before
        .as_ref()
        .map_or_else(|| machine.clone(), |before| machine.after(before));
    if before.as_ref() != Some(&machine) {
        journal.add(Event::IdentityAccepted {
            name: node.name.clone(),
            machine,
        })?;
    }
    let kept = DesiredFile::new(
        paths::ACCEPTED_DOCUMENT,
        serde_json::to_vec(&identity.envelope)?,
    )
    .mode(0o600, files::ROOT);
    if !kept.is_current()? {
        kept.write()?;
    }
    files::remove(paths::RECEIVED_DOCUMENT)?;
    own_keys::activate_next_keys(&identity.document_tls)
}
