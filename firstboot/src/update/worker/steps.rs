//! Performs the steps of an update that change the system. Each of these steps can be interrupted
//! and run again.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::super::file_changes::FileChange;
use super::super::replacement::Replacer;
use super::super::state::{UpdatePhase, UpdateState, Updated, boot};
use super::super::this_node::ThisNode;
use super::super::{apply, effects, kernel_settings, room, stage};
use crate::etcd::{Client, installed_credentials};
use crate::exit::not_ready;
use crate::image_integrity::file_list;
use crate::journal::{Journal, NodeState};
use crate::lock::Lock;
use crate::membership::{PeerClient, QUERY_TIMEOUT, query_others, transfer_leadership};
use crate::reason::ReasonId;
use crate::systemd::{ETCD_UNIT, FIRSTBOOT_UNIT};
use crate::{files, output, paths, start_permit, system_command, systemd};

/// The time limit for a transfer of the leadership.
const LEADERSHIP_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for systemd to stop all units for a reboot.
const REBOOT_TIMEOUT: Duration = Duration::from_secs(300);

/// Logs a line to the systemd journal, and to the log that `firstboot update` reads while it
/// follows the order. Never fails, so that a message cannot stop a replacement.
pub(super) fn say(line: impl AsRef<str>) {
    let line = line.as_ref();
    output::say(line);
    let log = File::options()
        .create(true)
        .append(true)
        .open(paths::UPDATE_LOG);
    if let Ok(mut file) = log {
        let _ = writeln!(file, "{line}");
    }
}

/// Returns whether the updater has already tried to begin this order. If the updater tried in this
/// boot, its log contains the reason why the order is waiting.
pub(super) fn was_tried(state: &UpdateState) -> Result<bool> {
    Ok(state.boot != boot()? || files::exists(Path::new(paths::UPDATE_LOG))?)
}

/// Verifies the new image against its file list once more, plans the replacement, and keeps the
/// files that the new image replaces. Does nothing for a rollback.
pub(super) fn plan_replacement(state: &mut UpdateState) -> Result<()> {
    let Some(release) = &state.order.release else {
        return Ok(());
    };
    let staged = stage::staged(release, &state.node)?;
    let replacer = Replacer::of_node();
    state.replacement = replacer.plan(&file_list()?, &staged.file_list)?;
    room::check(&state.replacement.files, &staged.root)?;
    state.replacement.settings = kernel_settings::current(
        Path::new(kernel_settings::PROC_SYS),
        &state.replacement.files,
        &staged.root,
    )?;
    // The last update can no longer be rolled back, because `keep_previous` deletes the files that
    // were kept for that update.
    if let Some(updated) = Updated::read()?.filter(|updated| updated.replacement.is_some()) {
        Updated {
            replacement: None,
            ..updated
        }
        .write()?;
    }
    replacer.keep_previous(&state.replacement)
}

/// Takes the lock of this node, which the updater holds while etcd is stopped. If firstboot.service
/// is running its program, stops the unit, because the program holds the lock. etcd keeps running.
///
/// # Errors
/// Returns a "not ready" error if another program holds the lock, such as a restore that builds its
/// data while etcd runs. In the phases in which all files belong to one image, also returns this
/// error while a binding restore is in progress.
pub(super) fn take_lock(phase: UpdatePhase) -> Result<Lock> {
    // In the other phases, the files may belong to two images, so the updater must continue. In
    // these phases, `firstboot restore` refuses to begin a restore.
    let refuse = || match phase {
        UpdatePhase::Waiting | UpdatePhase::CheckingHealth => {
            refuse_if_bound(Path::new(paths::JOURNAL))
        }
        _ => Ok(()),
    };
    refuse()?;
    let runs = systemd::main_process(FIRSTBOOT_UNIT)?.is_some();
    if runs {
        systemd::stop(FIRSTBOOT_UNIT)?;
    }
    // firstboot.service may have accepted a restore before it stopped.
    let lock = Lock::take().and_then(|lock| refuse().map(|()| lock));
    if runs && lock.is_err() {
        systemd::start(FIRSTBOOT_UNIT)?;
    }
    lock
}

/// Returns a "not ready" error if this node has accepted a binding restore. The firstboot of another
/// image may not know binding restores. It would then start etcd with the previous data.
fn refuse_if_bound(journal: &Path) -> Result<()> {
    if !NodeState::of(&Journal::open_read_only(journal)?).bound {
        return Ok(());
    }
    let why = "this node has accepted a restore, and must finish it before the image can change: \
               start the other members";
    Err(not_ready(ReasonId::RestoreBinding.because(why)))
}

/// Stops etcd, and installs the files of the new image.
pub(super) fn install_new(state: &mut UpdateState, _lock: &Lock) -> Result<()> {
    let replacer = Replacer::of_node();
    say(format!(
        "stopping etcd, and replacing {} files with those of image {}",
        state.replacement.files.len(),
        state.order.serial
    ));
    stop()?;
    // Write the phase before the first change to a unit, because an interruption must never leave
    // the units of one image with the files of the other image.
    state.replacement_boot = boot()?;
    state.enter(UpdatePhase::Replacing)?;
    apply::stop_removed_units(&state.replacement.files, &mut say);
    let installed = replacer
        .replace(&state.replacement, Path::new(paths::UPDATE_NEW))
        .and_then(|()| {
            apply::apply_effects(
                &state.replacement.files,
                replacer.present(&state.replacement, false),
                &mut say,
            )
        });
    if let Err(error) = installed {
        // The unit restarts, and then restores the previous image and reports this reason. Mark the
        // release as failed. Otherwise, with mode = "auto", each check would stop etcd again.
        let why = format!("cannot install the files of the image: {error:#}");
        say(&why);
        state.record_failure(why, true);
        state.write()?;
        return Err(error);
    }
    state.boots = 0;
    state.enter(
        if effects::reboots(state.order.reboot, &state.replacement.files) {
            UpdatePhase::Rebooting
        } else {
            UpdatePhase::CheckingHealth
        },
    )
}

/// Stops etcd, and restores the files of the previous image. The caller must then start
/// firstboot.service, except at boot, when systemd starts it.
pub(super) fn revert(state: &mut UpdateState, _lock: &Lock) -> Result<()> {
    say(format!(
        "restoring the image that this node had before image {}: {}",
        state.order.serial,
        state.why.as_deref().unwrap_or_default()
    ));
    stop()?;
    state.enter(UpdatePhase::Reverting)?;
    let reversed = apply::reversed(&state.replacement.files);
    apply::stop_removed_units(&reversed, &mut say);
    let replacer = Replacer::of_node();
    replacer.revert(&state.replacement)?;
    apply::apply_effects(
        &reversed,
        replacer.present(&state.replacement, true),
        &mut say,
    )?;
    restore_kernel_settings(state, &reversed);
    // Some files take effect only at a boot. If the node has not rebooted since the replacement, it
    // still uses the previous image's versions of these files, so it does not need to reboot now.
    let booted = state.replacement_boot != boot()?;
    state.enter(
        if booted && effects::reboots(state.order.reboot, &reversed) {
            UpdatePhase::RebootingReverted
        } else {
            UpdatePhase::Recovering
        },
    )
}

/// Restores the kernel settings that the replacement changed. Then applies the sysctl files again,
/// so the values in the previous image's files take precedence.
fn restore_kernel_settings(state: &mut UpdateState, reversed: &[FileChange]) {
    let settings = &state.replacement.settings;
    let lost = kernel_settings::restore(Path::new(kernel_settings::PROC_SYS), settings);
    if reversed
        .iter()
        .any(|change| effects::is_sysctl(&change.path))
    {
        apply::apply_sysctl_files(&mut say);
    }
    if lost.is_empty() {
        return;
    }
    let advice = format!(
        "reboot this node to restore the kernel settings {}",
        lost.join(", ")
    );
    say(advice.clone());
    let why = state.why.get_or_insert_default();
    if !why.contains(&advice) {
        if !why.is_empty() {
            why.push_str("; ");
        }
        why.push_str(&advice);
    }
}

/// Stops firstboot.service and etcd. etcd stays stopped until firstboot permits its start.
pub(super) fn stop() -> Result<()> {
    let is_up = |unit: &str| -> Result<bool> {
        let state = systemd::properties(unit, &["ActiveState"])?;
        Ok(state
            .get("ActiveState")
            .is_some_and(|state| state != "inactive"))
    };
    // Stop only active units. At boot, neither unit is active yet, and stopping a unit would remove
    // its queued start job.
    if is_up(FIRSTBOOT_UNIT)? {
        systemd::stop(FIRSTBOOT_UNIT)?;
    }
    if start_permit::is_granted() || is_up(ETCD_UNIT)? {
        start_permit::revoke_and_stop_etcd()?;
    }
    Ok(())
}

/// If this node is the leader, transfers the leadership to another voter. If the transfer fails,
/// only logs the failure. Clients must then wait for an election.
pub(super) async fn give_up_leadership(own: &ThisNode) {
    match tokio::time::timeout(LEADERSHIP_TIMEOUT, transfer(own)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => say(format!("the leadership was not transferred: {error:#}")),
        Err(_) => say(format!(
            "this node is still the leader after {} s",
            LEADERSHIP_TIMEOUT.as_secs()
        )),
    }
}

async fn transfer(own: &ThisNode) -> Result<()> {
    let (identity, credentials) = (own.identity()?, installed_credentials()?);
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let client = Client::connect(paths::OWN_CLIENT_URL, &credentials).await?;
    let query = async || {
        let (peers, _) = query_others(&identity, &peer_client, &credentials, QUERY_TIMEOUT).await;
        peers
    };
    let mut peers = query().await;
    loop {
        match transfer_leadership(&client, &peers).await {
            Ok(leads) if !leads || peers.is_empty() => return Ok(()),
            // etcd has acknowledged the transfer, so the next query finds another leader.
            Ok(_) => {}
            Err(error) => {
                say(format!("cannot transfer the leadership yet: {error:#}"));
                tokio::time::sleep(Duration::from_millis(200)).await;
                peers = query().await;
            }
        }
    }
}

/// Returns the files of the new image that take effect only after a reboot, if the node has not
/// rebooted since their installation.
pub(super) fn reboot_only_files(state: &UpdateState) -> Result<Vec<String>> {
    Ok(if state.replacement_boot == boot()? {
        effects::only_at_boot(&state.replacement.files)
    } else {
        Vec::new()
    })
}

/// Makes systemd reboot the node. The reboot stops this process, so this function returns only if
/// the request fails or if the node does not reboot in time.
pub(super) fn request_reboot() {
    if let Err(error) = system_command::run("systemctl", &["reboot"]) {
        say(format!("{error:#}"));
    } else {
        std::thread::sleep(REBOOT_TIMEOUT);
    }
}

/// Reboots the node. systemd stops this process, and the updater continues after the reboot. If the
/// node does not reboot, restores the previous image, or continues if the previous image is already
/// restored.
pub(super) fn reboot(state: &mut UpdateState) -> Result<()> {
    say(
        "rebooting this node to apply the changed files; `firstboot status` shows the outcome of the update",
    );
    request_reboot();
    // Continue without the reboot. If the node waited for the reboot, its member would stay down
    // and keep the turn, so no other member could update.
    if state.phase == UpdatePhase::RebootingReverted {
        say("this node did not reboot. Reboot it to apply the files of the previous image");
        return state.enter(UpdatePhase::Recovering);
    }
    state.why = Some(format!(
        "the node did not reboot within {} s",
        REBOOT_TIMEOUT.as_secs()
    ));
    revert(state, &take_lock(state.phase)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::{BootstrapMode, Nonce, Nonces};
    use crate::exit::{Exit, code_of};
    use crate::journal::{Event, RestoreOrder};

    #[test]
    fn the_image_does_not_change_while_a_binding_restore_is_in_progress() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, nonce) = (Journal::open(&path).unwrap(), Nonce::of(1));
        let mode = BootstrapMode::Rollback { cluster: 7 };
        refuse_if_bound(&path).unwrap();
        let order = RestoreOrder {
            nonce,
            mode,
            without: BTreeSet::new(),
            source: None,
            until: 9,
            binding: true,
        };
        journal.add(Event::RestoreOrdered(Box::new(order))).unwrap();
        refuse_if_bound(&path).unwrap();
        let nonces = Nonces::from([("a".parse().unwrap(), nonce)]);
        journal
            .add(Event::ProposalAccepted { nonces, mode })
            .unwrap();
        let error = refuse_if_bound(&path).unwrap_err();
        assert_eq!(code_of(&error), Exit::NotReady);
        assert!(
            format!("{error:#}").contains("[restore-binding]"),
            "{error:#}"
        );
        journal.add(Event::RestoreAbandoned).unwrap();
        refuse_if_bound(&path).unwrap();
    }
}
