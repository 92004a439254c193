//! Compresses data on all cores. The result does not depend on the number of cores.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::{Compression, GzBuilder};

/// The compressor and its level. The names in the cache contain this text, so that an entry of
/// another version or level is never used. A test compares the version with Cargo.lock.
pub(super) const COMPRESSOR: &str = "zlib-rs-0.6.8-level9-1m";

/// The largest amount of input for one gzip member. Each member starts with an empty compression
/// window, so smaller members compress less. Members of 1 MiB increase the compressed size of
/// etcd's binaries by only 0.15 %, and divide the binaries into 60 members, which keep many cores
/// busy.
pub(super) const MEMBER_BYTES: usize = 1 << 20;

/// The compression level. At level 9, zlib-rs makes etcd's binaries 0.9 % smaller than gzip -6
/// does, in the same time on one core. At levels 6 to 8, zlib-rs makes the binaries larger than
/// gzip -6 does.
const LEVEL: u32 = 9;

/// Compresses each of these segments into gzip members, in order.
pub(super) fn members(segments: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut jobs: Vec<(usize, &[u8])> = Vec::new();
    for (nth, segment) in segments.iter().enumerate() {
        jobs.extend(segment.chunks(MEMBER_BYTES).map(|chunk| (nth, chunk)));
    }
    let done = parallel(&jobs, |(_, chunk)| member(chunk));
    let mut out = vec![Vec::new(); segments.len()];
    for ((nth, _), bytes) in jobs.iter().zip(done) {
        out[*nth].extend(bytes);
    }
    out
}

/// Compresses bytes into one gzip member. The member's header contains no name, no time and no
/// operating system (255, unknown).
fn member(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::with_capacity(bytes.len() / 2), Compression::new(LEVEL));
    // Writing to memory fails only if memory is exhausted, which ends the process anyway.
    encoder
        .write_all(bytes)
        .expect("writing to memory succeeds");
    encoder.finish().expect("writing to memory succeeds")
}

/// Runs the job for each input, on all cores. The results are in the order of the inputs.
pub(super) fn parallel<I: Sync, O: Send>(inputs: &[I], job: impl Fn(&I) -> O + Sync) -> Vec<O> {
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(inputs.len());
    if threads <= 1 {
        return inputs.iter().map(job).collect();
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(inputs.len()));
    let work = || {
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            let Some(input) = inputs.get(nth) else { return };
            let output = job(input);
            results
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push((nth, output));
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut results = results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(nth, _)| *nth);
    results.into_iter().map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_compressors_name_contains_the_locked_version() {
        // If this test fails after an update of zlib-rs, put the new version into COMPRESSOR. The
        // next build may then change the bytes of every image.
        let lock =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
        let version = lock
            .split("name = \"zlib-rs\"\nversion = \"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert_eq!(
            COMPRESSOR,
            format!("zlib-rs-{version}-level{LEVEL}-{}m", MEMBER_BYTES >> 20)
        );
    }

    #[test]
    fn segments_are_decompressed_unchanged_and_the_header_has_no_metadata() {
        let long: Vec<u8> = (0..MEMBER_BYTES + 5)
            .map(|nth| u8::try_from(nth % 251).unwrap())
            .collect();
        let out = members(&[b"one", &long, b"three"]);
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(&out.concat()[..])
            .read_to_end(&mut text)
            .unwrap();
        assert_eq!(text, [b"one".as_slice(), &long, b"three"].concat());
        // The bytes mean: method 8, no flags, no time, slowest algorithm, unknown system (RFC 1952,
        // 2.3).
        assert_eq!(out[0][..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
    }

    #[test]
    fn results_keep_the_order_of_their_inputs() {
        let inputs: Vec<u64> = (0..100).collect();
        let slow_first = |nth: &u64| {
            std::thread::sleep(std::time::Duration::from_micros(200 - nth));
            *nth
        };
        assert_eq!(parallel(&inputs, slow_first), inputs);
    }
}
