//! Controls the installation of a node's machine: decides what a network boot loader receives, and
//! records each attempt.

use std::time::SystemTime;

use anyhow::{Context as _, Result};
use hyper::StatusCode;
use recipes::{Label, NodeIdentity, Sha256};

use super::boot::{self, GRUB_SCRIPT_BYTES, Install, Loader};
use super::client_request::ClientRequest;
use super::identify::{Machine, identify};
use super::record::{Installation, NextBoot, Record, time};
use super::refusal::{Refusal, RefusalId};
use super::reply::{Reply, now, refused, text_reply};
use super::state::ServerState;
use super::tree::InstallTree;
use crate::image_release;

/// Answers a boot loader that requests its first script, which is the same for all machines.
pub(super) fn first_script(state: &ServerState, request: &ClientRequest, loader: Loader) -> Reply {
    let server = state.loader_url(request, loader);
    text_reply(StatusCode::OK, loader.identify_script(&server))
}

/// Answers a HEAD request for one of grub's scripts. The answer does not depend on the machine,
/// because all scripts have the same length.
pub(super) fn grub_head() -> Reply {
    text_reply(StatusCode::OK, "\n".repeat(GRUB_SCRIPT_BYTES))
}

/// Answers a machine that boots from the network. A machine that does not state its identity
/// receives the first script. A refusal is also a script, because the boot loaders do not show the
/// text of an error.
pub(super) fn boot_script(
    state: &ServerState,
    request: &ClientRequest,
    loader: Loader,
) -> Result<Reply> {
    if request.query.is_empty() {
        return Ok(first_script(state, request, loader));
    }
    machine_script(state, request, loader, &request.machine())
}

/// Answers pxelinux, which requests one file after another until a file exists.
pub(super) fn pxelinux_file(
    state: &ServerState,
    request: &ClientRequest,
    name: &str,
) -> Result<Reply> {
    let not_found = || refused(&Refusal::not_found(RefusalId::NotFound, "not found"));
    let Some(machine) = boot::pxelinux_machine(name) else {
        return Ok(not_found());
    };
    // The first request of pxelinux states the machine's UUID. If the UUID does not identify a
    // node, the next request states the MAC address.
    if machine.macs.is_empty() {
        let cluster = state.cluster()?;
        let origin = request.origin(&state.log);
        let found = origin.and_then(|origin| identify(&cluster.nodes, &machine, origin));
        if found.is_err_and(|refusal| refusal.id == RefusalId::UnknownMachine) {
            return Ok(not_found());
        }
    }
    machine_script(state, request, Loader::Pxelinux, &machine)
}

/// Returns the script for a machine with this identity.
fn machine_script(
    state: &ServerState,
    request: &ClientRequest,
    loader: Loader,
    machine: &Machine,
) -> Result<Reply> {
    let server = state.loader_url(request, loader);
    let cluster = state.cluster()?;
    let decided = request
        .origin(&state.log)
        .and_then(|origin| identify(&cluster.nodes, machine, origin))
        .map_err(anyhow::Error::from)
        .and_then(|node| {
            let asked = ScriptRequest {
                request,
                loader,
                machine,
                server: &server,
            };
            decide(state, &asked, &cluster.record, node)
        });
    let script = match decided {
        Ok(script) => script,
        Err(error) => {
            let refusal = error.downcast::<Refusal>()?;
            let asked = request
                .query_value("again")
                .and_then(|count| count.parse().ok())
                .unwrap_or_default();
            let again = (refusal.status == StatusCode::SERVICE_UNAVAILABLE)
                .then(|| loader.retry_script(&server, machine, asked))
                .flatten();
            state.log_refusal(request, &refusal);
            again.unwrap_or_else(|| loader.refusal_script(&refusal))
        }
    };
    Ok(text_reply(StatusCode::OK, script))
}

/// A machine's request for a script.
struct ScriptRequest<'a> {
    request: &'a ClientRequest,
    loader: Loader,
    machine: &'a Machine,
    /// This server's URL, with a trailing slash.
    server: &'a str,
}

/// Chooses the script for a node's machine. Records an attempt if the script installs the machine.
fn decide(
    state: &ServerState,
    asked: &ScriptRequest<'_>,
    record: &Record,
    node: &NodeIdentity,
) -> Result<String> {
    let (request, server) = (asked.request, asked.server);
    let name = &node.name;
    let tree = tree_url(state, name, server)?;
    let _lock = record
        .lock()
        .map_err(|error| cannot_record(state, name, &error))?;
    let recorded = state
        .installation(record, name)
        .map_err(|error| cannot_record(state, name, &error))?;
    let delivery = state
        .delivery(record, name)
        .map_err(|error| cannot_record(state, name, &error))?;
    let mut installation = recorded.clone().unwrap_or_default();
    let delivered = delivery.and_then(|delivery| delivery.first);
    let next = next_boot(recorded.as_ref(), delivered, state.retries);
    let again = format!("Run `builder allow {name} --install` on the server to reinstall the node");
    match next {
        NextBoot::Install(attempt) => {
            let image = image_to_install(state, name, &installation)?;
            let token = token()?;
            installation.note_sent(token.clone(), now());
            installation.note_hold(state.retries);
            // Record the attempt first, because the disk of a machine must not be erased without a
            // record.
            state
                .open_delivery(record, name)
                .and_then(|()| record.put_installation(name, &installation))
                .map_err(|error| cannot_record(state, name, &error))?;
            let last = state.retries.saturating_add(1);
            let what = format!("receives the installer, attempt {attempt} of {last}");
            state.log_delivery(request, name, what);
            let install = Install {
                node: name,
                server,
                tree: &tree,
                image,
                token: &token,
                attempt: (attempt, last),
                append: &state.append,
            };
            Ok(asked.loader.install_script(install, asked.machine))
        }
        NextBoot::Disk(at) => {
            // If the end of the installation could not be recorded, the disk may have space now.
            state.change_installation(record, name, &installation, |_| {});
            state.log_event(
                request,
                Some(name),
                "was installed, and boots from its disk",
            );
            Ok(asked.loader.boot_disk_script(&format!(
                "{name} was installed at {}. {again}",
                time::text(at)
            )))
        }
        NextBoot::Held => Err(hold(state, record, node, &installation, &again).into()),
        NextBoot::Unknown => Err(without_record(name).into()),
    }
}

/// Returns the image of the output, or `None` if the output has no release. If the node asked for
/// an image and the output contains another image, returns a refusal.
fn image_to_install(
    state: &ServerState,
    name: &Label,
    installation: &Installation,
) -> Result<Option<Sha256>> {
    let image = image_release::read(&state.out)?.map(|release| release.image);
    let Some(asked) = installation.image.filter(|asked| image != Some(*asked)) else {
        return Ok(image);
    };
    let why = format!(
        "{name} boots from its disk: it asked for image {asked}, but the output contains \
         another image. Run `builder allow {name} --install` on the server to install the image \
         of the output"
    );
    Err(Refusal::forbidden(RefusalId::ReinstallImage, why).into())
}

/// Returns the URL of the installation tree, or a refusal if the server has no tree.
pub(super) fn tree_url(state: &ServerState, name: &Label, server: &str) -> Result<String> {
    match (&state.tree, &state.mirror) {
        (Some(InstallTree::Url(url)), _) => Ok(url.url().to_string()),
        (Some(InstallTree::Folder(_)), _) => Ok(format!("{server}tree/")),
        (None, Some(_)) => Ok(format!("{server}mirror/tree/")),
        (None, None) => {
            let why = format!(
                "{name} boots from its disk: this server was started without --tree and --mirror, so it does not install any machine"
            );
            Err(Refusal::forbidden(RefusalId::NoTree, why).into())
        }
    }
}

/// Returns the refusal to install a machine that is held. Also records the hold, because an earlier
/// version, or a server with a larger `--retries`, may have left it unrecorded.
///
/// The machine requests its script again, so its last attempt has ended. If that attempt changed
/// nothing, the machine runs its old system, which never downloads the document. Therefore, this
/// function limits the time for which the download stays allowed.
fn hold(
    state: &ServerState,
    record: &Record,
    node: &NodeIdentity,
    installation: &Installation,
    again: &str,
) -> Refusal {
    state.change_installation(record, &node.name, installation, |installation| {
        installation.note_hold(state.retries);
    });
    state.change_delivery(record, &node.name, |delivery| {
        delivery.mark_attempts_ended(now());
    });
    attempts_exhausted(&node.name, installation, again)
}

/// Returns the refusal to install a machine that has used all its attempts.
fn attempts_exhausted(name: &Label, installation: &Installation, again: &str) -> Refusal {
    let last = installation.last.as_ref();
    let event = last.map_or("allowed", |last| last.kind.as_str());
    let reason = last
        .and_then(|last| last.why.as_deref())
        .map_or_else(String::new, |why| format!(": {why}"));
    let why = format!(
        "{name} is held after {} attempts to install it. The last attempt: {event}{reason}. {again}",
        installation.attempts
    );
    Refusal::forbidden(RefusalId::Held, why)
}

/// Returns the refusal to install a machine because no record allows it.
fn without_record(name: &Label) -> Refusal {
    let why = format!(
        "{name} boots from its disk: this server has no record that allows its installation. Run \
         `builder allow {name} --install` on the server to install it, which erases its disk"
    );
    Refusal::forbidden(RefusalId::NoRecord, why)
}

/// Decides what the machine must do at its next boot. `delivered` is the time at which the machine
/// first received its document after the delivery was last allowed. Each attempt allows the
/// delivery again. Therefore, `delivered` always belongs to the newest attempt, even if the
/// server's clock has been changed.
fn next_boot(
    recorded: Option<&Installation>,
    delivered: Option<SystemTime>,
    retries: u32,
) -> NextBoot {
    match (recorded, delivered) {
        (None, None) => NextBoot::Unknown,
        (None, Some(first)) => NextBoot::Disk(first),
        // The machine has received its document, so it has been installed, although the server
        // could not record the installation.
        (Some(installation), Some(first)) if installation.is_in_progress() => NextBoot::Disk(first),
        (Some(installation), _) => installation.next(retries),
    }
}

fn cannot_record(state: &ServerState, name: &Label, error: &anyhow::Error) -> anyhow::Error {
    state.log.error(error);
    let why = format!(
        "{name} boots from its disk: the server cannot record an installation. The server's \
         console shows why"
    );
    Refusal::forbidden(RefusalId::Unrecorded, why).into()
}

/// Returns a token of 128 random bits, in hexadecimal.
fn token() -> Result<String> {
    let random = ring::rand::generate::<[u8; 16]>(&ring::rand::SystemRandom::new());
    let bytes = random
        .ok()
        .context("the system does not provide random numbers")?
        .expose();
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests;
