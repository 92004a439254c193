//! `firstboot update --reinstall`: creates the order to install this machine again from a release.
//! The installation keeps etcd's data.

use anyhow::Result;
use recipes::reinstallation::{ReinstallAnswer, ReinstallRequest};
use recipes::{InstallData, ReleaseDocument};
use url::Url;

use super::check_release::check_reinstallation;
use super::source::Source;
use super::stage;
use super::state::UpdateOrder;
use super::this_node::ThisNode;
use crate::exit::{Exit, code_of, not_ready, reason_of, refused};
use crate::machine::Machine;
use crate::metadata::InstallServer;
use crate::reason::{Reason, ReasonId};
use members::timestamp::now;

/// Returns the order for a reinstallation from the newest release, which may also be the node's own
/// image. `deadline` is the number of seconds for which the order waits for its turn.
///
/// # Errors
/// Returns a refusal if the source is a folder, if this node must not be installed from the
/// release, if the reinstallation would erase the data, or if the server does not permit the
/// reinstallation.
pub(super) fn order(own: &ThisNode, source: &Source, deadline: u64) -> Result<UpdateOrder> {
    let Source::Server(server) = source else {
        return Err(refused(ReasonId::UpdateNoServer.because(format!(
            "{source} is a folder. `builder serve` must install the machine: pass its URL with --from"
        ))));
    };
    let release = own.fetch(source)?;
    check_reinstallation(&release, &own.image)?;
    // Stage the image only to check that it is complete and meant for this node. The node does not
    // use the staged files.
    let staged = stage::stage(source, &release, own)?;
    if let Some(why) = erases(own.cluster.data, staged.data, release.serial) {
        return Err(refused(ReasonId::UpdateWipes.because(why)));
    }
    ask(own, server, &release, ReinstallRequest::Check)?;
    let settings = own.cluster.update.clone().unwrap_or_default();
    Ok(UpdateOrder {
        serial: release.serial,
        release: Some(release),
        reinstall: Some(server.clone()),
        soak: settings.soak_seconds,
        reboot: settings.reboot,
        until: now() + deadline,
        window: None,
    })
}

/// Returns the reason why a reinstallation would erase this node's data, or `None` if it would keep
/// the data.
fn erases(own: InstallData, new: InstallData, serial: u64) -> Option<String> {
    let (image, remedy) = match (own, new) {
        (InstallData::Keep, InstallData::Keep) => return None,
        (InstallData::Wipe, InstallData::Keep) => (
            "this node's image".to_owned(),
            "Set data = \"keep\" in [install], build without any other change, and run `firstboot \
             update` on each node first",
        ),
        (_, InstallData::Wipe) => (
            format!("image {serial}"),
            "Set data = \"keep\" in [install] and build again",
        ),
    };
    Some(format!(
        "{image} does not have data = \"keep\", so a reinstallation would erase this member's data. {remedy}"
    ))
}

/// Sends a request to the server that installs this machine.
///
/// # Errors
/// Returns a "not ready" error if the server does not answer, and a refusal if the server refuses
/// the request.
pub(super) fn ask(
    own: &ThisNode,
    server: &Url,
    release: &ReleaseDocument,
    request: ReinstallRequest,
) -> Result<ReinstallAnswer> {
    let server = InstallServer {
        url: server,
        machine: &Machine::observe()?,
        document: own.envelope().payload_digest()?,
        image: release.image,
    };
    server.ask(request).map_err(with_id)
}

/// Adds an id to the error about a server that does not answer.
fn with_id(error: anyhow::Error) -> anyhow::Error {
    match (code_of(&error), reason_of(&error)) {
        (Exit::NotReady, Reason { id: None, text }) => {
            not_ready(ReasonId::UpdateNoServer.because(text))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_answer_has_an_id() {
        let silent = "http://10.0.0.5/reinstall: no route";
        assert_eq!(
            reason_of(&with_id(not_ready(silent))),
            ReasonId::UpdateNoServer.because(silent)
        );
        let refusal = ReasonId::UpdateInstallRefused.because("the server refuses");
        assert_eq!(reason_of(&with_id(refused(refusal.clone()))), refusal);
    }

    #[test]
    fn both_images_must_keep_the_data() {
        let (keep, wipe) = (InstallData::Keep, InstallData::Wipe);
        assert_eq!(erases(keep, keep, 7), None);
        for (own, new, words) in [
            (wipe, keep, "this node's image does not have data"),
            (keep, wipe, "image 7 does not have data"),
            (wipe, wipe, "image 7 does not have data"),
        ] {
            let said = erases(own, new, 7).unwrap();
            assert!(said.starts_with(words), "{said}");
        }
    }
}
