//! `firstboot update`: installs a newer image on this node while the cluster continues to serve
//! clients.
//!
//! `source` fetches a release, and `check_release` compares the release with this node's image.
//! `stage` unpacks the image next to the image in use, and `room` checks that the file systems have
//! room for its files. `worker` then executes the order in a separate unit. The worker waits until
//! the cluster can spare this member (`preconditions`), and takes the turn, on which the members
//! agree through etcd (`update_keys`, `transaction`). For an older minor version of etcd, the
//! members first downgrade the cluster (`etcd_version`). The worker replaces the files
//! (`replacement`) that `file_changes` lists, and makes the running system use them (`apply`) with
//! the actions that `effects` lists. `kernel_settings` keeps the values that a rollback restores.
//! The worker then waits until the member has passed its health check (`health_check`), or restores
//! the previous image. With `--reinstall`, the worker instead asks a server to install the machine
//! again (`reinstall`). `state` stores the progress on the disk, so that the unit can continue
//! after a power cut (`resume`). `follow` shows the unit's messages to the operator. `document`
//! accepts a newer node document. `renew` requests a document with new certificates before the
//! current ones expire, and `renewal_failure` records why a renewal failed. `summary` contains what
//! `firstboot status` shows about updates. The timer executes `scheduled`, which updates a node
//! without an operator during the `window` that the recipe sets.

mod apply;
mod check;
mod check_release;
mod command;
mod command_output;
mod document;
mod effects;
mod etcd_version;
mod file_changes;
mod follow;
mod health_check;
mod kernel_settings;
#[cfg(test)]
mod model;
mod order;
mod peer_connections;
mod preconditions;
mod reinstall;
mod renew;
pub(crate) mod renewal_failure;
mod replacement;
mod resume;
mod room;
mod scheduled;
mod source;
mod stage;
mod state;
pub(crate) mod summary;
mod this_node;
mod transaction;
mod update_keys;
mod update_turn;
mod window;
mod worker;

use crate::exit::not_ready;
use crate::lock::Lock;
use crate::reason::ReasonId;

/// Returns whether an update of this node is in progress. During an update, the node's files may
/// belong to two images.
pub(crate) fn in_progress() -> anyhow::Result<bool> {
    Ok(state::UpdateState::read()?.is_some())
}

/// Prevents an operator's command from stopping etcd while an update replaces files or checks the
/// new image. If etcd were stopped, the new image would fail its health check, and the updater
/// would roll the image back.
///
/// # Errors
/// Returns a "not ready" error during these phases, which end by themselves. Does not fail if the
/// updater keeps the image and only needs a quorum to release the turn, because a restore may be
/// the only way to get a quorum.
pub(crate) fn refuse_during_replacement() -> anyhow::Result<()> {
    match state::UpdateState::read()? {
        Some(state) if state.needs_etcd(state::Updated::read()?.as_ref()) => {
            Err(not_ready(ReasonId::UpdateBusy.because(
                "an update of this node is in progress, and must end first: `systemctl status \
                 firstboot-update` shows the progress, and `systemctl start firstboot-update` \
                 continues an update that was stopped",
            )))
        }
        _ => Ok(()),
    }
}

/// Prevents updates of this node until the returned lock is dropped.
///
/// # Errors
/// Returns a "not ready" error if an update of this node is in progress.
pub(crate) fn prevent() -> anyhow::Result<Lock> {
    let lock = Lock::take_updates()?;
    if in_progress()? {
        return Err(not_ready(ReasonId::UpdateBusy.because(
            "an update of this node is in progress: `systemctl start firstboot-update` continues the update",
        )));
    }
    Ok(lock)
}

pub(crate) use command::{Options, run};
pub(crate) use renew::{Options as RenewOptions, run as renew};
pub(crate) use update_turn::release_turn_of_previous_disk;
