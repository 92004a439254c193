//! `firstboot run --accept-data`: an operator who moved etcd's data to another disk confirms that
//! this data is the member's newest data. The confirmation is necessary because the move creates
//! new directories, and firstboot cannot determine whether a copy was made today or last week.

use std::path::Path;

use anyhow::Result;

use crate::data::{DataCheck, DataDirState, RecordedData, check_data};
use crate::exit::refused;
use crate::journal::{Event, Journal, NodeState};
use crate::metadata::SourceLog;
use crate::node::obtain_identity;
use crate::operator;
use crate::output::say;
use crate::reason::ReasonId;
use crate::systemd::FIRSTBOOT_UNIT;
use crate::{files, paths, start_permit, update};

/// Stops etcd, checks that the data belongs to this member, deletes the WAL checkpoint, and writes
/// the operator's confirmation to the journal. firstboot.service then starts etcd with the data.
pub(crate) fn accept() -> Result<()> {
    let (identity, _) = obtain_identity(&mut SourceLog::default())?;
    update::refuse_during_replacement()?;
    operator::with_journal(|journal: &mut Journal| {
        let state = NodeState::of(journal);
        if state.initial_cluster.is_none() {
            let why = "etcd has never started on this disk, so no data on the disk belongs to this \
                       member";
            return Err(refused(ReasonId::DataNotAcceptable.because(why)));
        }
        start_permit::revoke_and_stop_etcd()?;
        let known = state.recorded_data(&identity.node.name);
        let mut expected = RecordedData {
            ids: known.identity.map_or(known.ids, |known| known.ids()),
            ..RecordedData::default()
        };
        let found = DataDirState::at(Path::new(paths::DATA))?;
        let mut check = check_data(&expected, &found, None);
        if let DataCheck::IntactUnrecorded(identity) = check {
            // After the confirmation, the guard also compares the WAL with the database, so make
            // this comparison now.
            expected.identity = Some(identity);
            check = check_data(&expected, &found, None);
        }
        match check {
            DataCheck::Intact => {}
            DataCheck::Unusable(why) => {
                return Err(refused(
                    why.reason().map(|why| format!("{}: {why}", paths::DATA)),
                ));
            }
            _ => {
                let why = format!(
                    "{} has no write-ahead log, so it is not a member's data",
                    paths::DATA
                );
                return Err(refused(ReasonId::DataNotAcceptable.because(why)));
            }
        }
        files::remove(paths::WAL_CHECKPOINT)?;
        journal.add(Event::DataAccepted)
    })?;
    say(format!(
        "etcd starts with the data in {}; `systemctl status {FIRSTBOOT_UNIT}` shows the progress",
        paths::DATA
    ));
    Ok(())
}
