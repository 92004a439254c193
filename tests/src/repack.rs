//! Makes an image as a different builder would: the overlay of the last build with some changed
//! files, and a release signed with the cluster's own key. Tests use this module for releases that
//! the builder does not make: releases with an etcd that was built on the test machine, with an
//! etcd that exits, or with an arbitrary serial.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use recipes::image_release::{RELEASE_TYPE, ReleaseDocument};
use recipes::{Envelope, ImageFile, ImageFileList, ReleasedFile, Sha256, SigningKey};

use crate::etcd::{self, PROGRAMS};
use crate::host::Host;
use crate::run;

/// The unpacked overlay of a build.
#[derive(Debug)]
pub struct Repack {
    out: PathBuf,
    root: PathBuf,
    release: ReleaseDocument,
    version: recipes::EtcdVersion,
}

const FILE_LIST: &str = "etc/firstboot/image.json";
const SUMS: &str = "etc/firstboot/SHA256SUMS";

impl Repack {
    /// Unpacks the overlay of an output.
    pub fn of(out: &Path) -> Result<Self> {
        let root = run::current()?.folder("repacked")?;
        let overlay = out.join("image/overlay.tar.gz");
        unpack(&overlay, &root)?;
        let release = read(out)?;
        Ok(Self {
            out: out.to_owned(),
            root,
            version: release.etcd,
            release,
        })
    }

    /// Returns the path of a file in the unpacked overlay, so that a test can change the file.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Replaces the overlay's etcd with the programs of the given release, and records the
    /// release's version.
    pub fn etcd(&mut self, version: &str) -> Result<()> {
        for program in PROGRAMS {
            let (from, to) = (
                etcd::binaries(version)?.join(program),
                self.path(&format!("usr/local/bin/{program}")),
            );
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        self.claim_etcd(version)
    }

    /// Records this version of etcd in the overlay, without changing the programs.
    pub fn claim_etcd(&mut self, version: &str) -> Result<()> {
        let path = self.path("etc/firstboot/cluster.json");
        let mut cluster: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
        cluster["etcd"]["version"] = version.into();
        fs::write(&path, serde_json::to_vec(&cluster)?)?;
        self.version = version.parse()?;
        Ok(())
    }

    /// Packs the overlay again as the release with this serial, and replaces the build's overlay
    /// and release document.
    pub fn pack(self, serial: u64, key: &SigningKey) -> Result<()> {
        self.write_file_list()?;
        let overlay = self.out.join("image/overlay.tar.gz");
        fs::remove_file(&overlay)?;
        // Do not compress the archive, because no test depends on its size.
        let file = GzEncoder::new(File::create(&overlay)?, Compression::none());
        let mut archive = tar::Builder::new(file);
        archive.follow_symlinks(false);
        for folder in ["etc", "usr"] {
            archive.append_dir_all(folder, self.root.join(folder))?;
        }
        archive.into_inner()?.finish()?;
        let bytes = fs::read(&overlay)?;
        let file = ReleasedFile {
            size: bytes.len() as u64,
            sha256: Sha256::of(&bytes),
        };
        let cluster = self.release.cluster.clone();
        let base = self.release.base_parts.clone();
        let release = ReleaseDocument::new(cluster, serial, file.sha256, file, self.version, base);
        write(&self.out, &release, key)
    }

    /// Writes the file list and the checksums of the overlay's current content.
    fn write_file_list(&self) -> Result<()> {
        let mut files = Vec::new();
        walk(&self.root, &self.root, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let sums: String = files
            .iter()
            .map(|file| format!("{}  {}\n", file.sha256, file.path))
            .collect::<Vec<_>>()
            .concat();
        fs::write(self.path(SUMS), sums)?;
        fs::write(
            self.path(FILE_LIST),
            serde_json::to_vec(&ImageFileList { files })?,
        )?;
        Ok(())
    }
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<ImageFile>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let about = fs::symlink_metadata(&path)?;
        let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
        if about.is_dir() {
            walk(root, &path, files)?;
        } else if name != FILE_LIST && name != SUMS {
            let bytes = fs::read(&path)?;
            files.push(ImageFile {
                mode: about.permissions().mode() & 0o7777,
                uid: about.uid(),
                gid: about.gid(),
                size: bytes.len() as u64,
                sha256: Sha256::of(&bytes),
                mutable: name == "etc/hosts",
                path: name,
            });
        }
    }
    Ok(())
}

/// Installs the files of an output's overlay on an installed machine that is off, and records the
/// overlay as installed. The installer would refuse this overlay, because the kickstart contains
/// the digest of the builder's overlay.
pub fn install(out: &Path, host: &Host) -> Result<()> {
    unpack(&out.join("image/overlay.tar.gz"), &host.root())?;
    let overlay = read(out)?.overlay.sha256;
    host.write("/etc/firstboot/installed", format!("{overlay}\n"), 0o644)
}

/// Unpacks an overlay with the owners and modes of its files.
fn unpack(overlay: &Path, root: &Path) -> Result<()> {
    let file = File::open(overlay).with_context(|| format!("cannot open {}", overlay.display()))?;
    let mut archive = tar::Archive::new(MultiGzDecoder::new(file));
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive
        .unpack(root)
        .with_context(|| format!("cannot unpack {}", overlay.display()))
}

/// Returns the release document that is part of an output.
pub fn read(out: &Path) -> Result<ReleaseDocument> {
    let path = out.join("release.json");
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let envelope: Envelope = serde_json::from_slice(&text)?;
    Ok(serde_json::from_slice(&envelope.unverified()?)?)
}

/// Signs a release document, and replaces the output's release document with the signed document.
pub fn write(out: &Path, release: &ReleaseDocument, key: &SigningKey) -> Result<()> {
    let envelope = key.sign(RELEASE_TYPE, &serde_json::to_vec(release)?);
    fs::write(out.join("release.json"), serde_json::to_vec(&envelope)?)
        .context("cannot write the release")
}
