//! Fuzzes the walk through the pages of a bolt file. For any input bytes, the walk must terminate
//! and must not panic.

#![no_main]

use bolt::{Entry, Faults, FileKind, Visitor};
use libfuzzer_sys::fuzz_target;

/// A visitor that reads every byte that the walk passes to it.
struct Touch(u64);

impl Visitor for Touch {
    fn entry(&mut self, entry: &Entry<'_>, _: &mut Faults) {
        self.0 += entry.key.iter().chain(entry.value).map(|byte| u64::from(*byte)).sum::<u64>();
    }
}

/// Corrects the checksums of the meta pages for the smallest, the usual and the largest page size,
/// because a fuzzer cannot guess checksums.
fn seal(bytes: &mut [u8]) {
    for at in [0, 1 << 10, 1 << 12, 1 << 16] {
        let Some(meta) = bytes.get_mut(at + 16..at + 80) else { continue };
        let sum = meta[..56].iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        meta[56..].copy_from_slice(&sum.to_le_bytes());
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    seal(&mut bytes);
    for form in [FileKind::Snapshot, FileKind::Live] {
        let _ = bolt::check(&bytes[..], bytes.len() as u64, form, &mut Touch(0));
    }
});
