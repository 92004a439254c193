//! Tests snapshots in an object store, with and without faults of the store.

use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::host::Host;
use tests::process::Output;
use tests::s3::{Fault, S3};

use crate::bed::{Bed, REQUIREMENTS, far, fill, list, names};

const PROXY: &str = "10.101.15.1:9001";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "an_object_exists_only_if_it_is_complete_in_the_store",
        REQUIREMENTS,
        all,
    )]
}

fn snapshot(host: &Host, name: &str) -> Result<Output> {
    host.run(&[
        "firstboot",
        "snapshot",
        &format!("s3://backups/etcd/{name}"),
    ])
}

fn all() -> Result<()> {
    let place =
        "destination = \"s3://backups/etcd\"\n[backup.s3]\nendpoint = \"http://10.101.15.1:9001\"";
    let mut bed = Bed::new(1, &format!("{}\n{place}", far()))?;
    let store = S3::start(bed.provisioning.network.world(), PROXY, "backups")?;
    bed.boot()?;
    let host = &bed.hosts[0];
    let without = snapshot(host, "")?;
    ensure!(
        without.code() == 3 && without.stderr.contains("/etc/firstboot/s3-keys"),
        "{without:?}"
    );
    let keys = "AWS_ACCESS_KEY_ID=AKIATEST\nAWS_SECRET_ACCESS_KEY=hush\n";
    host.write("/etc/firstboot/s3-keys", keys, 0o644)?;
    let open = snapshot(host, "")?;
    ensure!(
        open.code() == 3 && open.stderr.contains("chmod 600"),
        "{open:?}"
    );
    host.write("/etc/firstboot/s3-keys", keys, 0o600)?;

    // Write enough data for a snapshot that is uploaded in three parts.
    fill(host, 10)?;
    snapshot(host, "")?.ok()?;
    let first = list(host, "s3://backups/etcd/")?;
    ensure!(first.len() == 1 && first[0]["good"] == true, "{first:?}");
    ensure!(
        first[0]["manifest"]["checked"][3] == "stored digest",
        "{first:?}"
    );
    let missing = host.run(&["firstboot", "snapshot", "list", "s3://missing/"])?;
    ensure!(
        missing.code() == 3
            && missing.stderr.contains("NoSuchBucket")
            && missing.stderr.contains("[store-denied]"),
        "{missing:?}"
    );

    survives_faults(host, &store)?;
    // Check that no part of a snapshot remains on the node, and that the systemd journal does not
    // contain the secret key.
    ensure!(names(host, "/var/backups/etcd")?.is_empty());
    let logs = host.check(&["journalctl", "--no-pager", "-o", "cat"])?;
    ensure!(!logs.contains("hush"), "the secret key is in the journal");
    host.check(&["firstboot", "snapshot", "prune"])?;
    ensure!(!list(host, "s3://backups/etcd/")?.is_empty());
    Ok(())
}

/// Checks that, after a fault of the store, firstboot tries again, or fails and leaves no snapshot
/// behind.
fn survives_faults(host: &Host, store: &S3) -> Result<()> {
    store.fault(Fault::Status500("PUT", 2));
    store.fault(Fault::Truncate(1));
    store.fault(Fault::Slow(Duration::from_millis(300)));
    snapshot(host, "through-trouble.db")?.ok()?;
    store.clear_faults();
    let twice = snapshot(host, "through-trouble.db")?;
    ensure!(
        twice.code() == 3 && twice.stderr.contains("never replaces"),
        "{twice:?}"
    );

    store.fault(Fault::Lie);
    let lie = snapshot(host, "lie.db")?;
    store.clear_faults();
    ensure!(
        lie.code() == 1 && lie.stderr.contains("the store reports the digest"),
        "{lie:?}"
    );

    store.fault(Fault::Flip);
    let flip = snapshot(host, "flip.db")?;
    store.clear_faults();
    ensure!(
        flip.code() == 1 && flip.stderr.contains("when it is read back"),
        "{flip:?}"
    );

    store.fault(Fault::Status500("PUT", u32::MAX));
    let down = snapshot(host, "down.db")?;
    store.clear_faults();
    ensure!(
        down.code() == 4 && down.stderr.contains("cannot write to s3://backups/etcd/"),
        "{down:?}"
    );

    let left = list(host, "s3://backups/etcd/")?;
    ensure!(
        left.len() == 2 && left.iter().all(|one| one["good"] == true),
        "{left:?}"
    );
    Ok(())
}
