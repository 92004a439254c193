//! Delivers a node's document to the node's machine. firstboot requests the document through its
//! metadata source `url`.

use std::time::SystemTime;

use anyhow::Result;
use hyper::StatusCode;
use hyper::header::{ETAG, HeaderValue};
use recipes::{Label, NodeIdentity, Sha256};

use super::client_request::ClientRequest;
use super::cluster::{self, ServedCluster};
use super::identify::identify;
use super::record::{DocumentDelivery, NextBoot, Record, time};
use super::refusal::{Refusal, RefusalId};
use super::reply::{Content, Reply, now, refused, text_reply};
use super::state::ServerState;

/// Returns the document of the requesting machine. A machine that names the digest of its document
/// in `If-None-Match` receives a 304 if there is no newer document.
pub(super) fn document(state: &ServerState, request: &ClientRequest) -> Result<Reply> {
    let cluster = state.cluster()?;
    let handed = request
        .origin(&state.log)
        .and_then(|origin| identify(&cluster.nodes, &request.machine(), origin))
        .map_err(anyhow::Error::from)
        .and_then(|node| deliver(state, request, &cluster, node));
    match handed {
        Ok(reply) => Ok(reply),
        Err(error) => {
            let refusal = error.downcast::<Refusal>()?;
            state.log_refusal(request, &refusal);
            Ok(refused(&refusal))
        }
    }
}

/// Hands out the document of a node whose machine has been identified.
pub(super) fn deliver(
    state: &ServerState,
    request: &ClientRequest,
    cluster: &ServedCluster,
    node: &NodeIdentity,
) -> Result<Reply> {
    let record = &cluster.record;
    // A machine receives its document even if a full disk prevents the creation of the lock file.
    let _lock = record.lock().inspect_err(|error| state.log.error(error));
    if let Err(error) = cluster.note_served() {
        state.log.error(&error);
    }
    let name = &node.name;
    let named = request.conditions.known_digest();
    let now = now();
    if named.is_some() && named == cluster.digest(node) {
        note_possession(state, record, name, now);
        let mut reply = text_reply(StatusCode::NOT_MODIFIED, String::new());
        reply.content = Content::File(None);
        return Ok(tagged(reply, named));
    }
    let installation = state.installation(record, name)?.unwrap_or_default();
    let delivery = state.delivery(record, name)?;
    // Only the node and the operator have the digest of an earlier document, so this digest proves
    // that the machine is the node.
    let is_proven = named.is_some_and(|named| record.served(name).contains(&named));
    if !is_proven {
        must_be_open(state, record, node, delivery.as_ref(), now)?;
    }
    let Some(text) = cluster::document(&state.out, name.as_str())? else {
        let why = format!(
            "{name} has no certificates yet. Run `firstboot csr` on {name}, sign the request with \
             `builder pki sign`, and build again"
        );
        return Err(Refusal::not_found(RefusalId::NotEnrolled, why).into());
    };
    let what = if is_proven {
        note_possession(state, record, name, now);
        "receives its newest document, because it proved that it already has a document from this \
         server"
    } else {
        state.change_delivery(record, name, |delivery| delivery.mark_delivered(now));
        // After this change of the record, no boot loader installs the machine again, even if the
        // machine's report was lost.
        state.change_installation(record, name, &installation, |installation| {
            installation.note_document(now);
        });
        "receives its document"
    };
    state.log_delivery(request, name, what);
    let reply = text_reply(StatusCode::OK, text);
    Ok(tagged(reply, cluster.digest(node)))
}

/// Records the proof that a machine already has its document. After a reinstallation that keeps the
/// document, the machine never downloads the document. Without this record, the download would then
/// stay allowed without a time limit.
fn note_possession(state: &ServerState, record: &Record, name: &Label, now: SystemTime) {
    match state.installation(record, name) {
        // The old system of a held machine runs on, so the last attempt has ended.
        Ok(Some(installation)) if installation.next(state.retries) == NextBoot::Held => {
            state.change_delivery(record, name, |delivery| delivery.mark_attempts_ended(now));
        }
        // Between two attempts to install the machine, the old system may request a newer document.
        // If this delivery were recorded, the installation would count as completed.
        Ok(Some(installation)) if installation.is_in_progress() => {}
        Ok(_) => state.change_delivery(record, name, |delivery| delivery.mark_delivered(now)),
        Err(error) => state.log.error(&error),
    }
}

/// Refuses to hand out a document if its download window has closed, or if the document may have
/// been handed out before the record began.
fn must_be_open(
    state: &ServerState,
    record: &Record,
    node: &NodeIdentity,
    delivery: Option<&DocumentDelivery>,
    now: SystemTime,
) -> Result<(), Refusal> {
    let name = &node.name;
    if delivery.is_none() && !record.is_complete() {
        let why = format!(
            "this server's record does not show whether {name} already received its document. Run \
             `builder allow {name} --document` on the server to allow the download"
        );
        return Err(Refusal::forbidden(RefusalId::NoRecord, why));
    }
    let Some(delivery) = delivery else {
        return Ok(());
    };
    if !delivery.is_open(now, state.document_window) {
        let start = delivery.window_start();
        let end = start.and_then(|start| start.checked_add(state.document_window));
        let why = format!(
            "the download of the document of {name} was allowed until {}. Run `builder allow {name} \
             --document` on the server to allow another download",
            end.map(time::text).unwrap_or_default()
        );
        return Err(Refusal::forbidden(RefusalId::DocumentClosed, why));
    }
    Ok(())
}

/// Adds the digest of the document as the entity tag of an answer.
fn tagged(mut reply: Reply, digest: Option<Sha256>) -> Reply {
    let tag = digest.and_then(|digest| HeaderValue::from_str(&format!("\"{digest}\"")).ok());
    reply.headers.extend(tag.map(|tag| (ETAG, tag)));
    reply
}

#[cfg(test)]
mod tests {
    use recipes::InstallStage;

    use super::*;
    use crate::nodes;
    use crate::serve::pages::tests::{request, state};
    use crate::serve::record::Installation;

    #[test]
    fn an_old_system_that_fetches_a_newer_document_does_not_end_the_installation() {
        let (folder, old) = (tempfile::tempdir().unwrap(), Sha256::of(b"old document"));
        let newer = nodes::Node::Enrolled(Box::new(nodes::tests::document()));
        nodes::write(folder.path(), &newer, &nodes::tests::key()).unwrap();
        let mut state = state(folder.path());
        state.retries = 3;
        let cluster = state.cluster().unwrap();
        let (record, node) = (&cluster.record, &cluster.nodes[0]);
        record.begin(now()).unwrap();
        record.note_served(&node.name, old).unwrap();
        let fetch = |installation: &Installation| {
            record.put_installation(&node.name, installation).unwrap();
            let head = hyper::Request::get("/node.json");
            let request = request(head.header("if-none-match", format!("\"{old}\"")));
            let reply = deliver(&state, &request, &cluster, node).unwrap();
            assert_eq!(reply.status, StatusCode::OK);
            let delivery = state.delivery(record, &node.name).unwrap();
            delivery.and_then(|delivery| delivery.first)
        };
        let mut installation = Installation::allowed();
        installation.note_sent("token".to_owned(), now());
        assert_eq!(fetch(&installation), None);
        assert_eq!(
            record.installation(&node.name).unwrap().unwrap(),
            installation
        );
        installation
            .report("token", InstallStage::Installed, None, now())
            .unwrap();
        assert!(fetch(&installation).is_some());
    }
}
