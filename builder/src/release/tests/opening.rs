//! Tests of the contents that a tarball with the right digest may have.

use std::os::unix::fs::PermissionsExt as _;

use tar::EntryType;

use super::super::contents::{Problem, Program};
use super::tarball::Tarball;
use super::*;
use crate::elf::test_elf::TestElf;

impl Bench {
    /// Opens a verified tarball with these bytes.
    fn open(&self, bytes: &[u8]) -> Result<Binaries, ReleaseError> {
        let tarball = self.cache().join("given.tar.gz");
        std::fs::write(&tarball, bytes).unwrap();
        let evidence = Evidence {
            origin: Origin::File,
            in_table: false,
            sums: Sums::NotAsked,
        };
        let release = Release {
            tarball,
            sha256: Sha256::of(bytes),
            size: bytes.len() as u64,
            evidence,
        };
        open(&release, version(), self.cache(), |_| None, &self.said)
    }

    fn problem(&self, tarball: Tarball) -> (String, Problem) {
        let result = self.open(&tarball.gzip());
        assert_eq!(self.files(), [""; 0], "something was left behind");
        match result {
            Err(ReleaseError::Contents { entry, problem, .. }) => (entry, problem),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_good_release_is_unpacked_once_and_verified_later() {
    let (bench, bytes) = (Bench::new(), Tarball::good().gzip());
    let first = bench.open(&bytes).unwrap();
    let names: Vec<_> = first.iter().map(|binary| binary.program.name()).collect();
    assert_eq!(names, ["etcd", "etcdctl", "etcdutl"]);
    for binary in first.iter() {
        let found = std::fs::read(&binary.path).unwrap();
        assert_eq!(
            (Sha256::of(&found), found.len() as u64),
            (binary.sha256, binary.size)
        );
        assert_eq!(
            std::fs::metadata(&binary.path)
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o755
        );
    }
    // The programs are in the cache now, so the next call does not read the tarball.
    std::fs::write(bench.cache().join("given.tar.gz"), "gone").unwrap();
    let evidence = Evidence {
        origin: Origin::File,
        in_table: false,
        sums: Sums::NotAsked,
    };
    let tarball = bench.cache().join("given.tar.gz");
    let release = Release {
        tarball,
        sha256: Sha256::of(&bytes),
        size: 0,
        evidence,
    };
    assert_eq!(
        open(&release, version(), bench.cache(), |_| None, &bench.said).unwrap(),
        first
    );
}

#[test]
fn a_damaged_unpacked_program_is_unpacked_again() {
    let (bench, bytes) = (Bench::new(), Tarball::good().gzip());
    let first = bench.open(&bytes).unwrap();
    let path = &first.iter().next().unwrap().path;
    let good = std::fs::read(path).unwrap();
    let mut damaged = good.clone();
    damaged[1000] ^= 1;
    std::fs::write(path, damaged).unwrap();
    assert_eq!(bench.open(&bytes).unwrap(), first);
    assert_eq!(std::fs::read(path).unwrap(), good);
    assert!(
        bench.said().contains("unpacking the release again"),
        "{}",
        bench.said()
    );
}

#[test]
fn the_leftovers_of_a_killed_builder_are_removed() {
    let (bench, bytes) = (Bench::new(), Tarball::good().gzip());
    let left = bench
        .cache()
        .join(format!("releases/{}.unpacking", Sha256::of(&bytes)));
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("etcd"), "half").unwrap();
    bench.open(&bytes).unwrap();
    assert!(!left.exists());
}

#[test]
fn paths_out_of_the_top_level_folder_are_refused() {
    let bench = Bench::new();
    for path in [
        "etcd-v3.5.1-linux-amd64/../../etc/passwd",
        "../etcd",
        "/etc/passwd",
        "etcd-v3.5.1-linux-amd64//etcd",
        "./etcd-v3.5.1-linux-amd64/etcd",
        "etcd-v3.5.1-linux-amd64/a\nb",
    ] {
        let (entry, problem) =
            bench.problem(Tarball::empty().raw(path, EntryType::Regular, b"x", 0o644));
        assert_eq!(problem, Problem::Escapes, "{path}");
        assert_eq!(entry, path.escape_debug().to_string());
    }
    for path in [
        "etcd-v3.5.2-linux-amd64/etcd",
        "etcd",
        "etcd-v3.5.1-linux-amd64x/etcd",
    ] {
        let (_, problem) =
            bench.problem(Tarball::empty().raw(path, EntryType::Regular, b"x", 0o644));
        assert!(matches!(problem, Problem::Outside(_)), "{path}: {problem}");
    }
}

#[test]
fn only_files_and_folders_are_accepted() {
    let bench = Bench::new();
    for (kind, says) in [
        (EntryType::Symlink, "a symbolic link"),
        (EntryType::Link, "a hard link"),
        (EntryType::Char, "a character device"),
        (EntryType::Block, "a block device"),
        (EntryType::Fifo, "a named pipe"),
        (EntryType::new(b'Z'), "unknown type"),
    ] {
        let (entry, problem) =
            bench.problem(Tarball::empty().raw("etcd-v3.5.1-linux-amd64/odd", kind, b"", 0o644));
        assert_eq!(entry, "etcd-v3.5.1-linux-amd64/odd");
        assert!(problem.to_string().contains(says), "{problem}");
    }
    let (_, problem) = bench.problem(Tarball::empty().folder("etcd"));
    assert_eq!(problem, Problem::NotPlain("a folder"));
}

#[test]
fn each_program_must_exist_once_and_be_a_program() {
    let bench = Bench::new();
    let (entry, problem) = bench.problem(Tarball::empty().program("etcd").program("etcdctl"));
    assert_eq!(
        (entry.as_str(), problem),
        ("etcd-v3.5.1-linux-amd64/etcdutl", Problem::Missing)
    );
    let (_, problem) = bench.problem(Tarball::good().program("etcd"));
    assert_eq!(problem, Problem::Twice);
    let elf = TestElf::fixed();
    let (_, problem) = bench.problem(Tarball::empty().file("etcd", &elf.bytes(1 << 20), 0o644));
    assert_eq!(problem, Problem::NotExecutable(0o644));
    let (_, problem) = bench.problem(Tarball::empty().file("etcd", b"#!/bin/sh\n", 0o755));
    assert_eq!(problem, Problem::Size(10));
    let (_, problem) = bench.problem(Tarball::empty().file("etcd", &noise(1 << 20), 0o755));
    assert!(
        problem.to_string().contains("not an ELF program"),
        "{problem}"
    );
    let (_, problem) =
        bench.problem(Tarball::empty().file("etcd", &elf.machine(183).bytes(1 << 20), 0o755));
    assert!(problem.to_string().contains("arm64"), "{problem}");
}

#[test]
fn etcd_3_4_has_no_etcdutl() {
    assert_eq!(
        Program::of("3.4.45".parse().unwrap()),
        [Program::Etcd, Program::Etcdctl]
    );
}

#[test]
fn a_decompression_bomb_is_refused_by_its_headers() {
    let bench = Bench::new();
    let (_, problem) = bench.problem(Tarball::empty().claim("etcd", 1 << 40));
    assert_eq!(problem, Problem::TooMuch);
    let many = (0..10_001).fold(Tarball::empty(), |tarball, nth| {
        tarball.file(&nth.to_string(), b"", 0o644)
    });
    assert_eq!(bench.problem(many).1, Problem::TooMany);
}

#[test]
fn a_tarball_that_cannot_be_read_to_its_end_is_named() {
    let bench = Bench::new();
    let good = Tarball::good().gzip();
    let mut wrong_sum = good.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    for bytes in [
        &good[..good.len() / 2],
        &good[..good.len() - 4],
        &wrong_sum,
        b"no gzip",
        b"",
    ] {
        let error = bench.open(bytes).unwrap_err();
        assert!(matches!(error, ReleaseError::Archive { .. }), "{error}");
        assert!(error.to_string().contains("given.tar.gz"), "{error}");
        assert_eq!(bench.files(), [""; 0]);
    }
}

#[test]
fn a_tarball_changed_after_it_was_verified_is_not_used() {
    let (bench, bytes) = (Bench::new(), Tarball::good().gzip());
    let tarball = bench.cache().join("given.tar.gz");
    std::fs::write(&tarball, &bytes).unwrap();
    let evidence = Evidence {
        origin: Origin::File,
        in_table: false,
        sums: Sums::NotAsked,
    };
    let release = Release {
        tarball,
        sha256: Sha256::of(b"verified"),
        size: 0,
        evidence,
    };
    let error = open(&release, version(), bench.cache(), |_| None, &bench.said).unwrap_err();
    assert!(matches!(error, ReleaseError::Changed { .. }), "{error}");
    assert_eq!(bench.files(), [""; 0]);
}
