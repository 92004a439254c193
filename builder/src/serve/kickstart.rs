//! Records which machines download the kickstart. If a build has replaced the image that a
//! machine's boot script named, the machine gets a kickstart that only restarts it.

use anyhow::Result;
use hyper::StatusCode;
use recipes::{InstallStage, Label, NodeIdentity};

use super::boot::IMAGE_PARAMETER;
use super::client_request::{ClientRequest, Verb};
use super::identify::{check_location, identify};
use super::record::{Installation, Record};
use super::refusal::{Refusal, RefusalId};
use super::reply::{Reply, now, text_reply};
use super::state::ServerState;
use crate::image_release;

const SAY: &str = include_str!("../../../kickstart/scripts/say.sh");

/// Records a request for the kickstart, if a node's machine sent it. The kickstart itself is
/// public. Returns `None` if the machine may get the kickstart of the output, and otherwise the
/// answer to send instead.
pub(super) fn requested(state: &ServerState, request: &ClientRequest) -> Result<Option<Reply>> {
    if request.verb != Verb::Get {
        return Ok(None);
    }
    let replaced = replaced(state, request)?;
    if let Err(error) = note(state, request, replaced.as_ref()) {
        state.log.error(&error);
    }
    Ok(replaced.map(|refusal| text_reply(refusal.status, restart(&refusal))))
}

/// Returns a refusal if the boot script of the installation named an image other than the image of
/// the output.
fn replaced(state: &ServerState, request: &ClientRequest) -> Result<Option<Refusal>> {
    let Some(named) = request.query_value(IMAGE_PARAMETER) else {
        return Ok(None);
    };
    let release = image_release::read(&state.out)?;
    if release.is_some_and(|release| release.image.to_string() == named) {
        return Ok(None);
    }
    let why = "a build replaced the image after this machine had received its boot script. The \
               machine restarts, and requests its boot script again";
    Ok(Some(Refusal {
        id: RefusalId::ImageReplaced,
        status: StatusCode::OK,
        why: why.to_owned(),
    }))
}

/// Returns a kickstart that restarts the machine before anaconda changes a disk. An error status
/// would leave the machine in dracut, which requests the kickstart only once (anaconda,
/// dracut/fetch-kickstart-net.sh). The command `reboot` restarts the machine if %pre does not,
/// because anaconda executes this command at every exit (exitHandler in the program anaconda).
fn restart(why: &Refusal) -> String {
    format!(
        "cmdline\n\
         reboot\n\
         %pre --interpreter=/bin/bash --erroronfail\n\
         {SAY}\
         say '{why}'\n\
         sleep \"${{ETCD_IMAGE_PAUSE:-5}}\"\n\
         systemctl --force reboot\n\
         while sleep 60; do :; done\n\
         %end\n"
    )
}

fn note(state: &ServerState, request: &ClientRequest, replaced: Option<&Refusal>) -> Result<()> {
    let cluster = state.cluster()?;
    let named = request
        .query_value("node")
        .and_then(|name| cluster.node(name));
    let node = request.origin(&state.log).and_then(|origin| match named {
        Some(node) => check_location(node, origin).map(|()| node),
        None => identify(&cluster.nodes, &request.installer, origin),
    });
    match (node, replaced) {
        (Ok(node), None) => note_download(state, request, &cluster.record, node),
        (Ok(NodeIdentity { name, .. }), Some(why)) => {
            state.log_refusal(request, why);
            note_replaced(&cluster.record, name, why)
        }
        (Err(refusal), _) => {
            state.log_event(
                request,
                None,
                format!(
                    "downloads the kickstart, but the server cannot record the download: {refusal}"
                ),
            );
            Ok(())
        }
    }
}

/// Records that the node's machine downloads the kickstart.
fn note_download(
    state: &ServerState,
    request: &ClientRequest,
    record: &Record,
    node: &NodeIdentity,
) -> Result<()> {
    let _lock = record.lock()?;
    let name = &node.name;
    let recorded = record.installation(name)?;
    if begins_installation(recorded.as_ref()) {
        state.open_delivery(record, name)?;
    }
    let mut installation = recorded.unwrap_or_default();
    installation.note_kickstart(now());
    record.put_installation(name, &installation)?;
    state.log_event(request, Some(&node.name), "downloads the kickstart");
    Ok(())
}

/// Returns whether the download of the kickstart begins an installation that an operator has
/// allowed. If so, the caller allows the delivery of the node's document.
///
/// Any program on the machine can download the kickstart. If there is no earlier record, no
/// operator has allowed an installation, so the download does not begin one.
fn begins_installation(recorded: Option<&Installation>) -> bool {
    recorded.is_some_and(Installation::is_awaited)
}

/// Records that the node's newest attempt has failed, so that the board shows the reason, and
/// `--power` boots the machine from the network.
fn note_replaced(record: &Record, name: &Label, why: &Refusal) -> Result<()> {
    let _lock = record.lock()?;
    let Some(mut installation) = record.installation(name)? else {
        return Ok(());
    };
    if fail(&mut installation, why) {
        record.put_installation(name, &installation)?;
    }
    Ok(())
}

/// Marks the newest attempt as failed. Returns false if there is no attempt, or if it has already
/// succeeded.
fn fail(installation: &mut Installation, why: &Refusal) -> bool {
    let Some(token) = installation.token.clone() else {
        return false;
    };
    let failed = installation.report(&token, InstallStage::Failed, Some(why.to_string()), now());
    failed.is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::serve::pages::tests::{request, state};
    use crate::serve::record::{DocumentDelivery, NextBoot};

    /// Hands out the document, lets the node's machine download the kickstart, and returns the
    /// record of the delivery.
    fn delivery_after_download(recorded: Option<&Installation>) -> DocumentDelivery {
        let root = tempfile::tempdir().unwrap();
        crate::serve::cluster::write_identity(root.path(), "etcd-1", 1);
        let state = state(root.path());
        let cluster = state.cluster().unwrap();
        let (record, node) = (&cluster.record, &cluster.nodes[0]);
        let mut delivery = DocumentDelivery::allowed();
        delivery.mark_delivered(SystemTime::UNIX_EPOCH);
        record.put_delivery(&node.name, &delivery).unwrap();
        if let Some(recorded) = recorded {
            record.put_installation(&node.name, recorded).unwrap();
        }
        let request = request(hyper::Request::get("/image/centos7.ks"));
        for _ in 0..2 {
            note_download(&state, &request, record, node).unwrap();
            let found = record.installation(&node.name).unwrap().unwrap();
            assert!(
                matches!(found.next(3), NextBoot::Disk(_)),
                "a boot loader overwrites an installation that was started by hand"
            );
        }
        record.delivery(&node.name).unwrap().unwrap()
    }

    #[test]
    fn only_a_download_after_a_permission_allows_the_delivery() {
        let unknown = delivery_after_download(None);
        assert!(unknown.first.is_some(), "the server hands out the document");
        let mut installed = Installation::allowed();
        installed.note_document(SystemTime::UNIX_EPOCH);
        let installed = delivery_after_download(Some(&installed));
        assert!(installed.first.is_some(), "the machine is installed");
        let allowed = delivery_after_download(Some(&Installation::allowed()));
        assert_eq!(allowed, DocumentDelivery::allowed());
    }
}
