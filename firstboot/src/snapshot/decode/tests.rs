use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use recipes::backup::{Backup, RetentionPolicy, S3};

use super::super::age::tests::{PUBLIC, SECRET};
use super::super::encode::{Encoding, Sink, StoredFile};
use super::*;
use crate::exit::{Exit, code_of};

/// A buffer that the encoder and the test share.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Shared {
    fn finish(self: Box<Self>) -> io::Result<Option<StoredFile>> {
        Ok(None)
    }
}

/// Returns a file whose meta pages state this many pages of 1 KiB. Arbitrary bytes follow the meta
/// pages.
fn database(pages: u64, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length.max(2048))
        .map(|at: usize| u8::try_from(at / 7 % 256).unwrap())
        .collect();
    for at in [0, 1024] {
        let fields = [0x2_ED0C_DAED_u64, 1024, 3, 0, u64::MAX, pages, 7];
        let meta: Vec<u8> = fields
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect();
        let sum = meta.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        bytes[at..at + 16].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
        bytes[at + 16..at + 72].copy_from_slice(&meta);
        bytes[at + 72..at + 80].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

fn encoded(plain: &[u8], compress: bool, encrypt: bool) -> Vec<u8> {
    let age = if encrypt {
        vec![PUBLIC.parse().unwrap()]
    } else {
        Vec::new()
    };
    let backup = Backup {
        schedule: "hourly".parse().unwrap(),
        destination: "/var/backups/etcd".parse().unwrap(),
        keep: RetentionPolicy::default(),
        compress,
        age,
        s3: S3::default(),
    };
    let out = Shared::default();
    let mut sink = Encoding::of(Some(&backup))
        .wrap(Box::new(out.clone()))
        .unwrap();
    sink.write_all(plain).unwrap();
    let stored = sink.finish().unwrap();
    let bytes = out.0.lock().unwrap().clone();
    if let Some(stored) = stored {
        assert_eq!(
            (stored.size, stored.sha256),
            (bytes.len() as u64, recipes::Sha256::of(&bytes))
        );
    }
    bytes
}

fn decoded(stored: &[u8], identity: Option<&str>) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = (folder.path().join("x"), folder.path().join("key"));
    std::fs::write(&file, stored).unwrap();
    std::fs::write(&key, identity.unwrap_or_default()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut plain = Vec::new();
    decode(&file, identity.map(|_| &*key), &mut plain).map(|()| plain)
}

const WAYS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

#[test]
fn an_encoded_snapshot_is_decoded_unchanged() {
    for (compress, encrypt) in WAYS {
        for size in [2048, 65_536, 1_000_003] {
            let plain = database(size as u64 / 1024, size);
            let stored = encoded(&plain, compress, encrypt);
            assert_eq!(
                decoded(&stored, Some(&SECRET)).unwrap(),
                plain,
                "{compress} {encrypt} {size}"
            );
            assert!(!compress || size < 65_536 || stored.len() < size / 2);
        }
    }
}

#[test]
fn a_file_without_its_key_is_reported_as_locked_and_not_as_damaged() {
    // This identity is the example in the age specification.
    const OTHER: &str =
        "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    let stored = encoded(&database(2, 0), true, true);
    for (identity, words) in [
        (None, "--identity"),
        (Some(OTHER), "does not decrypt"),
        (Some("rubbish"), "AGE-SECRET-KEY-1"),
    ] {
        let error = decoded(&stored, identity).unwrap_err();
        assert!(error.downcast_ref::<NoMatchingKey>().is_some(), "{error}");
        assert!(
            error.to_string().contains(words) && !error.to_string().contains("not a good snapshot"),
            "{error}"
        );
        assert_eq!(code_of(&error), Exit::Failed);
    }
    let mut damaged = stored;
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(
        code_of(&decoded(&damaged, Some(&SECRET)).unwrap_err()),
        Exit::Refused
    );
}

#[test]
fn other_formats_are_refused_with_a_remedy() {
    let open = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        is_encoded(file.path(), file.as_file())
    };
    for (begin, words) in [
        (&[0x1f, 0x8b, 8, 0][..], "gunzip"),
        (b"PK\x03\x04 and more", "zip archive"),
        (b"\xfd7zXZ\0", "unxz"),
        (b"BZh9", "bunzip2"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl", "armor"),
        (b"{\n  \"format\"", "manifest"),
    ] {
        let error = open(begin).unwrap_err();
        assert!(
            error.to_string().contains(words) && code_of(&error) == Exit::Refused,
            "{error}"
        );
        // If the refused bytes are encrypted with age, they are refused after the decryption.
        let error = decoded(&encoded(begin, false, true), Some(&SECRET)).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(
        !open(&database(2, 0)).unwrap()
            && !open(b"").unwrap()
            && !open(b"x").unwrap()
            && !open(b"P").unwrap()
    );
    assert!(
        open(&encoded(b"x", true, false)).unwrap() && open(&encoded(b"x", true, true)).unwrap()
    );
    // The output of pzstd starts with a skippable frame.
    let skipped = [
        &[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4],
        &encoded(&database(2, 0), true, false)[..],
    ]
    .concat();
    assert_eq!(decoded(&skipped, None).unwrap(), database(2, 0));
}

/// Each file is a zstd frame with a window of the size that `zstd --long=NN` sets.
#[test]
fn a_window_of_up_to_128_mib_is_read_and_a_larger_one_is_refused() {
    let plain = database(3000, 3 << 20);
    let with = |log| {
        let mut larger = zstd::Encoder::new(Vec::new(), 1).unwrap();
        larger.long_distance_matching(true).unwrap();
        larger.window_log(log).unwrap();
        larger.write_all(&plain).unwrap();
        larger.finish().unwrap()
    };
    for log in [23, 24, 27] {
        assert_eq!(decoded(&with(log), None).unwrap(), plain, "{log}");
    }
    let error = decoded(&with(28), None).unwrap_err().to_string();
    assert!(
        error.contains("128 MiB") && error.contains("--long"),
        "{error}"
    );
}

/// One file contains a gigabyte of zeros. The other file contains meta pages that state a small
/// size, followed by a gigabyte of zeros. Each file is compressed to less than 100 KiB.
#[test]
fn a_file_that_expands_to_more_than_it_states_is_not_decoded() {
    struct Counted(usize);
    impl Write for &mut Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for (begin, words, most) in [
        (vec![0; 4096], "meta page", 1 << 20),
        (database(10, 10 << 10), "first pages state", 65 << 20),
    ] {
        let mut bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
        bomb.write_all(&begin).unwrap();
        (0..1024).for_each(|_| bomb.write_all(&vec![0; 1 << 20]).unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bomb.finish().unwrap()).unwrap();
        let mut out = Counted(0);
        let error = decode(file.path(), None, &mut out).unwrap_err().to_string();
        assert!(
            error.contains(words) && out.0 < most,
            "{error}: {} bytes were written",
            out.0
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn missing_and_changed_bytes_are_detected(
        size in 2048..5000_usize, way in 1..4usize, at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let (compress, encrypt) = WAYS[way];
        let plain = database(2, size);
        let stored = encoded(&plain, compress, encrypt);
        let at = at.index(stored.len());
        let mut flipped = stored.clone();
        flipped[at] ^= 1 << bit;
        // Do not test the first bytes. If these bytes change, firstboot no longer recognises the
        // file as encoded, and the check of the pages refuses the file.
        if at >= age::MAGIC.len() {
            prop_assert!(decoded(&stored[..at], Some(&SECRET)).is_err());
            // Some bits of a zstd frame have no meaning, so a change of such a bit causes no error.
            let came = decoded(&flipped, Some(&SECRET));
            prop_assert!(came.is_err() || !encrypt && came.unwrap() == plain);
        }
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), begin in 0..3usize) {
        let begin = [&b""[..], ZSTD, age::MAGIC][begin];
        let _ = decoded(&[begin, &bytes].concat(), Some(&SECRET));
    }
}
