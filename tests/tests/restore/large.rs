//! Tests a large snapshot that replaces the data of a cluster while clients write.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::bench::database;
use tests::client::{Client, Writers};
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::run;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS};
use crate::orders::all_restore;

const VERSION: &str = "3.5.1";
const SNAPSHOT: &str = "/snapshots/large.db";
/// The default size of the snapshot, in MiB. `ETCD_IMAGE_RESTORE_MIB` overrides this size.
const MIB: u64 = 128;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_large_snapshot_is_restored_on_three_members_under_writes",
        REQUIREMENTS,
        large,
    )]
}

/// Returns how many of the snapshot's keys a host's member has, and the member's hash of all keys
/// at a revision.
fn keys_and_hash(host: &Host, revision: i64) -> Result<(u64, u64)> {
    // After a linearizable read, the member has caught up to the latest revision.
    etcdctl(host, "get none")?;
    let fields = etcdctl(
        host,
        "get /bench/ --prefix --count-only --consistency=s --write-out=fields",
    )?;
    let count = fields
        .lines()
        .find_map(|line| line.strip_prefix("\"Count\" : ")?.parse().ok());
    let hash = etcdctl(
        host,
        &format!("endpoint hashkv --rev={revision} --write-out=json"),
    )?;
    let hash: serde_json::Value = serde_json::from_str(&hash)?;
    count
        .zip(hash[0]["HashKV"]["hash"].as_u64())
        .with_context(|| format!("{fields} {hash}"))
}

fn large() -> Result<()> {
    let mib = std::env::var("ETCD_IMAGE_RESTORE_MIB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(MIB);
    let folder = run::current()?.folder("large")?;
    let alone = database::make(VERSION, &folder, mib)?;
    alone.save(&folder.join("large.db"))?;
    let keys = (mib << 20) / 4096 * 3;
    std::fs::remove_dir_all(alone.stop()?)?;

    let mut bed = Bed::with_etcd(VERSION, 3)?;
    for host in &mut bed.hosts {
        host.bind(&folder, "/snapshots");
    }
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let client = Client::new(&bed.provisioning)?;
    let members: Vec<Ipv4Addr> = bed.hosts.iter().map(Host::address).collect();
    let writers = Writers::start(&client, &members, "meanwhile/");
    writers.wait_for_more(20, CONVERGENCE_TIMEOUT)?;
    let [one, two, three] = &bed.hosts[..] else {
        anyhow::bail!("the bed does not have three hosts")
    };
    let orders: [(_, &[&str]); 3] = [
        (one, &[SNAPSHOT]),
        (two, &["--from", "etcd-1"]),
        (three, &[SNAPSHOT]),
    ];
    all_restore(&orders)?;
    for host in &bed.hosts {
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    }
    // The writers resume on their own.
    writers.wait_for_more(20, CONVERGENCE_TIMEOUT)?;
    writers.stop()?;
    let revision = crate::orders::revision(one)?;
    let (_, hash) = keys_and_hash(one, revision)?;
    for host in &bed.hosts {
        let found = keys_and_hash(host, revision)?;
        ensure!(
            found == (keys, hash),
            "{} has {found:?}, but etcd-1 has {keys} keys and the hash {hash}",
            host.name()
        );
        // The earlier data is archived, and the downloaded snapshot is removed.
        ensure!(
            host.check(&["firstboot", "restore", "--list"])?
                .contains("--rollback restores")
        );
        ensure!(
            !host.path("/var/lib/etcd/restore").exists(),
            "{} keeps partial data",
            host.name()
        );
    }
    bed.wait_all_healthy()
}
