//! Tests that firstboot reports snapshots from real etcd servers as good, and reports the same
//! contents as etcdutl or, for 3.4, as etcdctl.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tests::etcd;
use tests::harness::trial;

use crate::fixtures::{ours, snapshot, theirs};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_snapshot_of_3_4_23_is_good_and_matches_etcdctl_status",
            &[etcd::need("3.4.23")],
            || good("3.4.23"),
        ),
        trial(
            "a_snapshot_of_3_5_1_is_good_and_matches_etcdutl_status",
            &[etcd::need("3.5.1")],
            || good("3.5.1"),
        ),
        trial(
            "a_snapshot_of_3_6_16_is_good_and_matches_etcdutl_status",
            &[etcd::need("3.6.16")],
            || good("3.6.16"),
        ),
        trial(
            "a_snapshot_of_3_7_3_is_good_and_matches_etcdutl_status",
            &[etcd::need("3.7.3")],
            || good("3.7.3"),
        ),
        trial(
            "a_database_without_a_digest_must_be_allowed",
            &[etcd::need("3.5.1")],
            without_digest,
        ),
    ]
}

fn good(version: &str) -> Result<()> {
    let path = snapshot(version)?;
    let (code, own) = ours(&path, &[])?;
    ensure!(code == 0, "not good: {own:#}");
    let Some(their) = theirs(version, &path)? else {
        anyhow::bail!("etcdutl {version} does not accept {}", path.display())
    };
    for name in ["hash", "revision"] {
        ensure!(
            own[name] == their[name],
            "{name}: {own:#} against {their:#}"
        );
    }
    // From 3.6 on, etcdutl counts only the live keys. Earlier versions count all entries.
    let storage = match version {
        "3.6.16" => "3.6.0".into(),
        "3.7.3" => "3.7.0".into(),
        _ => Value::Null,
    };
    if storage.is_null() {
        ensure!(
            own["keys"] == their["totalKey"],
            "{own:#} against {their:#}"
        );
    }
    ensure!(
        own["compacted"] == 6 && own["leases"] == 1 && own["users"] == 1,
        "{own:#}"
    );
    ensure!(own["members"][0]["name"] == "alone", "{own:#}");
    ensure!(own["storage-version"] == storage, "{own:#}");
    booted(version, &path)
}

/// Checks that a trial start with the etcd that made the snapshot finds all live keys, and leaves
/// no files behind.
fn booted(version: &str, path: &Path) -> Result<()> {
    let before = fs::read_dir(path.parent().unwrap_or(path))?.count();
    let programs = etcd::binaries(version)?;
    let mut command = std::process::Command::new(tests::programs::firstboot()?);
    command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
    let ran = tests::process::run(
        command
            .args(["snapshot", "verify", "--boot", "--json"])
            .arg(path),
    )?
    .ok()?;
    let answer: Value = serde_json::from_str(&ran)?;
    ensure!(answer["booted"]["etcd"] == version, "{answer:#}");
    // The test put 3000 keys and 2 large keys, and deleted 100 keys (00xx) and another 100 keys
    // (01xx).
    ensure!(answer["booted"]["live-keys"] == 2802, "{answer:#}");
    ensure!(
        fs::read_dir(path.parent().unwrap_or(path))?.count() == before,
        "files are left"
    );
    Ok(())
}

fn without_digest() -> Result<()> {
    let path = snapshot("3.5.1")?;
    let database = path.with_file_name("data/member/snap/db");
    let (code, own) = ours(&database, &[])?;
    ensure!(
        code == 3 && own["fault-count"] == 1 && own["digest"] == "absent",
        "{own:#}"
    );
    ensure!(
        own["faults"][0]["expected"]
            .to_string()
            .contains("--skip-hash-check"),
        "{own:#}"
    );
    let (code, own) = ours(&database, &["--skip-hash-check"])?;
    ensure!(code == 0 && own["good"] == true, "{own:#}");
    Ok(())
}
