//! The command line of `firstboot update`.

use anyhow::{Context as _, Result};
use recipes::Label;
use serde::Serialize;

use super::cluster::{self, Agreed, Halt};
use super::follow::follow;
use super::judge_release::{ReleaseVerdict, judge};
use super::order::begin;
use super::source::Source;
use super::state::{LastCheck, OrderOutcome, UpdateOrder, UpdateState, Updated};
use super::this_node::ThisNode;
use super::{check, scheduled, stage, worker};
use crate::etcd::{Client, Credentials};
use crate::exit::{Exit, not_ready, refused};
use crate::lock::Lock;
use crate::machine::host;
use crate::output::{say, show};
use crate::reason::ReasonId;
use crate::snapshot::list::now;
use crate::{paths, systemd};

/// The command line of `firstboot update`.
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print what the newest image would change on this node, without changing it
    #[arg(long)]
    check: bool,
    /// The folder or URL that contains `release.json` and `image/` [default: the recipe's
    /// `[update] from`]
    #[arg(long, value_name = "FOLDER|URL")]
    from: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How long to wait for the turn, and until the cluster can do without this member
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    deadline: u64,
    /// Try a failed image again, if the image was not the cause of the failure
    #[arg(long, conflicts_with = "check")]
    retry: bool,
    /// Restore the image that this node had before its last update
    #[arg(long, conflicts_with_all = ["check", "from", "retry"])]
    rollback: bool,
    /// Prevent every node from beginning an update, for this reason. A node that already replaces
    /// its files continues
    #[arg(long, value_name = "WHY", conflicts_with_all = ["check", "from", "rollback", "retry"])]
    halt: Option<String>,
    /// End the halt
    #[arg(long, conflicts_with_all = ["check", "from", "rollback", "retry", "halt"])]
    resume: bool,
    /// Release the turn of a node that will not return with its disk
    #[arg(long, value_name = "NODE", conflicts_with_all = ["check", "from", "rollback", "retry", "halt", "resume"])]
    break_turn: Option<Label>,
    /// Look for a newer image, and order the update if it may begin: firstboot-update.timer does
    /// this
    #[arg(long, hide = true, conflicts_with_all = ["check", "from", "rollback", "retry", "halt", "resume", "break_turn", "work"])]
    scheduled: bool,
    /// Execute the order on the disk: firstboot-update.service does this
    #[arg(long, hide = true, conflicts_with_all = ["check", "from", "rollback", "retry", "halt", "resume", "break_turn"])]
    work: bool,
}

/// The JSON output.
#[derive(Debug, Serialize)]
struct JsonOutput<'a> {
    /// Whether the release is newer than this node's image.
    newer: bool,
    serial: u64,
    changes: Option<&'a check::Report>,
    outcome: Option<&'a OrderOutcome>,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    if options.work {
        return worker::run().map(|()| None);
    }
    if options.scheduled {
        return scheduled::run();
    }
    if let Some(why) = &options.halt {
        let halt = Halt {
            why: why.clone(),
            node: host(),
            since: now(),
        };
        ask(async |client| cluster::halt(&client, &halt).await)?;
        say("no node begins an update from now on. `firstboot update --resume` ends the halt");
        return Ok(None);
    }
    if options.resume {
        ask(async |client| cluster::resume(&client).await)?;
        say("nodes may begin updates again");
        return Ok(None);
    }
    if let Some(node) = &options.break_turn {
        return ask(async |client| break_turn(&client, node).await).map(|()| None);
    }
    let own = ThisNode::read()?;
    let lock = Lock::take_updates()?;
    if let Some(state) = UpdateState::read()? {
        return Err(not_ready(ReasonId::UpdateBusy.because(format!(
            "an update of this node to or from the image {} is under way: `systemctl start firstboot-update` continues it",
            state.order.serial
        ))));
    }
    let order = match if options.rollback {
        back(options, &own)?
    } else {
        stage_newer(options, &own)?
    } {
        Next::Done(exit) => return Ok(exit),
        Next::Order(order) => *order,
    };
    if options.retry {
        ask(async |client| cluster::clear_failed(&client, order.serial).await)?;
    }
    let state = begin(&own, order)?;
    // The unit needs the lock.
    drop(lock);
    systemd::start(worker::UNIT)?;
    let outcome = follow(&state.id, options.json)?;
    if options.json {
        answer(&JsonOutput {
            newer: true,
            serial: outcome.serial,
            changes: None,
            outcome: Some(&outcome),
        })?;
    }
    outcome.exit()
}

/// The next action of the command.
enum Next {
    /// Exit with this code.
    Done(Option<Exit>),
    /// Execute this order.
    Order(Box<UpdateOrder>),
}

/// Looks for a release, and stages it if it is newer than this node's image.
fn stage_newer(options: &Options, own: &ThisNode) -> Result<Next> {
    let settings = own.cluster.update.clone().unwrap_or_default();
    let source = Source::of(options.from.as_deref(), settings.from.as_ref())?;
    let release = own.fetch(&source)?;
    if judge(&release, &own.image)? == ReleaseVerdict::Current {
        // `firstboot status` shows this serial.
        LastCheck {
            overlay: own.image.overlay,
            at: now(),
            serial: Some(release.serial),
            own: Some(release.serial),
            why: None,
        }
        .write()?;
        if options.json {
            answer(&JsonOutput {
                newer: false,
                serial: release.serial,
                changes: None,
                outcome: None,
            })?;
        } else {
            say(format!(
                "this node has the image {} already",
                release.serial
            ));
        }
        return Ok(Next::Done(None));
    }
    let staged = stage::stage(&source, &release, &own.node)?;
    if options.check {
        let report = check::report(&release, &staged, settings.reboot)?;
        if options.json {
            answer(&JsonOutput {
                newer: true,
                serial: release.serial,
                changes: Some(&report),
                outcome: None,
            })?;
        } else {
            show(&report.text())?;
        }
        return Ok(Next::Done(Some(Exit::Newer)));
    }
    Ok(Next::Order(Box::new(UpdateOrder {
        serial: release.serial,
        release: Some(release),
        soak: settings.soak_seconds,
        reboot: settings.reboot,
        until: now() + options.deadline,
        window: None,
    })))
}

/// The order for a rollback.
fn back(options: &Options, own: &ThisNode) -> Result<Next> {
    let updated = Updated::read()?.filter(|updated| updated.replacement.is_some());
    let updated = updated.ok_or_else(|| {
        refused(ReasonId::UpdateNoWayBack.because(
            "this node has no earlier image: it was not updated, or was rolled back already",
        ))
    })?;
    let settings = own.cluster.update.clone().unwrap_or_default();
    Ok(Next::Order(Box::new(UpdateOrder {
        release: None,
        serial: updated.serial,
        soak: settings.soak_seconds,
        reboot: settings.reboot,
        until: now() + options.deadline,
        window: None,
    })))
}

fn answer(answer: &JsonOutput<'_>) -> Result<()> {
    Ok(show(&(serde_json::to_string_pretty(answer)? + "\n"))?)
}

/// Runs an operation on etcd on this node.
fn ask<T>(work: impl AsyncFnOnce(Client) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = Client::connect(paths::OWN_CLIENT_URL, &Credentials::installed()?).await;
        let client = client.context("etcd on this node does not answer")?;
        work(client).await
    })
}

async fn break_turn(client: &Client, node: &Label) -> Result<()> {
    let agreed = Agreed::read(client, 0).await?;
    match &agreed.turn.value {
        Some(turn) if turn.node == *node => {
            if !agreed.give_on(client, 0, None, true).await? {
                return Err(not_ready("the turn has changed meanwhile; try again"));
            }
            say(format!(
                "{node} had the turn since {}; now no node has it",
                cluster::date(turn.since)
            ));
            Ok(())
        }
        Some(turn) => Err(refused(
            ReasonId::UpdateTurn.because(format!("{} has the turn, not {node}", turn.node)),
        )),
        None => Err(refused(
            ReasonId::UpdateTurn.because("no node has the turn"),
        )),
    }
}
