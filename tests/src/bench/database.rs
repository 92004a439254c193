//! A database to measure with: as many keys as it takes, with values of 1 KB, put into a real etcd.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, anyhow};

use crate::etcd::StandaloneEtcd;

/// The length of every value.
pub const VALUE: usize = 1000;
/// The size that the README's figures are of, in MiB; `ETCD_IMAGE_BENCH_MIB` sets another.
const MIB: u64 = 2048;
/// Keys put by one request.
const BATCH: u64 = 1000;
/// Requests under way at one time: etcd applies one while it reads the next.
const AT_ONCE: usize = 4;
/// What fills it fast: nothing that is lost with the power is missed here.
const ARGUMENTS: [&str; 8] = [
    "--quota-backend-bytes",
    "17179869184",
    "--max-txn-ops",
    "2000",
    "--max-request-bytes",
    "10000000",
    "--unsafe-no-fsync",
    "--log-level=error",
];

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The size to measure with, in MiB.
pub fn mib() -> u64 {
    std::env::var("ETCD_IMAGE_BENCH_MIB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(MIB)
}

/// A running etcd of that version in a folder, whose database is so many MiB large. Its data stay
/// there, in `data`, after it was stopped.
pub fn make(version: &str, folder: &Path, mib: u64) -> Result<StandaloneEtcd> {
    let etcd = StandaloneEtcd::start(version, folder, &ARGUMENTS)?;
    fill(mib, BATCH, |pairs| etcd.put(&pairs))?;
    Ok(etcd)
}

/// Puts so many MiB of keys, at most `batch` of them at one time.
pub fn fill(mib: u64, batch: u64, put: impl Fn(Vec<Pair>) -> Result<()> + Sync) -> Result<()> {
    // Three values and what goes with them fill a page of 4 KiB.
    let keys = (mib << 20) / 4096 * 3;
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                let from = next.fetch_add(batch, Ordering::Relaxed);
                if from >= keys {
                    return Ok(());
                }
                let pair = |n: u64| (format!("/bench/{n:012}").into_bytes(), value(n));
                put((from..keys.min(from + batch)).map(pair).collect())?;
            }
        };
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a writer panicked"))?)
    })
}

/// Bytes that nothing makes shorter, the same for the same number.
fn value(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..VALUE / 8).flat_map(|_| next().to_le_bytes()).collect()
}
