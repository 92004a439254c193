//! Makes a database for measurements: a real etcd with as many keys as needed, each with a value of
//! 1 KB.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, anyhow};

use crate::etcd::StandaloneEtcd;

/// The length of every value.
pub const VALUE: usize = 1000;
/// The database size, in MiB, that the README's figures are based on. The environment variable
/// `ETCD_IMAGE_BENCH_MIB` overrides this size.
const MIB: u64 = 2048;
/// The number of keys in one request.
const BATCH: u64 = 1000;
/// The number of concurrent requests. With several requests, etcd applies one request while it
/// reads the next request.
const AT_ONCE: usize = 4;
/// The settings with which etcd fills its database quickly. With these settings, a power failure
/// can lose data, but lost data does not matter for a benchmark.
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

/// Returns the size of the measured database, in MiB.
pub fn mib() -> u64 {
    std::env::var("ETCD_IMAGE_BENCH_MIB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(MIB)
}

/// Starts an etcd of the given version in a folder, and fills its database with the given number of
/// MiB. The data remains in the subfolder `data` after etcd has stopped.
pub fn make(version: &str, folder: &Path, mib: u64) -> Result<StandaloneEtcd> {
    let etcd = StandaloneEtcd::start(version, folder, &ARGUMENTS)?;
    fill(mib, BATCH, |pairs| etcd.put(&pairs))?;
    Ok(etcd)
}

/// Puts the given number of MiB of keys into the database, with at most `batch` keys in each
/// request.
pub fn fill(mib: u64, batch: u64, put: impl Fn(Vec<Pair>) -> Result<()> + Sync) -> Result<()> {
    // Three values and their metadata fill a page of 4 KiB.
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

/// Returns incompressible bytes that depend only on the given number.
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
