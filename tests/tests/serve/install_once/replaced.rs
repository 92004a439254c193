//! Tests a build that replaces the image between a machine's requests for its boot script and for its
//! kickstart.

use std::fs;

use anyhow::{Result, ensure};
use tests::installer::{Outcome, Plan};

use super::machine::{TREE, board_of};
use crate::bed::{Server, built, by_card, recipe_with};
use crate::installation::{install, kickstart, words};

/// The machine restarts before anything on its disk changes, and gets the kickstart that its next
/// boot script names.
pub(super) fn replaced() -> Result<()> {
    let ours = built()?;
    let server = Server::start(&ours, TREE)?;
    let (host, world) = (ours.machine("etcd-1")?, ours.network.world().clone());
    let first = words(&host)?;
    let recipe = recipe_with(by_card)?;
    let text =
        fs::read_to_string(&recipe)?.replace("[install]\n", "[install]\nlang = \"en_GB.UTF-8\"\n");
    fs::write(&recipe, text)?;
    ours.build(&recipe)?;

    let ended = install(&host, &first)?;
    ensure!(
        ended.outcome == Outcome::Restarted("systemctl --force reboot".to_owned())
            && ended.log().contains("[image-replaced]")
            && ended.plan == Plan::default(),
        "{:?}:\n{}",
        ended.outcome,
        ended.log()
    );
    server.wait_for_output("[image-replaced]")?;
    let line = board_of(&world, "etcd-1")?;
    ensure!(
        line.contains(" failed ") && line.contains("[image-replaced]"),
        "{line}"
    );

    let second = words(&host)?;
    let text = kickstart(&host, &second)?;
    ensure!(text.contains("lang en_GB.UTF-8"), "{text}");
    install(&host, &second)?.installed()?;
    let line = board_of(&world, "etcd-1")?;
    ensure!(
        line.contains(" installed ") && line.contains(" 2 "),
        "{line}"
    );
    Ok(())
}
