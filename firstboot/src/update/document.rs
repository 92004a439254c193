//! Finds a newer node document, determines what the document changes, and lets the node accept it.
//! An operator need not log in to the node to renew its certificates or to change its CA.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use recipes::NodeDocument;
use recipes::node::DocumentCertificate;
use reqwest::Url;
use serde::Serialize;

use super::health_check::waits_for_others;
use super::source::Source;
use super::state::UpdateState;
use super::this_node::ThisNode;
use crate::exit::{not_ready, reason_of, refused};
use crate::files::{self, DesiredFile};
use crate::identity::{self, Identity};
use crate::lock::Lock;
use crate::machine::Machine;
use crate::metadata::{self, FoundDocument};
use crate::operator;
use crate::output::say;
use crate::own_keys::OwnKeys;
use crate::reason::{Reason, ReasonId};
use crate::steps::tls;
use crate::systemd::FIRSTBOOT_UNIT;
use crate::{certificates, csr, paths, rotation, systemd};

/// The time for which the command waits for firstboot.service to finish. After a change of the CA,
/// the unit may wait much longer for the other members.
const FINISH_TIMEOUT: Duration = Duration::from_secs(30);
/// The time limit for the updater to exit after it has written the outcome of an update.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A verified, newer document of this node.
#[derive(Debug)]
pub(super) struct NewerDocument {
    identity: Identity,
    /// The changes that the document makes on the node. The list is empty if only the serial of the
    /// document's build differs.
    changes: Vec<String>,
    /// Whether the set of trusted CAs changes. If this set changes, the member waits for the other
    /// members and restarts its etcd.
    pub(super) changes_ca: bool,
}

/// The command's report about the document, as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report<'a> {
    place: &'a str,
    changes: &'a [String],
    taken: bool,
    /// The reason why the node could not accept the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Reason>,
}

/// The result of the search for a newer document. A document that cannot be used does not prevent
/// an update of the image.
#[derive(Debug)]
pub(super) enum DocumentSearch {
    /// There is no newer document.
    Nothing,
    Newer(Box<NewerDocument>),
    /// No newer document can be obtained or used, for this reason.
    Unusable(Reason),
}

/// Looks for a newer document.
pub(super) fn look(own: &ThisNode, source: &Source) -> DocumentSearch {
    match search(own, source) {
        Ok(Some(newer)) => DocumentSearch::Newer(Box::new(newer)),
        Ok(None) => DocumentSearch::Nothing,
        Err(error) => DocumentSearch::Unusable(reason_of(&error)),
    }
}

impl DocumentSearch {
    /// Returns the newer document if it can be used. If it cannot be used, logs the reason.
    pub(super) fn usable(self) -> Option<NewerDocument> {
        match self {
            Self::Nothing => None,
            Self::Newer(newer) => Some(*newer),
            Self::Unusable(why) => {
                eprintln!("firstboot: cannot obtain a newer node document: {why}");
                None
            }
        }
    }
}

fn search(own: &ThisNode, source: &Source) -> Result<Option<NewerDocument>> {
    let machine = Machine::observe()?;
    match find(own, source, &machine)? {
        Some(found) => verify_newer(own, found, &machine),
        None => Ok(None),
    }
}

/// Returns the document with which the server answers this node's request for certificates, if that
/// document is newer than the accepted document.
pub(super) fn from_server(own: &ThisNode, server: &Url) -> Result<Option<NewerDocument>> {
    let machine = Machine::observe()?;
    verify_newer(own, request(own, server, &machine)?, &machine)
}

/// Sends a request for each of the node's key sets, until the server answers a request with a
/// document. The server signs only for key sets that an operator has approved.
fn request(own: &ThisNode, server: &Url, machine: &Machine) -> Result<FoundDocument> {
    let keys = OwnKeys::read()?;
    let mut failed = refused(ReasonId::DocumentOtherKey.because(keys.mismatch_reason()));
    for request in csr::requests(&keys, &own.cluster, machine)? {
        match metadata::enrol_once(server, machine, &request, &own.signing_key) {
            Ok(found) => return Ok(found),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Verifies a document, and compares it with the accepted document. Returns `None` if both
/// documents are the same. Refuses a document that is older or for another node.
fn verify_newer(
    own: &ThisNode,
    found: FoundDocument,
    machine: &Machine,
) -> Result<Option<NewerDocument>> {
    if found.envelope.payload == own.envelope().payload {
        return Ok(None);
    }
    let identity = identity::verify(
        found,
        &own.signing_key,
        own.cluster.clone(),
        machine,
        &OwnKeys::read()?,
    )?;
    if identity.node.name != own.node {
        return Err(refused(ReasonId::DocumentRefused.because(format!(
            "the node document from {} is for {}, but this node is {}",
            identity.origin, identity.node.name, own.node
        ))));
    }
    if let Some(why) = identity::outdated(&identity, own.document()) {
        return Err(refused(why));
    }
    tls::check(&identity, &identity.document_tls)
        .with_context(|| format!("the node document from {} cannot be used", identity.origin))?;
    let (changes, changes_ca) = changes(own.document(), &identity.node)?;
    Ok(Some(NewerDocument {
        identity,
        changes,
        changes_ca,
    }))
}

/// Returns the document in the release's folder, if there is one. Otherwise, requests a document
/// from the server that `enrol` names, because that server has the node's newest document. Without
/// `enrol`, requests a document from the release's server, if there is such a server, and then from
/// the recipe's metadata server.
fn find(own: &ThisNode, source: &Source, machine: &Machine) -> Result<Option<FoundDocument>> {
    let known = own.envelope().payload_digest()?;
    let found = match source {
        Source::Folder(folder) => {
            let path = folder
                .join("nodes")
                .join(own.node.as_str())
                .join("node.json");
            FoundDocument::in_file(&path)?
        }
        Source::Server(_) if own.cluster.enrol.is_some() => None,
        Source::Server(url) => metadata::newer(url, machine, &known)?,
    };
    if let (None, Some(server)) = (&found, &own.cluster.enrol) {
        return request(own, server, machine).map(Some);
    }
    match (&found, &own.cluster.metadata.url) {
        (None, Some(url)) if *source != Source::Server(url.clone()) => {
            metadata::newer(url, machine, &known)
        }
        _ => Ok(found),
    }
}

/// Returns the changes that a document would make on the node, and whether the document changes the
/// trusted CAs.
fn changes(old: &NodeDocument, new: &NodeDocument) -> Result<(Vec<String>, bool)> {
    let mut changes = Vec::new();
    for (what, before, after) in [
        ("server", &old.tls.server, &new.tls.server),
        ("peer", &old.tls.peer, &new.tls.peer),
        ("client", &old.tls.client, &new.tls.client),
    ] {
        if before != after {
            changes.push(format!(
                "{what} certificate: until {} -> until {}",
                until(before, &old.tls.ca),
                until(after, &new.tls.ca)
            ));
        }
    }
    let (before, after) = (
        rotation::authorities(&old.tls.ca)?,
        rotation::authorities(&new.tls.ca)?,
    );
    for added in after.difference(&before) {
        changes.push(format!(
            "trusts {added} (this change restarts etcd on one member at a time)"
        ));
    }
    for dropped in before.difference(&after) {
        changes.push(format!(
            "no longer trusts {dropped} (this change restarts etcd on one member at a time)"
        ));
    }
    if old.store_keys != new.store_keys {
        changes.push("different object store keys".to_owned());
    }
    if old.machine != new.machine {
        changes.push("different machine identifiers".to_owned());
    }
    Ok((changes, before != after))
}

fn until(pair: &DocumentCertificate, ca: &str) -> String {
    certificates::not_after(pair, ca)
        .map_or_else(|| "an unknown time".to_owned(), certificates::date)
}

impl NewerDocument {
    /// Returns whether the document changes anything on the node.
    pub(super) fn changes_something(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Returns the report as JSON.
    pub(super) fn report(&self, taken: bool) -> Report<'_> {
        Report {
            place: &self.identity.origin,
            changes: &self.changes,
            taken,
            error: None,
        }
    }

    /// Returns the report as JSON, after an attempt to accept the document.
    pub(super) fn report_after(&self, taken: &Result<()>) -> Report<'_> {
        Report {
            error: taken.as_ref().err().map(reason_of),
            ..self.report(taken.is_ok())
        }
    }

    /// Returns the report as text.
    pub(super) fn text(&self) -> String {
        let mut text = format!("node document from {}\n", self.identity.origin);
        for change in &self.changes {
            text.push_str(change);
            text.push('\n');
        }
        text
    }

    /// Stores the document durably and, if the document changes anything, lets firstboot.service
    /// apply it. etcd reads a renewed certificate at the next handshake. The caller must hold the
    /// lock for updates.
    pub(super) fn take(&self, _updates: &Lock) -> Result<()> {
        let document = self.file()?;
        if !self.changes_something() {
            return document.write();
        }
        self.announce();
        operator::while_stopped(|| document.write())?;
        follow(self.identity.node.name.as_str())
    }

    fn announce(&self) {
        say(format!(
            "{} accepts its node document from {}: {}",
            self.identity.node.name,
            self.identity.origin,
            self.changes.join("; ")
        ));
    }

    /// Stores the document durably. Returns whether the caller must install the document's
    /// certificates. If the CAs change, or if firstboot is running, firstboot.service installs the
    /// certificates.
    pub(super) fn accept(&self) -> Result<bool> {
        if !self.changes_ca
            && let Ok(_lock) = Lock::take()
        {
            self.announce();
            self.file()?.write()?;
            return Ok(true);
        }
        let lock = Lock::take_updates()?;
        if UpdateState::read()?.is_some() {
            return Err(not_ready(ReasonId::UpdateBusy.because(
                "the node uses renewed certificates only after the update of the image has ended",
            )));
        }
        self.take(&lock).map(|()| false)
    }

    fn file(&self) -> Result<DesiredFile> {
        let text = serde_json::to_vec(&self.identity.envelope)?;
        Ok(DesiredFile::new(paths::ACCEPTED_DOCUMENT, text).mode(0o600, files::ROOT))
    }

    /// Accepts the document after an update of the image, unless another update is in progress.
    pub(super) fn take_after_update(&self) -> Result<()> {
        let end = Instant::now() + LOCK_TIMEOUT;
        let lock = loop {
            match Lock::take_updates() {
                Err(_) if Instant::now() < end => sleep(POLL_INTERVAL),
                lock => break lock?,
            }
        };
        if UpdateState::read()?.is_some() {
            return Err(not_ready(ReasonId::UpdateBusy.because(
                "the node can use its newer node document only after the update of the image has \
                 ended. Run `firstboot update` again after the update",
            )));
        }
        self.take(&lock)
    }
}

/// Waits until firstboot.service has finished. If the unit takes too long or is waiting for the
/// other members, prints the unit's status and returns. If the unit has failed, returns a refusal
/// with its status.
fn follow(name: &str) -> Result<()> {
    let end = Instant::now() + FINISH_TIMEOUT;
    loop {
        let seen = systemd::properties(FIRSTBOOT_UNIT, &["ActiveState", "SubState", "StatusText"])?;
        let of = |key: &str| seen.get(key).map(String::as_str).unwrap_or_default();
        if of("ActiveState") == "active" && of("SubState") == "exited" {
            say(format!("{name} uses the newer node document"));
            return Ok(());
        }
        if of("ActiveState") == "failed" {
            return Err(refused(Reason::parse(of("StatusText"))));
        }
        if Instant::now() >= end || waits_for_others(of("StatusText")) {
            say(format!(
                "{FIRSTBOOT_UNIT} continues with the newer node document: {}",
                of("StatusText")
            ));
            return Ok(());
        }
        sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
impl NewerDocument {
    /// Returns an example for tests.
    pub(super) fn example() -> Self {
        Self {
            identity: crate::steps::test_identity_from(2026),
            changes: vec!["different machine identifiers".to_owned()],
            changes_ca: true,
        }
    }
}

#[cfg(test)]
mod tests;
