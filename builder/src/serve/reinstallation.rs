//! Lets a node ask to be installed again (`firstboot update --reinstall`). The node asks while it
//! has the turn of its cluster, so the nodes are installed one at a time.
//!
//! The server identifies the machine in the same way as when it hands out a document. The machine
//! must also send the digest of one of the node's documents, to prove that it is the node. A
//! permitted request has the effect of `builder allow NAME --install`, but only for the image that
//! the node asked for.

use anyhow::{Context as _, Result};
use hyper::StatusCode;
use recipes::reinstallation::{
    DOCUMENT_FIELD, IMAGE_FIELD, REQUEST_FIELD, ReinstallAnswer, ReinstallRequest,
};
use recipes::{NodeIdentity, Sha256};

use super::client_request::ClientRequest;
use super::cluster::ServedCluster;
use super::identify::identify;
use super::install::tree_url;
use super::record::{Installation, Record};
use super::refusal::{Refusal, RefusalId};
use super::reply::{Reply, now, refused, text_reply};
use super::state::ServerState;
use crate::image_release;

/// Answers the request of a node.
pub(super) fn reply(state: &ServerState, request: &ClientRequest) -> Result<Reply> {
    match decide(state, request) {
        Ok(answer) => Ok(text_reply(StatusCode::OK, serde_json::to_string(&answer)?)),
        Err(error) => {
            let refusal = error.downcast::<Refusal>()?;
            state.log_refusal(request, &refusal);
            Ok(refused(&refusal))
        }
    }
}

fn decide(state: &ServerState, request: &ClientRequest) -> Result<ReinstallAnswer> {
    let cluster = state.cluster()?;
    let origin = request.origin(&state.log)?;
    let node = identify(&cluster.nodes, &request.machine(), origin)?;
    let wanted = request.form_value(REQUEST_FIELD).unwrap_or_default();
    let wanted: ReinstallRequest = wanted
        .parse()
        .map_err(|error| Refusal::bad_request(RefusalId::Request, format!("{error}")))?;
    let unrecorded = |error: anyhow::Error| {
        state.log.error(&error);
        Refusal::unavailable(
            RefusalId::Unrecorded,
            "the server cannot read or write its record; the server's console shows why. Ask again",
        )
    };
    let record = &cluster.record;
    let _lock = record.lock().map_err(unrecorded)?;
    check_proof(request, &cluster, node)?;
    if wanted == ReinstallRequest::Withdraw {
        withdraw(state, request, record, node).map_err(unrecorded)?;
        return Ok(answer(state));
    }
    let image = check_permitted(state, request, node)?;
    if wanted == ReinstallRequest::Install {
        let name = &node.name;
        let recorded = record.installation(name).map_err(unrecorded)?;
        let asked = Installation::asked_by_node(recorded, image, now());
        record.put_installation(name, &asked).map_err(unrecorded)?;
        let what = "asks to be installed again: its next network boot installs it, and erases its \
                    disk except etcd's volume";
        state.log_event(request, Some(name), what);
    }
    Ok(answer(state))
}

fn answer(state: &ServerState) -> ReinstallAnswer {
    ReinstallAnswer {
        switches_machine: state.power.is_some(),
    }
}

/// Refuses a machine that does not send the digest of one of the node's documents.
fn check_proof(
    request: &ClientRequest,
    cluster: &ServedCluster,
    node: &NodeIdentity,
) -> Result<(), Refusal> {
    let named: Option<Sha256> = request
        .form_value(DOCUMENT_FIELD)
        .and_then(|digest| digest.parse().ok());
    let name = &node.name;
    let proves =
        |named| cluster.digest(node) == Some(named) || cluster.record.served(name).contains(&named);
    if named.is_some_and(proves) {
        return Ok(());
    }
    let why = format!(
        "the machine claims to be {name}, but does not prove this with a document that this server \
         has served. Run `builder allow {name} --install` on the server to reinstall it"
    );
    Err(Refusal::forbidden(RefusalId::ReinstallProof, why))
}

/// Refuses an installation that the operator has not permitted, or that this server cannot carry
/// out. Returns the image that the node asks for.
fn check_permitted(
    state: &ServerState,
    request: &ClientRequest,
    node: &NodeIdentity,
) -> Result<Sha256> {
    let name = &node.name;
    if !state.reinstall {
        let why = format!(
            "this server was started without --reinstall, so {name} cannot ask to be installed again"
        );
        return Err(Refusal::forbidden(RefusalId::ReinstallOff, why).into());
    }
    tree_url(state, name, "")?;
    let named: Option<Sha256> = request
        .form_value(IMAGE_FIELD)
        .and_then(|digest| digest.parse().ok());
    let release = image_release::read(&state.out)?
        .context("the output folder does not contain release.json")?;
    if named != Some(release.image) {
        let why = format!(
            "this server installs image {}, but {name} expects another image. \
             Run `firstboot update --reinstall` on {name} again",
            release.serial
        );
        return Err(Refusal::forbidden(RefusalId::ReinstallImage, why).into());
    }
    Ok(release.image)
}

/// Restores the record that the node's request replaced. The withdrawal needs no permission,
/// because it only prevents an installation.
fn withdraw(
    state: &ServerState,
    request: &ClientRequest,
    record: &Record,
    node: &NodeIdentity,
) -> Result<()> {
    let name = &node.name;
    let recorded = record.installation(name)?;
    if let Some(before) = recorded.and_then(|recorded| recorded.withdrawn()) {
        record.put_installation(name, &before)?;
        // The machine proved that it has its document. The attempt that the node withdraws may have
        // allowed another download.
        state.change_delivery(record, name, |delivery| delivery.mark_delivered(now()));
        let what = "runs its old system, and will not be installed again";
        state.log_event(request, Some(name), what);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::pages;

    #[test]
    fn a_withdrawn_request_limits_the_download_of_the_document() {
        let root = tempfile::tempdir().unwrap();
        crate::serve::cluster::write_identity(root.path(), "etcd-1", 1);
        let state = pages::tests::state(root.path());
        let cluster = state.cluster().unwrap();
        let (record, node) = (&cluster.record, &cluster.nodes[0]);
        let mut asked = Installation::asked_by_node(None, Sha256::of(b"image"), now());
        state.open_delivery(record, &node.name).unwrap();
        asked.note_sent("token".to_owned(), now());
        record.put_installation(&node.name, &asked).unwrap();
        let request = pages::tests::request(hyper::Request::post("/reinstall"));
        withdraw(&state, &request, record, node).unwrap();
        let delivery = state.delivery(record, &node.name).unwrap().unwrap();
        assert!(delivery.first.is_some(), "the download is not limited");
    }
}
