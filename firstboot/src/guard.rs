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
    let expected = release::permit()?.context("firstboot has not let etcd start in this boot")?;
    let life = expected.life.context("firstboot let etcd start without a life of its disk")?;
    if disk_id_file(Some(life))? != DiskIdFile::Matches {
        return Err(refused(format!("{} is not on the volume that firstboot let etcd start on", paths::DATA)));
    }
    let seen = Seen::at(path)?;
    let why = match judge(&expected, &seen, Progress::read(&expected)?.as_ref()) {
        Verdict::Intact => {
            let log = seen.log.map_err(anyhow::Error::msg)?;
            flush_log(path)?;
            return Progress::starting(life, log).write();
        }
        Verdict::Fresh if expected.made.is_some() => return Ok(()),
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
