//! Tests files that no etcd has sent as a snapshot: the database file of a running etcd, copies of
//! that file, and files that are longer than their contents.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tests::etcd::{self, StandaloneEtcd};
use tests::harness::trial;
use tests::{process, programs, run};

use crate::fixtures::ours;
use crate::image::{Image, PAGE};

/// The number of copies made while etcd writes.
const COPIES: usize = 12;

pub(crate) fn trials() -> Vec<Trial> {
    let need = [etcd::need("3.5.1")];
    vec![
        trial("the_file_of_a_running_etcd_is_not_read", &need, running),
        trial(
            "a_copy_of_a_running_etcds_file_is_refused_or_complete",
            &need,
            copies,
        ),
        trial(
            "a_file_that_is_longer_than_its_contents_takes_little_memory",
            &[],
            sparse,
        ),
    ]
}

fn running() -> Result<()> {
    let etcd = StandaloneEtcd::start("3.5.1", &run::current()?.folder("etcd")?, &[])?;
    let database = etcd.folder().join("data/member/snap/db");
    let mut verify = Command::new(programs::firstboot()?);
    let ran = process::run(
        verify
            .args(["snapshot", "verify", "--skip-hash-check"])
            .arg(&database),
    )?;
    ensure!(
        ran.code() == 1 && ran.stderr.contains("[snapshot-in-use]"),
        "{ran:?}"
    );
    etcd.stop()?;
    let (code, _) = ours(&database, &["--skip-hash-check"])?;
    ensure!(code == 0);
    Ok(())
}

/// Returns the revision that a running etcd reports.
fn revision(etcd: &StandaloneEtcd) -> Result<i64> {
    let status: Value = serde_json::from_str(&etcd.post("/v3/maintenance/status", "{}")?)?;
    status["header"]["revision"]
        .as_str()
        .and_then(|revision| revision.parse().ok())
        .context("the answer contains no revision")
}

/// A copy whose parts are of different ages can consist of intact pages at their correct positions,
/// and still contain almost no data.
fn copies() -> Result<()> {
    let folder = run::current()?.folder("etcd")?;
    let etcd = StandaloneEtcd::start("3.5.1", &folder, &["--unsafe-no-fsync"])?;
    let stop = AtomicBool::new(false);
    scope(|scope| {
        let write = || {
            let mut number = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let value = format!("{number} ").repeat(100).into_bytes();
                // If a put fails, the only effect is that the copies contain less.
                let _ = etcd.put(&[(format!("key-{}", number % 300).into_bytes(), value)]);
            }
        };
        scope.spawn(write);
        scope.spawn(write);
        let outcome = (0..COPIES).try_for_each(|nth| copy(&etcd, &folder.join("copy.db"), nth));
        stop.store(true, Ordering::Relaxed);
        outcome
    })
}

fn copy(etcd: &StandaloneEtcd, to: &Path, nth: usize) -> Result<()> {
    let least = revision(etcd)?;
    if nth % 3 == 2 {
        etcd.post(
            "/v3/kv/compaction",
            &format!("{{\"revision\":\"{}\"}}", least - 20),
        )?;
    }
    // After this pause, etcd has committed its pending writes.
    sleep(Duration::from_millis(700));
    let mut from = File::open(etcd.folder().join("data/member/snap/db"))?;
    let mut copy = File::create(to)?;
    let mut piece = vec![0; 64 << 10];
    loop {
        match from.read(&mut piece)? {
            0 => break,
            count => copy.write_all(&piece[..count])?,
        }
        sleep(Duration::from_millis(5));
    }
    let (code, answer) = ours(to, &["--skip-hash-check"])?;
    let number = |name: &str| answer[name].as_i64().unwrap_or_default();
    println!(
        "copy {nth}: exit code {code}, revision {}, expected {least} or later, {} entries",
        number("revision"),
        number("keys")
    );
    if code == 0 {
        ensure!(number("revision") >= least, "{answer:#}");
        ensure!(
            number("keys") > number("revision") - number("compacted"),
            "{answer:#}"
        );
    }
    Ok(())
}

/// Tests nested leaves of 250 MiB each, which occupy only a few KiB on the disk.
fn sparse() -> Result<()> {
    const LONG: u32 = 250 << 20;
    let span = u64::from(LONG) / PAGE as u64;
    let path = run::current()?.folder("sparse")?.join("sparse.db");
    let file = File::create(&path)?;
    let mut image = Image(crate::damage::whole().0[..2 * PAGE].to_vec());
    image.set_meta(16, 2);
    image.set_meta(40, usize::try_from(2 + 8 * span)?);
    file.write_all_at(&image.0, 0)?;
    for nth in 0..8 {
        let id = 2 + nth * span;
        let mut page = [
            &id.to_le_bytes()[..],
            &[2, 0, 2, 0],
            &u32::try_from(span - 1)?.to_le_bytes(),
        ]
        .concat();
        // Each leaf contains two elements: a bucket whose root is the next leaf, and a key with a
        // value that makes the page long.
        for word in [1_u32, 32, 1, 16, 0, 33, 1, LONG - 48 - 18 - 1] {
            page.extend(word.to_le_bytes());
        }
        page.push(b'a');
        page.extend((id + span).to_le_bytes());
        page.extend([0; 8]);
        page.push(b'b');
        file.write_all_at(&page, id * PAGE as u64)?;
    }
    file.set_len((2 + 8 * span) * PAGE as u64)?;
    let mut verify = Command::new("prlimit");
    verify
        .args(["--as=167772160", "timeout", "120"])
        .arg(programs::firstboot()?)
        .args(["snapshot", "verify"]);
    let ran = process::run(verify.arg("--skip-hash-check").arg(&path))?;
    fs::remove_file(&path)?;
    ensure!(
        ran.code() == 3 && ran.stdout.contains("from the root to this one"),
        "{ran:?}"
    );
    Ok(())
}
