//! `firstboot snapshot verify` against `etcdutl snapshot status`, which has no digest to make.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::firstboot::cost;
use super::{Row, database, table, timed};
use crate::{etcd, process, programs};

/// Measures so many runs of each, in turns, on the same snapshot in the page cache.
pub fn run(runs: usize) -> Result<String> {
    let work = tempfile::tempdir().context("cannot make a temporary folder")?;
    let snapshot = work.path().join("snapshot.db");
    let running = database::make("3.5.1", work.path(), database::mib())?;
    running.save(&snapshot)?;
    fs::remove_dir_all(running.stop()?)?;
    let verify = || -> Result<Command> {
        let mut command = Command::new(programs::firstboot()?);
        command.args(["snapshot", "verify"]).arg(&snapshot);
        Ok(command)
    };
    let mut status = Command::new(etcd::binaries("3.5.1")?.join("etcdutl"));
    status.args(["snapshot", "status"]).arg(&snapshot);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        ours.push(timed(|| process::run(&mut verify()?)?.ok().map(drop))?);
        theirs.push(timed(|| process::run(&mut status)?.ok().map(drop))?);
    }
    let (cpu, memory) = cost(&mut verify()?)?;
    let (their_cpu, their_memory) = cost(&mut status)?;
    let bytes = fs::metadata(&snapshot)?.len();
    let rows = [
        Row { name: "firstboot snapshot verify".to_owned(), times: ours, bytes: Some(bytes) },
        Row { name: "etcdutl snapshot status".to_owned(), times: theirs, bytes: Some(bytes) },
    ];
    Ok(format!(
        "{}{runs} runs of each, in turns; CPU {cpu:.1?} against {their_cpu:.1?}, peak memory {} MiB against {} MiB\n",
        table(&rows),
        memory >> 10,
        their_memory >> 10
    ))
}
