//! `firstboot guard`: what etcd.service runs before etcd, each time etcd is about to start, whoever starts it: an operator, a
//! boot, or systemd after etcd has died. It lets etcd start on the data that firstboot has judged in this boot, and on no
//! other. It decides nothing else: where the data is lost it calls firstboot, which rebuilds the member if that is safe.
//!
//! systemd 219 runs it as root and outside of etcd's sandbox but for its mounts (PermissionsStartOnly=; execute.c, exec_child).
//! The journal of firstboot cannot be seen from there, so all that it needs is in /run and on etcd's volume.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::data::{Progress, Seen, Verdict, flush_log, judge};
use crate::exit::refused;
use crate::files::{Dir, ETCD, ROOT};
use crate::journal::{DiskIdFile, disk_id_file};
use crate::lock::Lock;
use crate::operator::UNIT;
use crate::{paths, release, systemd};

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// etcd has stopped: write down how far its log went
    #[arg(long)]
    stopped: bool,
}

/// Lets etcd start, or says why not and calls firstboot.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.stopped {
        return stopped();
    }
    check().inspect_err(|_| {
        // One that is at work sees for itself, and would lose what it has done so far.
        if !Lock::is_held()
            && let Err(error) = systemd::restart(UNIT)
        {
            eprintln!("firstboot: {error:#}");
        }
    })
}

fn check() -> Result<()> {
    let path = Path::new(paths::DATA);
    // The guard has the same environment as etcd after it, and as the unit's drop-ins have it.
    if let Some(moved) = std::env::var_os("ETCD_DATA_DIR").filter(|folder| Path::new(folder) != path) {
        return Err(refused(format!(
            "a drop-in moves etcd's data to {}, and firstboot keeps it in {}. Remove the drop-in: `systemctl cat etcd` shows \
             it [data-moved]",
            moved.display(),
            paths::DATA
        )));
    }
    let expected = release::permit()?.context("firstboot has not let etcd start in this boot")?;
    let life = expected.life.context("firstboot let etcd start without a life of its disk")?;
    if disk_id_file(Some(life))? != DiskIdFile::Matches {
        return Err(refused(format!("{} is not on the volume that firstboot let etcd start on", paths::DATA)));
    }
    let seen = Seen::at(path)?;
    let why = match judge(&expected, &seen, Progress::read(&expected)?.as_ref()) {
        Verdict::Intact => {
            let log = seen.log.map_err(anyhow::Error::msg)?;
            give_to_etcd()?;
            flush_log(path)?;
            return Progress::starting(life, log).write();
        }
        Verdict::Fresh if expected.made.is_some() => return give_to_etcd(),
        Verdict::Lost(why) => why.to_string(),
        Verdict::Fresh | Verdict::CutShort | Verdict::Begun(_) => {
            "firstboot has yet to see how far etcd came".to_owned()
        }
    };
    Err(refused(format!(
        "etcd must not start on {}: {why}. `systemctl status {UNIT}` shows how it goes on",
        paths::DATA
    )))
}

/// Puts right the owner of etcd's data, as after a copy or a repair by root. etcd takes a log that it cannot read for none
/// (server/storage/wal/util.go, Exist), and would begin another (etcd-io/etcd#14851).
fn give_to_etcd() -> Result<()> {
    let give = || -> std::io::Result<usize> {
        let volume = Dir::open(Path::new(paths::VOLUME))?;
        let there = volume.about()?;
        if there.owner != (ROOT.0, ETCD.1) || there.mode & 0o050 != 0o050 {
            volume.own((ROOT.0, ETCD.1), 0o750)?;
        }
        Dir::open(Path::new(paths::DATA))?.give(ETCD)
    };
    let given = give().with_context(|| {
        format!("the owner of etcd's data is wrong and cannot be put right: run `chown -R etcd:etcd {}`", paths::DATA)
    })?;
    if given > 0 {
        println!("gave {given} files and folders of {} to their owner, etcd", paths::DATA);
    }
    Ok(())
}

/// Writes down how far the log went. Where the data is not what etcd ran on, nothing is written: the next start is judged by
/// what was known before.
fn stopped() -> Result<()> {
    let Some(expected) = release::permit()? else { return Ok(()) };
    let Some(progress) = Progress::read(&expected)? else { return Ok(()) };
    let path = Path::new(paths::DATA);
    let seen = Seen::at(path)?;
    if judge(&expected, &seen, Some(&progress)) != Verdict::Intact {
        return Ok(());
    }
    let log = seen.log.map_err(anyhow::Error::msg)?;
    let Some(progress) = progress.stopped(log) else { return Ok(()) };
    flush_log(path)?;
    progress.write()
}
