//! Records the stages that a machine reports during its installation and after each start of its
//! system.

use anyhow::Result;
use hyper::StatusCode;
use recipes::{InstallStage, Label, NodeIdentity};

use super::client_request::ClientRequest;
use super::identify::check_location;
use super::log::printable;
use super::record::{Installation, NextBoot, Record};
use super::refusal::{Refusal, RefusalId};
use super::reply::{Reply, now, refused, text_reply};
use super::state::ServerState;

/// Accepts a machine's report of its stage.
pub(super) fn reply(state: &ServerState, request: &ClientRequest) -> Result<Reply> {
    let cluster = state.cluster()?;
    match accept_report(state, request, &cluster.nodes, &cluster.record) {
        Ok(()) => Ok(text_reply(StatusCode::OK, "recorded".to_owned())),
        Err(error) => {
            let refusal = error.downcast::<Refusal>()?;
            state.log_refusal(request, &refusal);
            Ok(refused(&refusal))
        }
    }
}

fn accept_report(
    state: &ServerState,
    request: &ClientRequest,
    nodes: &[NodeIdentity],
    record: &Record,
) -> Result<()> {
    let origin = request.origin(&state.log)?;
    let name = request.query_value("node").unwrap_or_default();
    let Some(node) = nodes.iter().find(|node| node.name.as_str() == name) else {
        return Err(Refusal::not_found(
            RefusalId::UnknownMachine,
            format!("no node of this cluster is named {name}"),
        )
        .into());
    };
    check_location(node, origin)?;
    record_report(state, request, record, &node.name)
}

/// Records the report of a node's machine.
pub(super) fn record_report(
    state: &ServerState,
    request: &ClientRequest,
    record: &Record,
    name: &Label,
) -> Result<()> {
    let reported: InstallStage = request
        .form_value("stage")
        .unwrap_or_default()
        .parse()
        .map_err(|error: recipes::install_stage::InstallStageError| {
            Refusal::bad_request(RefusalId::Stage, error.to_string())
        })?;
    let why = request
        .form_value("why")
        .map(str::trim)
        .filter(|why| !why.is_empty())
        .map(printable);
    let later = |error: anyhow::Error| {
        state.log.error(&error);
        Refusal::unavailable(
            RefusalId::Unrecorded,
            "the server cannot record this report now. Send it again",
        )
    };
    let _lock = record.lock().map_err(later)?;
    let mut installation: Installation = record
        .installation(name)
        .map_err(later)?
        .unwrap_or_default();
    let token = request.query_value("token").unwrap_or_default();
    installation
        .report(token, reported, why.clone(), now())
        .map_err(|_| {
            Refusal::forbidden(
                RefusalId::StaleReport,
                format!(
                    "the report `{reported}` of {name} does not belong to its newest installation"
                ),
            )
        })?;
    record
        .put_installation(name, &installation)
        .map_err(later)?;
    limit_delivery(state, record, name, reported, &installation);
    let reason = why.map_or_else(String::new, |why| format!(": {why}"));
    state.log_event(request, Some(name), format!("reports {reported}{reason}"));
    Ok(())
}

/// Limits the time for which a node's document can be downloaded, if the report shows that the
/// machine may never download the document. The newest attempt has allowed the download. Without
/// this limit, the download would stay allowed indefinitely.
fn limit_delivery(
    state: &ServerState,
    record: &Record,
    name: &Label,
    reported: InstallStage,
    installation: &Installation,
) {
    let is_held = installation.next(state.retries) == NextBoot::Held;
    match reported {
        // A healthy node has its document. A node that kept its document during a reinstallation
        // never downloads it.
        InstallStage::Healthy => {
            state.change_delivery(record, name, |delivery| delivery.mark_delivered(now()));
        }
        // The last attempt has failed, and the machine may run its old system.
        InstallStage::Failed if is_held => {
            state.change_delivery(record, name, |delivery| {
                delivery.mark_attempts_ended(now());
            });
        }
        _ => {}
    }
}
