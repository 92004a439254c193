use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::MultiGzDecoder;
use proptest::prelude::*;
use recipes::Sha256;
use tempfile::TempDir;

use super::*;

const MTIME: u64 = 1_700_000_000;

fn entry(path: &str, mode: u32, kind: Kind) -> Entry {
    Entry {
        path: path.parse().unwrap(),
        mode,
        uid: 0,
        gid: 997,
        kind,
    }
}

fn file(path: &str, bytes: &[u8]) -> Entry {
    entry(path, 0o640, Kind::File(Content::Bytes(bytes.to_vec())))
}

/// Returns bytes whose compression ratio is similar to that of a program.
fn large(seed: u32, size: usize) -> Vec<u8> {
    (0..u32::try_from(size).unwrap())
        .map(|nth| (nth.wrapping_mul(seed) >> 13).to_le_bytes()[0] & 0x3f)
        .collect()
}

fn tree() -> Vec<Entry> {
    vec![
        file("usr/local/bin/etcd", &large(2_654_435_761, 3 << 20)),
        entry("etc/etcd", 0o750, Kind::Dir),
        file("etc/etcd/etcd.conf", b"ETCD_NAME=etcd-1\n"),
        file("usr/local/bin/firstboot", &large(40_503, (256 << 10) + 1)),
        file("etc/empty", b""),
        file("etc/block", &[b'x'; 512]),
    ]
}

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pack(&self, entries: Vec<Entry>) -> (PackedOverlay, Vec<u8>) {
        let out = self.path("overlay.tar.gz");
        let packed = pack(entries, MTIME, &self.path("cache"), &out).unwrap();
        let bytes = fs::read(out).unwrap();
        assert_eq!(
            (packed.sha256, packed.size),
            (Sha256::of(&bytes), bytes.len() as u64)
        );
        (packed, bytes)
    }
}

/// Maps a path to its type, mode, uid, gid, mtime, and content or target, as the tar crate reads
/// them.
type Listing = BTreeMap<String, (u8, u32, u64, u64, u64, Vec<u8>)>;

fn listing(bytes: &[u8]) -> Listing {
    let mut out = Listing::new();
    for entry in tar::Archive::new(MultiGzDecoder::new(bytes))
        .entries()
        .unwrap()
    {
        let mut entry = entry.unwrap();
        let mut content = entry
            .link_name_bytes()
            .map(|name| name.to_vec())
            .unwrap_or_default();
        entry.read_to_end(&mut content).unwrap();
        let (path, header) = (
            String::from_utf8(entry.path_bytes().to_vec()).unwrap(),
            entry.header(),
        );
        let numbers = (
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap(),
        );
        let kind = header.entry_type().as_byte();
        let all = (
            kind,
            header.mode().unwrap(),
            numbers.0,
            numbers.1,
            numbers.2,
            content,
        );
        assert!(out.insert(path, all).is_none());
    }
    out
}

#[test]
fn unpacking_restores_the_packed_files() {
    let (_, bytes) = Bench::new().pack(tree());
    let found = listing(&bytes);
    assert_eq!(found["etc/etcd/"], (b'5', 0o750, 0, 997, MTIME, Vec::new()));
    assert_eq!(
        found["etc/etcd/etcd.conf"],
        (b'0', 0o640, 0, 997, MTIME, b"ETCD_NAME=etcd-1\n".to_vec())
    );
    assert_eq!(found["usr/local/bin/etcd"].5, large(2_654_435_761, 3 << 20));
    assert_eq!(
        found["usr/local/bin/firstboot"].5,
        large(40_503, (256 << 10) + 1)
    );
    assert_eq!(
        (&*found["etc/empty"].5, &*found["etc/block"].5),
        (&[][..], &[b'x'; 512][..])
    );
    assert_eq!(found.len(), 6);
}

#[test]
fn the_bytes_do_not_depend_on_the_cache_the_order_or_the_source() {
    let bench = Bench::new();
    let (cold, first) = bench.pack(tree());
    let (warm, second) = bench.pack(tree().into_iter().rev().collect());
    assert_eq!((&cold, &first), (&warm, &second));

    let (etcd, other) = (bench.path("etcd"), Bench::new());
    let bytes = large(2_654_435_761, 3 << 20);
    fs::write(&etcd, &bytes).unwrap();
    let source = Content::Verified {
        path: etcd.clone(),
        sha256: Sha256::of(&bytes),
        size: bytes.len() as u64,
    };
    for bench in [&bench, &other] {
        let mut entries = tree();
        entries[0].kind = Kind::File(source.clone());
        assert_eq!(bench.pack(entries).1, first);
    }
}

#[test]
fn a_damaged_cache_entry_does_not_enter_the_image() {
    let bench = Bench::new();
    let (_, first) = bench.pack(tree());
    for folder in fs::read_dir(bench.path("cache/gzip")).unwrap() {
        for entry in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            bytes[100] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }
    assert_eq!(bench.pack(tree()).1, first);
}

#[test]
fn a_file_changed_after_it_was_verified_is_refused() {
    let bench = Bench::new();
    let path = bench.path("etcd");
    fs::write(&path, large(3, 1 << 20)).unwrap();
    let source = Content::Verified {
        path,
        sha256: Sha256::of(b"verified"),
        size: 1 << 20,
    };
    let out = bench.path("out");
    let error = pack(
        vec![entry("etcd", 0o755, Kind::File(source))],
        MTIME,
        &bench.path("cache"),
        &out,
    )
    .unwrap_err();
    assert!(matches!(error, OverlayError::Changed { .. }), "{error}");
    assert!(!out.exists());
}

#[test]
fn a_file_that_cannot_be_read_or_written_is_named() {
    let bench = Bench::new();
    let gone = vec![entry(
        "a",
        0o644,
        Kind::File(Content::Verified {
            path: bench.path("gone"),
            sha256: Sha256::of(b""),
            size: 0,
        }),
    )];
    let error = pack(gone, MTIME, &bench.path("cache"), &bench.path("out")).unwrap_err();
    assert!(
        error.to_string().contains("cannot read") && error.to_string().contains("gone"),
        "{error}"
    );
    let error = pack(
        tree(),
        MTIME,
        &bench.path("cache"),
        &bench.path("no/folder"),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("cannot write") && error.to_string().contains("no/folder"),
        "{error}"
    );
}

#[test]
fn everyone_can_read_the_archive_and_only_the_owner_the_cache() {
    let bench = Bench::new();
    bench.pack(tree());
    let mode = |name: &str| fs::metadata(bench.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("overlay.tar.gz"), mode("cache/gzip")), (0o644, 0o700));
}

/// Packs [`tree`] into the folder that an environment variable names. The test
/// `the_bytes_do_not_depend_on_umask_folder_time_zone_or_locale` runs this test in a separate
/// process.
#[test]
fn another_process_packs_into_the_given_folder() {
    let Some(folder) = std::env::var_os("OVERLAY_TEST_FOLDER") else {
        return;
    };
    let folder = Path::new(&folder);
    pack(
        tree(),
        MTIME,
        &folder.join("cache"),
        &folder.join("overlay.tar.gz"),
    )
    .unwrap();
}

#[test]
fn the_bytes_do_not_depend_on_umask_folder_time_zone_or_locale() {
    let (_, here) = Bench::new().pack(tree());
    for umask in ["000", "077", "027"] {
        let bench = Bench::new();
        let run = Command::new("sh")
            .args([
                "-c",
                &format!(
                    "umask {umask} && exec \"$0\" another_process_packs_into_the_given_folder"
                ),
            ])
            .arg(std::env::current_exe().unwrap())
            .current_dir(bench.0.path())
            .env("OVERLAY_TEST_FOLDER", bench.0.path())
            .env("TZ", "Pacific/Kiritimati")
            .env("LC_ALL", "de_DE.UTF-8")
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stdout)
        );
        assert_eq!(
            fs::read(bench.path("overlay.tar.gz")).unwrap(),
            here,
            "umask {umask}"
        );
    }
}

/// Pins the archive's bytes. A change to the bytes changes every image, and must be deliberate.
#[test]
fn every_machine_produces_the_same_bytes() {
    let (packed, _) = Bench::new().pack(tree());
    assert_eq!(
        packed.sha256.to_string(),
        "e844049195c348d4a2e86e1ea88b391cdadaada61b3cf821e7bbd5449b8bc359"
    );
}

#[test]
fn gzip_and_tar_read_the_members_as_one_archive() {
    let bench = Bench::new();
    bench.pack(tree());
    let out = bench.path("overlay.tar.gz");
    let gzip = Command::new("gzip")
        .arg("-t")
        .stdin(File::open(&out).unwrap())
        .output()
        .unwrap();
    assert!(gzip.status.success() && gzip.stderr.is_empty(), "{gzip:?}");
    let tar = Command::new("tar")
        .args(["--numeric-owner", "--utc", "-tvzf"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
    let text = String::from_utf8(tar.stdout).unwrap();
    assert!(text.contains("drwxr-x--- 0/997"), "{text}");
    assert!(
        text.contains("2023-11-14 22:13 usr/local/bin/etcd"),
        "{text}"
    );
}

fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    let name = "[a-z]{1,3}(/[a-zé.]{2,40}x){0,3}";
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..1500),
        (any::<u32>(), 0usize..400_000).prop_map(|(seed, size)| large(seed, size)),
    ];
    let kind = prop_oneof![
        4 => content.prop_map(|bytes| Kind::File(Content::Bytes(bytes))),
        1 => Just(Kind::Dir),
    ];
    let one = (name, 0u32..0o10_000, 0u32..2_097_152, 0u32..2_097_152, kind);
    let entry = one.prop_map(|(path, mode, uid, gid, kind)| Entry {
        path: path.parse().unwrap(),
        mode,
        uid,
        gid,
        kind,
    });
    prop::collection::vec(entry, 0..12).prop_filter("one archive", |entries| {
        super::sort::sort(entries.clone()).is_ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tree_is_unpacked_unchanged(entries in any_entries(), mtime in 0u64..1 << 33) {
        let bench = Bench::new();
        let out = bench.path("out");
        pack(entries.clone(), mtime, &bench.path("cache"), &out).unwrap();
        let mut wanted = Listing::new();
        for entry in entries {
            let path = entry.path.to_string();
            let (path, kind, content) = match entry.kind {
                Kind::File(Content::Bytes(bytes)) => (path, b'0', bytes),
                Kind::Dir => (format!("{path}/"), b'5', Vec::new()),
                Kind::File(_) => unreachable!("all content is in memory"),
            };
            wanted.insert(path, (kind, entry.mode, entry.uid.into(), entry.gid.into(), mtime, content));
        }
        prop_assert!(listing(&fs::read(out).unwrap()) == wanted);
    }
}
