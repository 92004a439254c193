//! The command line of `firstboot update`.

use anyhow::{Context as _, Result};
use recipes::{Label, ReleaseDocument};

use super::check_release::{ReleaseCheck, check_release};
use super::command_output::{JsonOutput, SharedChange, report_outcome, with_document};
use super::document::{self, NewerDocument};
use super::follow::follow;
use super::order::begin;
use super::source::Source;
use super::state::{LastCheck, OrderOutcome, UpdateOrder, UpdateState, Updated};
use super::this_node::ThisNode;
use super::update_keys::{self, UpdateKeys};
use super::{check, reinstall, room, scheduled, stage, worker};
use crate::etcd::{Client, installed_credentials};
use crate::exit::{Exit, not_ready, refused};
use crate::lock::Lock;
use crate::machine::host;
use crate::output::{say, show, show_json};
use crate::reason::ReasonId;
use crate::runtime::block_on;
use crate::systemd::UPDATE_UNIT;
use crate::{paths, systemd};
use members::keys::{UpdateHalt, UpdateTurn};
use members::timestamp::now;

/// The command line of `firstboot update`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each field is a command-line option"
)]
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 done; 1 failed; 3 refused; 4 not ready, try again; 7 --check found a newer image or \
    node document; 8 the update failed and was rolled back; 9 the update failed, but the node keeps the new image.\n\n\
    Examples:\n  firstboot update --check\n  firstboot update --reinstall --deadline 7200"
)]
pub(crate) struct Options {
    /// Print the changes that the newest image and node document would make, without making them
    #[arg(long)]
    check: bool,
    /// The folder or URL that contains `release.json` and `image/`; a folder can also contain
    /// `nodes/NAME/node.json` [default: the recipe's `[update] from`]
    #[arg(long, value_name = "FOLDER|URL")]
    from: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Wait at most this many seconds for the turn and until the cluster can spare this member
    #[arg(long, default_value_t = 600, value_name = "SECONDS", value_parser = crate::operator::timeout_parser())]
    deadline: u64,
    /// Try a failed image again. Use this option only if the image was not the cause of the failure
    #[arg(long, conflicts_with = "check")]
    retry: bool,
    /// Ask `builder serve` to install this machine again from the newest image. The installation
    /// keeps etcd's data (data = "keep"), and erases the rest of the disk
    #[arg(long, conflicts_with = "check")]
    reinstall: bool,
    /// Restore the image that this node had before its last update
    #[arg(long, conflicts_with_all = ["check", "from", "retry", "reinstall"])]
    rollback: bool,
    /// Prevent all nodes from starting an update, and record this reason. A node that is already
    /// replacing its files continues
    #[arg(long, value_name = "WHY", conflicts_with_all = ["check", "from", "rollback", "retry", "reinstall"])]
    halt: Option<String>,
    /// Allow updates again after --halt
    #[arg(long, conflicts_with_all = ["check", "from", "rollback", "retry", "reinstall", "halt"])]
    resume: bool,
    /// Release the turn of a node that will never return
    #[arg(long, value_name = "NODE", conflicts_with_all = ["check", "from", "rollback", "retry", "reinstall", "halt", "resume"])]
    break_turn: Option<Label>,
    /// Look for a newer image, and order the update if it may begin; firstboot-auto-update.service
    /// runs this command
    #[arg(long, hide = true, conflicts_with_all = ["check", "from", "rollback", "retry", "reinstall", "halt", "resume", "break_turn", "work"])]
    scheduled: bool,
    /// Execute the order that is stored on the disk; firstboot-update.service runs this command
    #[arg(long, hide = true, conflicts_with_all = ["check", "from", "rollback", "retry", "reinstall", "halt", "resume", "break_turn"])]
    work: bool,
}

impl Options {
    pub(crate) const fn prints_json(&self) -> bool {
        self.json
    }
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    if options.work {
        return worker::run().map(|()| None);
    }
    if options.scheduled {
        return scheduled::run();
    }
    match change_shared_state(options)? {
        Some(change) if options.json => show_json(&change).map(|()| None),
        Some(_) => Ok(None),
        None => execute(options),
    }
}

/// If the operator orders a change of the halt or of a turn, makes this change and returns it. All
/// nodes share the halt and the turn.
fn change_shared_state(options: &Options) -> Result<Option<SharedChange>> {
    if let Some(why) = &options.halt {
        let halt = UpdateHalt {
            why: why.clone(),
            node: host(),
            since: now(),
        };
        with_own_etcd(async |client| update_keys::halt(&client, &halt).await)?;
        say("from now on, no node begins an update. `firstboot update --resume` ends the halt");
        return Ok(Some(SharedChange::Halt(Some(halt))));
    }
    if options.resume {
        with_own_etcd(async |client| update_keys::resume(&client).await)?;
        say("nodes may begin updates again");
        return Ok(Some(SharedChange::Halt(None)));
    }
    let Some(node) = &options.break_turn else {
        return Ok(None);
    };
    let released = with_own_etcd(async |client| break_turn(&client, node).await)?;
    Ok(Some(SharedChange::ReleasedTurn(released)))
}

/// Updates the image and the node document. With the corresponding options, only checks for a newer
/// image and document, reinstalls the machine, or rolls back the image.
fn execute(options: &Options) -> Result<Option<Exit>> {
    let mut own = ThisNode::read()?;
    let lock = Lock::take_updates()?;
    if let Some(state) = UpdateState::read()? {
        return Err(not_ready(ReasonId::UpdateBusy.because(format!(
            "an update of this node to or from image {} is in progress: `systemctl start \
             firstboot-update` continues the update",
            state.order.serial
        ))));
    }
    if options.rollback {
        let outcome = install(options, &own, rollback_order(options, &own)?, lock)?;
        return report_outcome(options.json, &outcome, false, (None, Ok(())));
    }
    let settings = own.cluster.update.clone().unwrap_or_default();
    let source = Source::of(options.from.as_deref(), settings.from.as_ref())?;
    let newer = document::look(&own, &source).usable();
    if options.check {
        return compare(options, &own, &source, newer.as_ref());
    }
    // A member whose document contains a different CA waits for the other members. An update of the
    // image must not wait for the other members, so the node accepts a document with a different CA
    // last.
    let (last, first): (Option<&NewerDocument>, Option<&NewerDocument>) = match &newer {
        Some(newer) if newer.changes_ca => (Some(newer), None),
        newer => (None, newer.as_ref()),
    };
    if let Some(newer) = first {
        newer.take(&lock)?;
        own = ThisNode::read()?;
    }
    let take_last = |lock: &Lock| last.map_or(Ok(()), |newer| newer.take(lock));
    match stage::retry_if_replaced(|| look(options, &own, &source)) {
        Ok(Next::Order(order)) => {
            let is_newer = is_other_image(&order, &own);
            let outcome = install(options, &own, *order, lock)?;
            let taken = last.map_or(Ok(()), NewerDocument::take_after_update);
            report_outcome(options.json, &outcome, is_newer, (newer.as_ref(), taken))
        }
        Ok(Next::Current(serial)) => {
            let taken = take_last(&lock);
            report_current(options, serial, (newer.as_ref(), taken))
        }
        // Accept the document even though the image cannot be updated.
        Err(error) => with_document(Err(error), take_last(&lock)),
    }
}

/// Lets firstboot-update.service execute an order, and shows the unit's messages.
fn install(
    options: &Options,
    own: &ThisNode,
    order: UpdateOrder,
    lock: Lock,
) -> Result<OrderOutcome> {
    if options.retry {
        with_own_etcd(async |client| update_keys::clear_failed(&client, order.serial).await)?;
    }
    let state = begin(own, order)?;
    // Release the lock, because the unit needs it.
    drop(lock);
    systemd::start(UPDATE_UNIT)?;
    follow(&state.id, options.json)
}

/// Returns whether an order installs an image other than the node's own image.
fn is_other_image(order: &UpdateOrder, own: &ThisNode) -> bool {
    let release = order.release.as_ref();
    release.is_some_and(|release| release.overlay.sha256 != own.image.overlay)
}

enum Next {
    /// The node has the newest image, with this serial.
    Current(u64),
    /// Execute this order.
    Order(Box<UpdateOrder>),
}

/// Fetches the release and compares it with this node's image. If the release is this node's image,
/// records the image's serial, which `firstboot status` shows.
fn fetch_release(own: &ThisNode, source: &Source) -> Result<(ReleaseDocument, ReleaseCheck)> {
    let release = own.fetch(source)?;
    let check = check_release(&release, &own.image)?;
    if check == ReleaseCheck::Current {
        LastCheck {
            overlay: own.image.overlay,
            at: now(),
            serial: Some(release.serial),
            own: Some(release.serial),
            why: None,
        }
        .write()?;
    }
    Ok((release, check))
}

/// Looks for a newer release, stages it, and creates the order to install it. With `--reinstall`,
/// creates the order for a reinstallation instead.
fn look(options: &Options, own: &ThisNode, source: &Source) -> Result<Next> {
    if options.reinstall {
        let order = reinstall::order(own, source, options.deadline)?;
        return Ok(Next::Order(Box::new(order)));
    }
    let settings = own.cluster.update.clone().unwrap_or_default();
    let (release, check) = fetch_release(own, source)?;
    if check == ReleaseCheck::Current {
        return Ok(Next::Current(release.serial));
    }
    room::check_staged(&stage::stage(source, &release, own)?)?;
    Ok(Next::Order(Box::new(UpdateOrder {
        serial: release.serial,
        release: Some(release),
        reinstall: None,
        soak: settings.soak_seconds,
        reboot: settings.reboot,
        until: now() + options.deadline,
        window: None,
    })))
}

/// Compares the release and the document with this node, for `--check`.
fn compare(
    options: &Options,
    own: &ThisNode,
    source: &Source,
    newer: Option<&NewerDocument>,
) -> Result<Option<Exit>> {
    let newer = newer.filter(|newer| newer.changes_something());
    let settings = own.cluster.update.clone().unwrap_or_default();
    let looked = stage::retry_if_replaced(|| {
        let (release, check) = fetch_release(own, source)?;
        if check != ReleaseCheck::Newer {
            return Ok((release.serial, None));
        }
        let staged = stage::stage(source, &release, own)?;
        let report = check::report(&release, &staged, settings.reboot, own.image.etcd)?;
        Ok((release.serial, Some(report)))
    });
    // Show the changes of a document even if the image cannot be updated.
    if let (Some(newer), false) = (newer, options.json) {
        show(&newer.text())?;
    }
    let (serial, report) = looked?;
    if options.json {
        show_json(&JsonOutput {
            newer: report.is_some(),
            serial,
            changes: report.as_ref(),
            document: newer.map(|newer| newer.report(false)),
            outcome: None,
        })?;
    } else {
        match &report {
            Some(report) => show(&report.text())?,
            None => say(already(serial)),
        }
    }
    Ok((report.is_some() || newer.is_some()).then_some(Exit::Newer))
}

/// Reports that the node has the newest image, even if the node could not accept the newer
/// document.
fn report_current(
    options: &Options,
    serial: u64,
    (newer, taken): (Option<&NewerDocument>, Result<()>),
) -> Result<Option<Exit>> {
    if options.json {
        show_json(&JsonOutput {
            newer: false,
            serial,
            changes: None,
            document: newer.map(|newer| newer.report_after(&taken)),
            outcome: None,
        })?;
    } else {
        say(already(serial));
    }
    with_document(Ok(None), taken)
}

fn already(serial: u64) -> String {
    format!("this node already has image {serial}")
}

/// Returns the order for a rollback.
fn rollback_order(options: &Options, own: &ThisNode) -> Result<UpdateOrder> {
    let updated = Updated::read()?.filter(|updated| updated.replacement.is_some());
    let updated = updated.ok_or_else(|| {
        refused(ReasonId::UpdateNoWayBack.because(
            "this node does not have an earlier image: no update has installed a new image, or \
             the last update was already rolled back",
        ))
    })?;
    let settings = own.cluster.update.clone().unwrap_or_default();
    Ok(UpdateOrder {
        release: None,
        reinstall: None,
        serial: updated.serial,
        soak: settings.soak_seconds,
        reboot: settings.reboot,
        until: now() + options.deadline,
        window: None,
    })
}

/// Runs an operation with a client for etcd on this node.
fn with_own_etcd<T>(work: impl AsyncFnOnce(Client) -> Result<T>) -> Result<T> {
    block_on(async {
        let client = Client::connect(paths::OWN_CLIENT_URL, &installed_credentials()?).await;
        let client = client.context("etcd on this node does not answer")?;
        work(client).await
    })
}

/// Releases the turn of this node, and returns the released turn.
async fn break_turn(client: &Client, node: &Label) -> Result<UpdateTurn> {
    let update_keys = UpdateKeys::read(client, 0).await?;
    match &update_keys.turn.value {
        Some(turn) if turn.node == *node => {
            let transaction = update_keys.release_transaction(node, 0, None)?;
            let transaction = transaction.context("a bug: the turn cannot be released")?;
            if !transaction.execute(client).await? {
                return Err(not_ready(
                    ReasonId::UpdateTurn.because("the turn changed in the meantime. Try again"),
                ));
            }
            say(format!(
                "{node} had held the turn since {}. The turn is now free",
                members::timestamp::rfc3339(turn.since)
            ));
            Ok(turn.clone())
        }
        Some(turn) => Err(refused(
            ReasonId::UpdateTurn.because(format!("{} has the turn, not {node}", turn.node)),
        )),
        None => Err(refused(
            ReasonId::UpdateTurn.because("no node has the turn"),
        )),
    }
}
