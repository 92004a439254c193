//! Tests that download a release from a real server on loopback, and open the release. The tests
//! simulate network faults and use faulty tarballs.

mod fetching;
mod opening;
mod server;
mod sources;
mod tarball;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use recipes::{EtcdVersion, Sha256};
use tempfile::TempDir;
use url::Url;

use super::*;
use server::Server;

/// Returns a version that the table of digests does not list, so that a test can use its own
/// tarball.
fn version() -> EtcdVersion {
    "3.5.1".parse().unwrap()
}

/// Returns limits that are shorter than the limits of a build.
fn impatient() -> RetryPolicy {
    RetryPolicy {
        tries: 3,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(4),
        longest_wait: Duration::from_secs(2),
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(300),
        whole: Duration::from_secs(20),
        release_bytes: 1 << 20,
        sums_bytes: 4096,
    }
}

/// A separate cache, and the progress lines of the builds that use this cache.
struct Bench {
    folder: TempDir,
    said: Heard,
}

/// A receiver that stores the progress lines.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn say(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
    fn begin(&self, _: &str, _: u64, _: Option<u64>) {}
    fn at(&self, _: u64) {}
    fn end(&self) {}
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            said: Heard::default(),
        }
    }

    fn cache(&self) -> &Path {
        self.folder.path()
    }

    fn said(&self) -> String {
        self.said.0.lock().unwrap().join("\n")
    }

    /// Obtains a release with these bytes from these servers.
    fn obtain(&self, bytes: &[u8], servers: &[&Server]) -> Result<Release, ReleaseError> {
        let mirrors: Vec<Url> = servers.iter().map(|server| server.mirror()).collect();
        self.obtain_as(Sha256::of(bytes), &mirrors, false)
    }

    fn obtain_as(
        &self,
        sha256: Sha256,
        mirrors: &[Url],
        offline: bool,
    ) -> Result<Release, ReleaseError> {
        let wanted = ReleaseRequest {
            version: version(),
            sha256,
            mirrors,
            cache: self.cache(),
            offline,
            file: None,
        };
        obtain_within(&wanted, &impatient(), &self.said)
    }

    /// Returns the files in the cache, without the empty lock file.
    fn files(&self) -> Vec<String> {
        let folder = self.cache().join("releases");
        let Ok(list) = std::fs::read_dir(folder) else {
            return Vec::new();
        };
        let mut names: Vec<_> = list
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| name.rsplit('.').next() != Some("lock"));
        names.sort();
        names
    }
}

/// Returns bytes without a pattern, like the bytes of a compressed tarball.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(size).collect()
}
