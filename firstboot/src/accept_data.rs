//! `firstboot run --accept-data`: an operator who moved etcd's data to another disk says that it is this member's newest. The
//! directories are other ones then, and nothing on the node can tell a copy of now from one of last week.

use std::path::Path;

use anyhow::Result;

use crate::data::{Expected, Seen, Verdict, judge};
use crate::exit::refused;
use crate::journal::{Event, Journal, NodeState};
use crate::metadata::SourceLog;
use crate::node::identify;
use crate::operator::{self, UNIT};
use crate::output::say;
use crate::{files, paths, release};

/// Writes that down, if the data is this member's at all; firstboot.service then goes on with it.
pub(crate) fn accept() -> Result<()> {
    let (identity, _) = identify(&mut SourceLog::default())?;
    operator::with_journal(|journal: &mut Journal| {
        let state = NodeState::of(journal);
        if state.begun.is_none() {
            return Err(refused("etcd has not begun on this disk, so no data is known to be this member's"));
        }
        release::halt()?;
        let known = state.expected(&identity.node.name);
        let ids = known.known.map_or(known.ids, |known| known.ids());
        match judge(&Expected { ids, ..Expected::default() }, &Seen::at(Path::new(paths::DATA))?, None) {
            Verdict::Begun(_) => {}
            Verdict::Lost(why) => return Err(refused(format!("{}: {why}", paths::DATA))),
            _ => return Err(refused(format!("{} has no write-ahead log", paths::DATA))),
        }
        files::remove(paths::PROGRESS)?;
        journal.add(Event::DataAccepted)
    })?;
    say(format!("etcd goes on with the data in {}; `systemctl status {UNIT}` shows how", paths::DATA));
    Ok(())
}
