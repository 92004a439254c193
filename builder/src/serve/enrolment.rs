//! Signs the requests of nodes that generate their keys themselves. The server identifies the
//! machine in the same way as when it hands out a document. The server records a node's first keys
//! as the node's keys. Another machine is therefore enrolled in the node's place only if an
//! operator approves the new keys.

use anyhow::Result;
use hyper::StatusCode;
use recipes::Envelope;

use super::client_request::ClientRequest;
use super::identify::identify;
use super::refusal::{Refusal, RefusalId};
use super::reply::{Reply, now, refused, text_reply};
use super::state::ServerState;
use crate::pki::{Event, PkiError, PublicKeys};
use crate::sign::{CertificateAuthority, SignedRequest};

/// Answers a certificate request with the document of the requesting machine.
pub(super) fn enrol(
    state: &ServerState,
    request: &ClientRequest,
    ca: &CertificateAuthority,
) -> Result<Reply> {
    match signed(state, request, ca) {
        Ok(document) => Ok(text_reply(StatusCode::OK, document)),
        Err(error) => {
            let refusal = error.downcast::<Refusal>()?;
            state.log_refusal(request, &refusal);
            Ok(refused(&refusal))
        }
    }
}

fn signed(
    state: &ServerState,
    request: &ClientRequest,
    ca: &CertificateAuthority,
) -> Result<String> {
    let cluster = state.cluster()?;
    let origin = request.origin(&state.log)?;
    let node = identify(&cluster.nodes, &request.machine(), origin)?;
    let keys = PublicKeys::of_request(&request.body).map_err(|error| {
        Refusal::bad_request(
            RefusalId::Request,
            format!(
                "the body is not a certificate request: {error}. `firstboot csr` prints a certificate request"
            ),
        )
    })?;
    let SignedRequest {
        document,
        has_new_keys,
        events,
    } = ca
        .answer(&node.name, &keys, Some(node), |error| {
            state.log.error(error);
        })
        .map_err(refusal)?;
    let is_new = events
        .iter()
        .any(|event| !matches!(event, Event::Warning { .. }));
    let is_logged = |event: &Event| match event {
        Event::Renewed { .. } => false,
        Event::Warning { .. } => state.pki_warnings.is_due(&event.to_string(), now()),
        _ => true,
    };
    for event in events.iter().filter(|event| is_logged(event)) {
        state.log_event(request, Some(&node.name), event.to_string());
    }
    let digest = serde_json::from_str::<Envelope>(&document)?.payload_digest()?;
    // A node receives its certificates even if the record cannot be locked or written.
    let _lock = cluster
        .record
        .lock()
        .inspect_err(|error| state.log.error(error));
    if let Err(error) = cluster.record.note_served(&node.name, digest) {
        state.log.error(&error);
    }
    let installation = state
        .installation(&cluster.record, &node.name)?
        .unwrap_or_default();
    let now = now();
    // Only a request with new keys counts as a request of the new system. Between two attempts, the
    // old system can send a request with its existing keys, to renew its certificates. If the
    // installation keeps the keys, the server learns from the new system's reports that the
    // installation is complete.
    if has_new_keys {
        state.change_installation(&cluster.record, &node.name, &installation, |installation| {
            installation.note_document(now);
        });
    }
    let what = if is_new {
        "receives new certificates for"
    } else {
        "receives its existing certificates for"
    };
    let what = format!("{what} the key {}", keys.fingerprint());
    state.log_delivery(request, &node.name, what);
    Ok(document)
}

/// If the machine must know about a PKI error, converts the error into a refusal. Returns other
/// errors unchanged. The machine repeats its request after a temporary error, for example while its
/// key waits for an operator's approval.
fn refusal(error: anyhow::Error) -> anyhow::Error {
    let refusal = match error.downcast_ref::<PkiError>() {
        Some(PkiError::KeyNotApproved { name, asked, .. }) => Refusal::unavailable(
            RefusalId::KeyNotApproved,
            format!(
                "the key {asked} is waiting for an operator's approval: `builder pki approve` on \
                 the server shows this key for {name}"
            ),
        ),
        Some(PkiError::KeyOfAnotherNode { owner, .. }) => Refusal::forbidden(
            RefusalId::KeyOfAnotherNode,
            format!("this is a key of {owner}: was the disk copied?"),
        ),
        Some(PkiError::NotBuilt { name, .. }) => Refusal::unavailable(
            RefusalId::NotBuilt,
            format!(
                "in the recipe of this server, the address, `mac`, `serial` or `uuid` of {name} \
                 differs from the last build or from the served output. Run `builder build` on the \
                 server; the node then repeats its request"
            ),
        ),
        Some(PkiError::Busy { .. }) => Refusal::unavailable(
            RefusalId::PkiBusy,
            "another program is using the PKI folder. Ask again",
        ),
        _ => return error,
    };
    refusal.into()
}
