//! Tests a member whose database file has lost data that the running member still has in memory. To
//! lose the data, the test replaces the newest version of a page with an older version, which is
//! also valid.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::cluster::etcdctl;
use tests::host::Host;

use crate::bed::names;

const DB: &str = "/var/lib/etcd/data/member/snap/db";
const PAGE: usize = 4096;

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|word| word.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

fn word(bytes: &[u8], at: usize) -> usize {
    usize::try_from(long(bytes, at) & 0xFFFF_FFFF).unwrap_or(0)
}

fn at(page: u64) -> usize {
    usize::try_from(page).unwrap_or(0) * PAGE
}

/// Returns, for each bucket, the position and the value of its root page number; 0 means that the
/// bucket is inline.
fn roots(db: &[u8]) -> BTreeMap<Vec<u8>, (usize, u64)> {
    let root = at(meta(db, 16));
    (0..word(db, root + 10) & 0xFFFF)
        .map(|nth| {
            let row = root + 16 + 16 * nth;
            let (key, length) = (row + word(db, row + 4), word(db, row + 8));
            (
                db[key..key + length].to_vec(),
                (key + length, long(db, key + length)),
            )
        })
        .collect()
}

/// Returns a field of the newest meta page.
fn meta(db: &[u8], field: usize) -> u64 {
    let newest = if long(db, 16 + 48) > long(db, PAGE + 16 + 48) {
        0
    } else {
        PAGE
    };
    long(db, newest + 16 + field)
}

/// Returns a page to which no other page points.
fn free(db: &[u8]) -> Result<u64> {
    let mut used = vec![0, 1, meta(db, 16)];
    for (_, root) in roots(db).into_values() {
        used.push(root);
        let children = if db[at(root) + 8] == 1 {
            word(db, at(root) + 10) & 0xFFFF
        } else {
            0
        };
        used.extend((0..children).map(|nth| long(db, at(root) + 16 + 16 * nth + 8)));
    }
    (2..meta(db, 40))
        .find(|page| !used.contains(page))
        .context("there is no unreferenced page")
}

/// Tests a running member that still has in memory the data that its file has lost. The test leaves
/// the member unusable.
pub(crate) fn lost_pages(host: &Host, address: Ipv4Addr) -> Result<()> {
    let put = |from: u32| -> Result<()> {
        for nth in from..from + 15 {
            etcdctl(host, &format!("put lost/{nth} {}", "x".repeat(100)))?;
        }
        // Wait until etcd has committed its pending writes.
        sleep(Duration::from_secs(1));
        Ok(())
    };
    put(0)?;
    let early = fs::read(host.path(DB))?;
    let (_, page) = roots(&early)[&b"key"[..]];
    ensure!(
        page > 0 && early[at(page) + 8] == 2,
        "the bucket `key` is not a leaf"
    );
    put(15)?;
    let now = fs::read(host.path(DB))?;
    let (pointer, _) = roots(&now)[&b"key"[..]];
    let place = free(&now)?;
    let mut old = early[at(page)..at(page) + PAGE].to_vec();
    old[..8].copy_from_slice(&place.to_le_bytes());
    let file = File::options().write(true).open(host.path(DB))?;
    file.write_all_at(&old, at(place) as u64)?;
    file.write_all_at(&place.to_le_bytes(), pointer as u64)?;
    // Name the member explicitly. Without `--endpoint`, firstboot first compares the members' data,
    // and stops because the data differs.
    let endpoint = format!("https://{address}:2379");
    let taken = host.run(&[
        "firstboot",
        "snapshot",
        "--endpoint",
        &endpoint,
        "/root/lost.db",
    ])?;
    ensure!(
        taken.code() == 3 && taken.stderr.contains("[snapshot-invalid]"),
        "{taken:?}"
    );
    ensure!(
        !names(host, "/root")?
            .iter()
            .any(|name| name.contains("lost")),
        "{:?}",
        names(host, "/root")?
    );
    Ok(())
}
