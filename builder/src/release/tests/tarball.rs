//! Tarballs of releases, good and bad.

use std::io::Write as _;

use tar::{EntryType, Header};

use super::super::address;
use super::super::contents::Program;
use super::version;
use crate::elf::test_elf::TestElf;

/// A tarball that is being built.
pub(super) struct Tarball(Vec<u8>);

impl Tarball {
    /// Returns a tarball with only the top-level folder, which is empty.
    pub(super) fn empty() -> Self {
        Self(Vec::new()).folder("")
    }

    /// Returns a tarball like upstream's, with the programs and a README.
    pub(super) fn good() -> Self {
        let all = Program::of(version())
            .iter()
            .fold(Self::empty(), |tarball, program| {
                tarball.program(program.name())
            });
        all.file("README.md", b"# etcd\n", 0o644)
            .folder("Documentation/")
    }

    /// Adds a program of a plausible size.
    pub(super) fn program(self, name: &str) -> Self {
        self.file(name, &TestElf::fixed().bytes(1 << 20), 0o755)
    }

    pub(super) fn file(self, name: &str, bytes: &[u8], mode: u32) -> Self {
        self.raw(&inside(name), EntryType::Regular, bytes, mode)
    }

    pub(super) fn folder(self, name: &str) -> Self {
        self.raw(&inside(name), EntryType::Directory, b"", 0o755)
    }

    /// Adds an entry with exactly this path, even if tar libraries refuse to write the path.
    pub(super) fn raw(mut self, path: &str, kind: EntryType, bytes: &[u8], mode: u32) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("etcd").unwrap();
        }
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Adds an entry whose header states this size and whose body is missing.
    pub(super) fn claim(mut self, name: &str, size: u64) -> Self {
        let mut header = Header::new_ustar();
        header.set_path(inside(name)).unwrap();
        header.set_mode(0o755);
        header.set_size(size);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self
    }

    /// Returns the finished archive, compressed with gzip.
    pub(super) fn gzip(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        out.write_all(&self.0).unwrap();
        out.finish().unwrap()
    }
}

fn inside(name: &str) -> String {
    format!("{}/{name}", address::top(version()))
}
