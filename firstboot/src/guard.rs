//! `firstboot guard`: etcd.service runs this command before each start of etcd, even if an operator
//! or a crash caused the start. The guard allows etcd to start only on the data that firstboot has
//! checked in this boot. If etcd must not start and firstboot is not running, the guard restarts
//! firstboot.service. firstboot then rebuilds the member if a rebuild is safe. With `--stopped`,
//! the command runs after each stop of etcd. If etcd may still start in this boot, the command
//! records the end of etcd's WAL.
//!
//! systemd 219 runs the guard as root, with the mounts of etcd's sandbox but without the sandbox's
//! other restrictions (PermissionsStartOnly=; execute.c, exec_child). firstboot's journal is not
//! visible in that sandbox, so the guard uses only /run and etcd's volume.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::data::{DataCheck, DataDirState, WalCheckpoint, check_data, flush_wal};
use crate::exit::refused;
use crate::files::{Dir, ETCD, ROOT};
use crate::journal::{DiskIdMatch, compare_disk_id_file};
use crate::lock::Lock;
use crate::reason::ReasonId;
use crate::systemd::FIRSTBOOT_UNIT;
use crate::{paths, start_permit, systemd};

/// The command line of `firstboot guard`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Record the end of etcd's WAL after etcd has stopped
    #[arg(long)]
    stopped: bool,
}

/// Runs the command. Without `--stopped`, the command succeeds if etcd may start, and fails if etcd
/// must not start. After a failure, restarts firstboot.service if firstboot is not running.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.stopped {
        return record_wal_end();
    }
    check().inspect_err(|_| {
        // A running firstboot detects the problem itself, and a restart would discard its progress.
        if !Lock::is_held()
            && let Err(error) = systemd::restart(FIRSTBOOT_UNIT)
        {
            eprintln!("firstboot: {error:#}");
        }
    })
}

fn check() -> Result<()> {
    let path = Path::new(paths::DATA);
    // The guard has the same environment as etcd, including variables that drop-ins set.
    if let Some(moved) =
        std::env::var_os("ETCD_DATA_DIR").filter(|folder| Path::new(folder) != path)
    {
        return Err(refused(ReasonId::DataMoved.because(format!(
            "a drop-in moves etcd's data to {}, but firstboot keeps it in {}. Remove the drop-in, which `systemctl cat \
             etcd` shows",
            moved.display(),
            paths::DATA
        ))));
    }
    let expected =
        start_permit::read()?.context("firstboot has not allowed etcd to start in this boot")?;
    let disk_id = expected
        .disk_id
        .context("the start permit does not contain a disk id")?;
    if compare_disk_id_file(Some(disk_id))? != DiskIdMatch::Matches {
        return Err(refused(ReasonId::DataOtherVolume.because(format!(
            "{} is not on the volume on which firstboot allowed etcd to start",
            paths::DATA
        ))));
    }
    let found = DataDirState::at(path)?;
    let why = match check_data(&expected, &found, WalCheckpoint::read(&expected)?.as_ref()) {
        DataCheck::Intact => {
            let wal = found.wal.map_err(anyhow::Error::msg)?;
            give_to_etcd()?;
            flush_wal(path)?;
            return WalCheckpoint::starting(disk_id, wal).write();
        }
        DataCheck::Unused if expected.created.is_some() => return give_to_etcd(),
        DataCheck::Unusable(why) => why.reason(),
        DataCheck::Unused | DataCheck::Incomplete | DataCheck::IntactUnrecorded(_) => {
            ReasonId::DataNotJudged.because("firstboot has not checked this data yet")
        }
    };
    Err(refused(why.map(|why| {
        format!(
            "etcd must not start on {}: {why}. `systemctl status {FIRSTBOOT_UNIT}` shows the progress",
            paths::DATA
        )
    })))
}

/// Corrects the owners and modes of etcd's volume and data, for example after root has copied or
/// repaired the data. etcd treats an unreadable WAL as missing (server/storage/wal/util.go, Exist),
/// and then creates a new WAL (etcd-io/etcd#14851).
fn give_to_etcd() -> Result<()> {
    let give = || -> std::io::Result<usize> {
        let volume = Dir::open(Path::new(paths::VOLUME))?;
        let there = volume.attributes()?;
        if there.owner != (ROOT.0, ETCD.1) || there.mode & 0o050 != 0o050 {
            volume.set_owner_and_mode((ROOT.0, ETCD.1), 0o750)?;
        }
        Dir::open(Path::new(paths::DATA))?.change_owner(ETCD)
    };
    let given = give().with_context(|| {
        format!(
            "cannot correct the owner of etcd's data: run `chown -R etcd:etcd {}`",
            paths::DATA
        )
    })?;
    if given > 0 {
        println!(
            "corrected the owner or mode of {given} files and folders in {}",
            paths::DATA
        );
    }
    Ok(())
}

/// Records the end of the WAL. If the data is not the data that etcd used, this function leaves the
/// previous record in place, and the guard checks the data against that record at the next start.
fn record_wal_end() -> Result<()> {
    let Some(expected) = start_permit::read()? else {
        return Ok(());
    };
    let Some(checkpoint) = WalCheckpoint::read(&expected)? else {
        return Ok(());
    };
    let path = Path::new(paths::DATA);
    let found = DataDirState::at(path)?;
    if check_data(&expected, &found, Some(&checkpoint)) != DataCheck::Intact {
        return Ok(());
    }
    let wal = found.wal.map_err(anyhow::Error::msg)?;
    let Some(checkpoint) = checkpoint.stopped(wal) else {
        return Ok(());
    };
    flush_wal(path)?;
    checkpoint.write()
}
