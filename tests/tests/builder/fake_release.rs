//! A stand-in for etcd's own release. The stand-in has the same layout, but contains small programs
//! that cannot run.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};
use tests::etcd;

/// The stand-in's version. Upstream never released this version, so no table of known digests
/// contains it.
pub(crate) const VERSION: &str = "3.5.99";

pub(crate) const FOLDER: &str = "v3.5.99";

pub(crate) const TARBALL: &str = "v3.5.99/etcd-v3.5.99-linux-amd64.tar.gz";

/// The path of SHA256SUMS in a mirror. This file contains the tarball's digest.
pub(crate) const SUMS: &str = "v3.5.99/SHA256SUMS";

/// The size of the programs. The builder does not accept a program smaller than 1 MiB as a program
/// of etcd.
pub(crate) const SIZE: usize = (1 << 20) + 4096;

/// An entry of a tarball.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The path of the entry, which is written unchanged.
    pub(crate) path: String,
    pub(crate) kind: EntryType,
    /// The content of the entry.
    pub(crate) bytes: Vec<u8>,
}

/// Returns the entries of a good release with programs of this size.
pub(crate) fn parts(size: usize) -> Vec<Part> {
    let part = |name: &str, kind, bytes| Part {
        path: format!("etcd-v{VERSION}-linux-amd64/{name}"),
        kind,
        bytes,
    };
    let mut parts = vec![part("", EntryType::Directory, Vec::new())];
    for (seed, name) in (1..).zip(etcd::PROGRAMS) {
        parts.push(part(name, EntryType::Regular, program(seed, size)));
    }
    parts
}

pub(crate) fn part<'a>(parts: &'a mut [Part], name: &str) -> &'a mut Part {
    let end = format!("/{name}");
    parts
        .iter_mut()
        .find(|part| part.path.ends_with(&end))
        .expect("the release contains an entry with this name")
}

/// Returns the header of a static x86-64 program with a single segment, followed by noise that
/// cannot be compressed.
pub(crate) fn program(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size);
    let length = size as u64;
    // The ELF header without sections (e_ident, ET_EXEC, EM_X86_64, version, entry, program
    // headers), and then one segment, which is readable and executable.
    bytes.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [0x40_1000u64, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    bytes.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, 0x40_0000, 0x40_0000, length, length, 0x1000] {
        bytes.extend(word.to_le_bytes());
    }
    let mut noise = seed;
    while bytes.len() < size {
        // This is one step of splitmix64.
        noise = noise.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (noise ^ (noise >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bytes.extend(
            (mixed ^ (mixed >> 27))
                .wrapping_mul(0x94d0_49bb_1331_11eb)
                .to_le_bytes(),
        );
    }
    bytes.truncate(size);
    bytes
}

/// Writes the release into a mirror: its tarball and SHA256SUMS. Returns the tarball's digest.
pub(crate) fn write(mirror: &Path, parts: &[Part]) -> Result<String> {
    let path = mirror.join(TARBALL);
    fs::create_dir_all(mirror.join(FOLDER))
        .with_context(|| format!("cannot make {}", mirror.display()))?;
    tarball(&path, parts).with_context(|| format!("cannot write {}", path.display()))?;
    let digest = etcd::sha256(&path)?;
    sums(mirror, &digest)?;
    Ok(digest)
}

/// Writes a SHA256SUMS that contains this digest for the tarball.
pub(crate) fn sums(mirror: &Path, digest: &str) -> Result<()> {
    let path = mirror.join(SUMS);
    fs::write(&path, format!("{digest}  {}\n", etcd::file_name(VERSION)))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn tarball(path: &Path, parts: &[Part]) -> io::Result<()> {
    let gzip = GzBuilder::new().write(File::create(path)?, Compression::none());
    let mut tar = Builder::new(gzip);
    for part in parts {
        let mut header = Header::new_ustar();
        header.set_entry_type(part.kind);
        header.set_mode(0o755);
        header.set_mtime(0);
        header.set_size(part.bytes.len() as u64);
        // Do not use set_path, because some tests need a tarball with invalid paths, which set_path
        // refuses.
        header.as_old_mut().name[..part.path.len()].copy_from_slice(part.path.as_bytes());
        header.set_cksum();
        tar.append(&header, &part.bytes[..])?;
    }
    tar.into_inner()?.finish()?.flush()
}

/// Makes a stand-in for firstboot.
pub(crate) fn firstboot(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("firstboot");
    fs::write(&path, program(99, 300 << 10))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
