//! Everything in the overlay: the rendered files, the user's files, the programs, the files that
//! firstboot reads, the file list of the image, and the folders that contain these files. This
//! module also creates the list for the manifest, so that the list cannot differ from the overlay.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;
use recipes::{ImageBase, ImageFile, ImageFileList, PublicKey, Recipe, Sha256};
use serde::Serialize;

use crate::files::UserFile;
use crate::manifest::{self, Mode, OverlayEntry};
use crate::overlay::{Content, Entry, Kind};
use crate::release::Binaries;
use crate::render;

/// Files of the overlay that the node itself changes later. firstboot does not compare the content
/// of these files.
const MUTABLE: [&str; 1] = ["etc/hosts"];

/// The contents of the overlay.
#[derive(Debug, Default)]
pub(crate) struct OverlayTree {
    /// The entries for the packer.
    pub(crate) entries: Vec<Entry>,
    /// The entries for the manifest.
    pub(crate) listed: Vec<OverlayEntry>,
}

impl OverlayTree {
    /// Builds the overlay of a recipe, with the user's files, etcd's programs and firstboot.
    pub(crate) fn new(
        recipe: &Recipe,
        user_files: Vec<UserFile>,
        binaries: &Binaries,
        firstboot: Content,
        trust: PublicKey,
        base: &ImageBase,
    ) -> Result<Self> {
        let mut tree = Self::default();
        for file in render::overlay(recipe)? {
            tree.file(
                &file.path,
                file.mode,
                Content::Bytes(file.content.into_bytes()),
            )?;
        }
        for file in user_files {
            tree.owned_file(
                &file.path,
                file.mode,
                file.owner,
                Content::Bytes(file.bytes),
            )?;
        }
        tree.file(
            "etc/firstboot/cluster.json",
            0o644,
            Content::Bytes(json(&recipe.cluster_document())?),
        )?;
        tree.file(
            "etc/firstboot/trust.pub",
            0o644,
            Content::Bytes(trust_file(&trust).into_bytes()),
        )?;
        tree.file(
            "etc/firstboot/base.json",
            0o644,
            Content::Bytes(json(base)?),
        )?;
        tree.file("usr/local/bin/firstboot", 0o755, firstboot)?;
        for binary in binaries.iter() {
            let source = Content::Verified {
                path: binary.path.clone(),
                sha256: binary.sha256,
                size: binary.size,
            };
            tree.file(
                &format!("usr/local/bin/{}", binary.program.name()),
                0o755,
                source,
            )?;
        }
        tree.add_file_list()?;
        tree.folders()?;
        Ok(tree)
    }

    fn file(&mut self, path: &str, mode: u32, source: Content) -> Result<()> {
        self.owned_file(path, mode, 0, source)
    }

    fn owned_file(&mut self, path: &str, mode: u32, owner: u32, source: Content) -> Result<()> {
        let (sha256, size) = match &source {
            Content::Bytes(bytes) => (Sha256::of(bytes), bytes.len() as u64),
            Content::Verified { sha256, size, .. } => (*sha256, *size),
        };
        self.add(path, mode, owner, Kind::File(source), Some((sha256, size)))
    }

    fn add(
        &mut self,
        path: &str,
        mode: u32,
        owner: u32,
        kind: Kind,
        content: Option<(Sha256, u64)>,
    ) -> Result<()> {
        self.entries.push(Entry {
            path: path.parse()?,
            mode,
            uid: owner,
            gid: owner,
            kind,
        });
        self.listed.push(OverlayEntry {
            path: path.to_owned(),
            kind: if content.is_some() {
                manifest::Kind::File
            } else {
                manifest::Kind::Folder
            },
            mode: Mode(mode),
            uid: owner.into(),
            gid: owner.into(),
            size: content.map(|(_, size)| size),
            sha256: content.map(|(sha256, _)| sha256),
        });
        Ok(())
    }

    /// Adds the file list in two forms: JSON for firstboot, and text for `sha256sum -c`, which the
    /// kickstart runs. With the file list, the node checks the files of the overlay.
    fn add_file_list(&mut self) -> Result<()> {
        let listed_file = |entry: &OverlayEntry| {
            let (sha256, size) = (entry.sha256?, entry.size?);
            let mutable = MUTABLE.contains(&entry.path.as_str());
            // The conversion cannot fail, because both ids were u32 values when the entry was
            // created.
            let (uid, gid) = (
                u32::try_from(entry.uid).ok()?,
                u32::try_from(entry.gid).ok()?,
            );
            Some(ImageFile {
                path: entry.path.clone(),
                mode: entry.mode.0,
                uid,
                gid,
                size,
                sha256,
                mutable,
            })
        };
        let mut files: Vec<_> = self.listed.iter().filter_map(listed_file).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut sums = String::new();
        for file in &files {
            writeln!(sums, "{}  {}", file.sha256, file.path)?;
        }
        self.file(
            "etc/firstboot/image.json",
            0o644,
            Content::Bytes(json(&ImageFileList { files })?),
        )?;
        self.file(
            "etc/firstboot/SHA256SUMS",
            0o644,
            Content::Bytes(sums.into_bytes()),
        )
    }

    /// Adds every folder above the files, with its mode. On the node, tar does not change a folder
    /// that the base system already has.
    fn folders(&mut self) -> Result<()> {
        let paths: BTreeSet<String> = self
            .entries
            .iter()
            .flat_map(|file| file.path.above())
            .map(str::to_owned)
            .collect();
        for path in paths {
            let mode = render::modes()
                .find(|(_, named)| *named == path)
                .map_or(0o755, |(mode, _)| mode);
            self.add(&path, mode, 0, Kind::Dir, None)?;
        }
        Ok(())
    }
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

/// Returns the content of the file with the cluster's public key.
pub(crate) fn trust_file(trust: &PublicKey) -> String {
    format!("{trust}\n")
}
