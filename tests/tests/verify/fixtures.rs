//! The snapshot that the tests check, and the programs that check the snapshot.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::etcd::{self, StandaloneEtcd};
use tests::{process, programs, run};

/// Makes a snapshot of a database that has several thousand keys, deletions, a compaction, leases,
/// users, and values that span many pages.
pub(crate) fn snapshot(version: &str) -> Result<PathBuf> {
    let folder = run::current()?.folder("etcd")?;
    let etcd = StandaloneEtcd::start(version, &folder, &["--max-txn-ops", "1000"])?;
    for batch in 0..6 {
        let key = |n: u32| format!("/registry/things/{batch}/{n:04}").into_bytes();
        let pairs: Vec<_> = (0..500)
            .map(|n| {
                (
                    key(n),
                    format!("{n} ").repeat(n as usize % 300).into_bytes(),
                )
            })
            .collect();
        etcd.put(&pairs)?;
    }
    etcd.put(&[
        (b"big".to_vec(), vec![b'x'; 300_000]),
        (b"bigger".to_vec(), vec![b'y'; 1_000_000]),
    ])?;
    etcd.ctl(&["del", "--prefix", "/registry/things/2/00"])?;
    etcd.ctl(&["compaction", "6"])?;
    etcd.ctl(&["del", "--prefix", "/registry/things/3/01"])?;
    etcd.ctl(&["lease", "grant", "3600"])?;
    etcd.ctl(&["role", "add", "reader"])?;
    etcd.ctl(&["user", "add", "root:secret"])?;
    etcd.ctl(&["user", "grant-role", "root", "root"])?;
    let path = folder.join("snapshot.db");
    etcd.save(&path)?;
    etcd.stop()?;
    Ok(path)
}

/// Returns firstboot's result: its exit code and its answer.
pub(crate) fn ours(path: &Path, more: &[&str]) -> Result<(i32, Value)> {
    let mut command = Command::new(programs::firstboot()?);
    let ran = process::run(
        command
            .args(["snapshot", "verify", "--json"])
            .arg(path)
            .args(more),
    )?;
    let code = ran.code();
    ensure!(
        code == 0 || code == 3,
        "`{}` exited with {code}:\n{}",
        ran.command,
        ran.stderr
    );
    let answer = serde_json::from_str(&ran.stdout)
        .with_context(|| format!("{} printed {}", ran.command, ran.stdout))?;
    Ok((code, answer))
}

/// Returns etcdutl's answer if it reports the file as good. On damaged files, etcdutl may also
/// crash or never finish.
pub(crate) fn theirs(version: &str, path: &Path) -> Result<Option<Value>> {
    let mut command = Command::new("timeout");
    let programs = etcd::binaries(version)?;
    let status = ["etcdutl", "etcdctl"]
        .map(|name| programs.join(name))
        .into_iter()
        .find(|path| path.is_file());
    let status = status.context("the release has no program for snapshots")?;
    command
        .arg("20")
        .arg(status)
        .args(["snapshot", "status", "-w", "json"])
        .arg(path)
        .env("ETCDCTL_API", "3");
    let ran = process::run(&mut command)?;
    if !ran.success() {
        return Ok(None);
    }
    serde_json::from_str(ran.stdout.trim())
        .map(Some)
        .with_context(|| format!("etcdutl printed {}", ran.stdout))
}
