//! A release's tarball in upstream's layout, with the same bytes every time.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::digest::sha256;
use super::programs::PROGRAMS;

const README: &str = "An etcd release put together for tests, in the layout of upstream's own.\n";

/// Writes the tarball and returns its sha256. The order, times, owners and modes of the files are
/// fixed, as are the gzip header and level. Cargo.lock pins the crate of the compressor, so the
/// compressed bytes do not change.
pub(super) fn write(path: &Path, version: &str, binaries: &Path) -> Result<String> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(file, Compression::new(6));
    let mut tar = Builder::new(gzip);
    let top = top_folder(version);
    add(
        &mut tar,
        &format!("{top}/"),
        EntryType::Directory,
        0o755,
        &[],
    )?;
    add(
        &mut tar,
        &format!("{top}/README.md"),
        EntryType::Regular,
        0o644,
        README.as_bytes(),
    )?;
    for program in PROGRAMS {
        let binary = binaries.join(program);
        if binary.exists() {
            let bytes =
                fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
            add(
                &mut tar,
                &format!("{top}/{program}"),
                EntryType::Regular,
                0o755,
                &bytes,
            )?;
        }
    }
    tar.into_inner()
        .and_then(flate2::write::GzEncoder::finish)
        .and_then(|mut file| file.flush())
        .with_context(|| format!("cannot finish {}", path.display()))?;
    sha256(path)
}

fn add(
    tar: &mut Builder<impl std::io::Write>,
    name: &str,
    kind: EntryType,
    mode: u32,
    bytes: &[u8],
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, name, bytes)
        .with_context(|| format!("cannot add {name}"))
}

pub(super) fn top_folder(version: &str) -> String {
    format!("etcd-v{version}-linux-amd64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_programs_make_the_same_tarball() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut digests = Vec::new();
        for name in ["one", "two"] {
            let binaries = folder.path().join(name);
            fs::create_dir(&binaries)?;
            // 3.4 does not include etcdutl.
            for program in ["etcdctl", "etcd"] {
                fs::write(binaries.join(program), program.repeat(1000))?;
            }
            digests.push(write(
                &folder.path().join(format!("{name}.tar.gz")),
                "3.4.23",
                &binaries,
            )?);
        }
        assert_eq!(digests[0], digests[1]);
        Ok(())
    }
}
