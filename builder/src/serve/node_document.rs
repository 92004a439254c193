//! Hands a node's document to the node's machine (firstboot's source `url`).

use anyhow::Result;
use hyper::StatusCode;
use recipes::NodeDocument;

use super::client_request::ClientRequest;
use super::identify::identify;
use super::record::{DocumentDelivery, Installation, Record, time};
use super::refusal::Refusal;
use super::reply::{Reply, now, refused, text_reply};
use super::state::{self, ServerState};

/// Returns the document of the requesting machine.
pub(super) fn document(state: &ServerState, request: &ClientRequest) -> Result<Reply> {
    let cluster = state.cluster()?;
    let handed = request
        .origin(&state.log)
        .and_then(|origin| identify(&cluster.nodes, &request.machine(), origin))
        .map_err(anyhow::Error::from)
        .and_then(|node| deliver(state, request, &cluster.record, node));
    match handed {
        Ok(text) => Ok(text_reply(StatusCode::OK, text)),
        Err(error) => {
            let refusal = error.downcast::<Refusal>()?;
            state.log_refusal(request, &refusal);
            Ok(refused(&refusal))
        }
    }
}

fn deliver(
    state: &ServerState,
    request: &ClientRequest,
    record: &Record,
    node: &NodeDocument,
) -> Result<String> {
    // On a full disk there is no room for a lock either.
    let _lock = record.lock().inspect_err(|error| state.log.error(error));
    let name = &node.name;
    let installation = record.installation(name)?.unwrap_or_default();
    let delivery = state.delivery(record, name)?;
    let now = now();
    if delivery.is_none() && !record.is_complete() && installation.began.is_none() {
        let why = format!(
            "the record of this server does not say whether {name} had its document. `builder allow {name} --document` on the \
             server hands it out"
        );
        return Err(Refusal::forbidden("no-record", why).into());
    }
    let mut delivery = delivery.unwrap_or_else(DocumentDelivery::allowed);
    if !delivery.is_open(installation.began, now, state.open) {
        let first = delivery.first.map(time::text).unwrap_or_default();
        let why = format!(
            "the document of {name} was handed out at {first}, and for {} minutes from then. `builder allow {name} --document` \
             on the server hands it out again",
            state.open.as_secs() / 60
        );
        return Err(Refusal::forbidden("document-closed", why).into());
    }
    let text = state::document(&state.out, name.as_str())?;
    delivery.mark_delivered(installation.began, now);
    state.put_delivery(record, name, &delivery);
    note_installed(state, record, node, installation, now);
    state.log_event(request, Some(name), "its document is handed out");
    Ok(text)
}

/// Records that the machine has been installed, since only an installed machine asks for its
/// document. From now on iPXE does not install it again, even if its report was lost.
fn note_installed(
    state: &ServerState,
    record: &Record,
    node: &NodeDocument,
    mut installation: Installation,
    now: std::time::SystemTime,
) {
    if installation.installed.is_some() {
        return;
    }
    installation.document(now);
    if let Err(error) = record.put_installation(&node.name, &installation) {
        state.log.error(&error);
    }
}
