//! Compares `firstboot snapshot verify` with `etcdutl snapshot status` of the newest 3.5 and 3.6
//! releases. etcdutl does not compute a SHA-256 digest, but this digest takes most of firstboot's
//! time. `openssl dgst -sha256` shows the cost of that digest, because it uses the same CPU
//! instructions as firstboot. Debian 12's `sha256sum` does not use these instructions.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::firstboot::cost;
use super::{Row, database, median, table, timed};
use crate::{etcd, process, programs};

/// The newest 3.5 and 3.6 releases that Go's module proxy had on 2026-11-28. The last version is
/// the baseline.
const ETCDS: [&str; 2] = ["3.6.16", "3.5.35"];

/// Returns the command with which a program checks a snapshot.
fn command(way: &str, snapshot: &Path) -> Result<Command> {
    let (program, words): (_, &[&str]) = match way {
        "firstboot" => (programs::firstboot()?, &["snapshot", "verify"]),
        "openssl" => ("openssl".into(), &["dgst", "-sha256"]),
        version => (
            etcd::binaries(version)?.join("etcdutl"),
            &["snapshot", "status"],
        ),
    };
    let mut command = Command::new(program);
    command.args(words).arg(snapshot);
    Ok(command)
}

/// Measures the programs alternately, `runs` times each, on the same snapshot in the page cache.
pub fn run(runs: usize) -> Result<String> {
    let work = tempfile::tempdir().context("cannot make a temporary folder")?;
    let snapshot = work.path().join("snapshot.db");
    let running = database::make("3.5.35", work.path(), database::mib())?;
    running.save(&snapshot)?;
    fs::remove_dir_all(running.stop()?)?;
    let bytes = fs::metadata(&snapshot)?.len();
    let ways = ["firstboot", "openssl", ETCDS[0], ETCDS[1]];
    let mut rows = ways.map(|way| {
        let name = match way {
            "firstboot" => "firstboot snapshot verify".to_owned(),
            "openssl" => "openssl dgst -sha256".to_owned(),
            version => format!("etcdutl {version} snapshot status"),
        };
        Row {
            name,
            times: Vec::new(),
            bytes: Some(bytes),
        }
    });
    for _ in 0..runs {
        for (way, row) in ways.iter().zip(&mut rows) {
            let mut command = command(way, &snapshot)?;
            row.times
                .push(timed(|| process::run(&mut command)?.ok().map(drop))?);
        }
    }
    let mut out = table(&rows);
    for (way, row) in ways.iter().zip(&rows) {
        let (cpu, memory) = cost(&mut command(way, &snapshot)?)?;
        // Writing into a string cannot fail.
        let _ = writeln!(
            out,
            "{:<32} CPU {cpu:.1?}, peak memory {} MiB",
            row.name,
            memory >> 10
        );
    }
    let seconds = |row: &Row| median(row.times.clone()).as_secs_f64();
    let ratios: Vec<String> = rows[2..]
        .iter()
        .map(|other| {
            let ratio = seconds(&rows[0]) / seconds(other);
            format!("{ratio:.3} of the time of {}", other.name)
        })
        .collect();
    Ok(format!(
        "{out}{runs} runs of each, alternating; firstboot takes {}\n",
        ratios.join(", ")
    ))
}
