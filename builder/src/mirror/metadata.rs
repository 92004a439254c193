//! The two files that list a repository's content: `repomd.xml` lists the metadata files, and the
//! metadata file `primary` lists the packages.

use std::collections::BTreeMap;
use std::io::Read;

use recipes::Sha256;

use super::path::RelativePath;
use super::xml::{self, MetadataError, Node, Tag};

/// The maximum number of metadata files. CentOS's repositories have 8 metadata files.
const MAX_METADATA: usize = 64;
/// The maximum number of packages. The largest repositories have tens of thousands of packages.
const MAX_PACKAGES: usize = 200_000;
/// The maximum size of a repomd.xml, which usually has a few thousand bytes.
pub(super) const MAX_REPOMD_BYTES: u64 = 1 << 20;
/// The maximum size of a file, which is far larger than any package, and small enough that the sum
/// of all sizes cannot overflow.
const MAX_FILE_BYTES: u64 = 1 << 40;
/// The folder of a repository's metadata.
const FOLDER: &str = "repodata";

/// A file that a repository or a tree lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedFile {
    pub(super) path: RelativePath,
    pub(super) sha256: Sha256,
    /// The size, if it is listed.
    pub(super) size: Option<u64>,
}

/// The metadata files that a repomd.xml lists.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) files: Vec<ListedFile>,
    /// The metadata file that lists the packages.
    pub(super) primary: ListedFile,
}

/// An entry that has been read only partly.
#[derive(Debug, Default)]
struct Draft {
    kind: String,
    href: Option<String>,
    checksum_kind: String,
    checksum: String,
    size: Option<u64>,
}

impl Draft {
    /// Records the path in a `location` element. Refuses a base address, because the mirror does
    /// not contain files at other addresses.
    fn locate(&mut self, tag: &Tag<'_>) -> Result<(), String> {
        if let Some(base) = tag.attribute("xml:base") {
            return Err(format!(
                "a file is at another address ({base:?}), from which the builder does not copy files: name the repository that contains the file"
            ));
        }
        self.href = tag.attribute("href");
        Ok(())
    }

    fn complete(self, what: &str) -> Result<ListedFile, String> {
        let href = self.href.ok_or_else(|| format!("{what} has no location"))?;
        let path: RelativePath = href.parse()?;
        if self.checksum_kind != "sha256" {
            return Err(format!(
                "{path} has a checksum of type {:?}: only sha256 is accepted",
                self.checksum_kind
            ));
        }
        if self.size.is_some_and(|size| size > MAX_FILE_BYTES) {
            return Err(format!("{path} has more than {MAX_FILE_BYTES} bytes"));
        }
        let sha256 = self.checksum.parse();
        let sha256 = sha256.map_err(|error| format!("{path}: {error}"))?;
        Ok(ListedFile {
            path,
            sha256,
            size: self.size,
        })
    }
}

/// Reads a repomd.xml.
pub(super) fn read_repomd(bytes: &[u8]) -> Result<Metadata, MetadataError> {
    let (mut files, mut primary) = (Vec::new(), None);
    let mut draft: Option<Draft> = None;
    let mut is_repomd = false;
    xml::read(bytes, MAX_REPOMD_BYTES, |node| {
        match (node, &mut draft) {
            (Node::Start(1, tag), _) => is_repomd = tag.name() == "repomd",
            (Node::Start(2, tag), _) if tag.name() == "data" => {
                draft = Some(Draft {
                    kind: tag.attribute("type").unwrap_or_default(),
                    ..Draft::default()
                });
            }
            (Node::Start(3, tag), Some(draft)) => match tag.name().as_str() {
                "location" => draft.locate(tag)?,
                "checksum" => draft.checksum_kind = tag.attribute("type").unwrap_or_default(),
                _ => {}
            },
            (Node::End(3, "checksum", text), Some(draft)) => text.clone_into(&mut draft.checksum),
            (Node::End(3, "size", text), Some(draft)) => draft.size = text.parse().ok(),
            (Node::End(2, "data", _), _) => {
                let done = draft.take().unwrap_or_default();
                let kind = done.kind.clone();
                let file = done.complete(&format!("the metadata of type {kind:?}"))?;
                if file.path.names().next() != Some(FOLDER) || file.path.names().count() != 2 {
                    return Err(format!("{} is not in {FOLDER}/", file.path));
                }
                if file.path.as_str() == "repodata/repomd.xml" {
                    return Err("it lists itself".to_owned());
                }
                if kind == "primary" {
                    primary = Some(file.clone());
                }
                add(&mut files, file, MAX_METADATA)?;
            }
            _ => {}
        }
        Ok(())
    })?;
    let whole = |problem: &str| MetadataError::new(problem, bytes.len() as u64);
    if !is_repomd {
        return Err(whole("it is not a repomd.xml"));
    }
    let primary = primary.ok_or_else(|| whole("it lists no metadata of type \"primary\""))?;
    Ok(Metadata { files, primary })
}

fn add(files: &mut Vec<ListedFile>, file: ListedFile, limit: usize) -> Result<(), String> {
    if files.len() == limit {
        return Err(format!("it lists more than {limit} files"));
    }
    match files.iter().find(|other| other.path == file.path) {
        Some(other) if *other != file => return Err(contradiction(&file.path)),
        Some(_) => {}
        None => files.push(file),
    }
    Ok(())
}

fn contradiction(path: &RelativePath) -> String {
    format!("{path} is listed twice, with different digests or sizes")
}

/// Reads a decompressed `primary` file of at most `limit` bytes.
pub(super) fn read_primary(input: impl Read, limit: u64) -> Result<Vec<ListedFile>, MetadataError> {
    let mut packages: BTreeMap<RelativePath, (Sha256, Option<u64>)> = BTreeMap::new();
    let mut draft: Option<Draft> = None;
    let mut is_primary = false;
    xml::read(input, limit, |node| {
        match (node, &mut draft) {
            (Node::Start(1, tag), _) => is_primary = tag.name() == "metadata",
            (Node::Start(2, tag), _) if tag.name() == "package" => draft = Some(Draft::default()),
            (Node::Start(3, tag), Some(draft)) => match tag.name().as_str() {
                "location" => draft.locate(tag)?,
                "checksum" => draft.checksum_kind = tag.attribute("type").unwrap_or_default(),
                "size" => draft.size = tag.attribute("package").and_then(|size| size.parse().ok()),
                _ => {}
            },
            (Node::End(3, "checksum", text), Some(draft)) => text.clone_into(&mut draft.checksum),
            (Node::End(3, "name", text), Some(draft)) => text.clone_into(&mut draft.kind),
            (Node::End(2, "package", _), _) => {
                let done = draft.take().unwrap_or_default();
                let name = format!("the package {:?}", done.kind);
                let file = done.complete(&name)?;
                let is_package = file.path.is_package() && file.path.names().next() != Some(FOLDER);
                if !is_package {
                    return Err(format!("{} is not the path of a package (.rpm)", file.path));
                }
                if file.size.is_none() {
                    return Err(format!("{name} has no size"));
                }
                let about = (file.sha256, file.size);
                match packages.get(&file.path) {
                    Some(other) if *other != about => return Err(contradiction(&file.path)),
                    _ if packages.len() == MAX_PACKAGES => {
                        return Err(format!("it lists more than {MAX_PACKAGES} packages"));
                    }
                    _ => packages.insert(file.path, about),
                };
            }
            _ => {}
        }
        Ok(())
    })?;
    if !is_primary {
        return Err(MetadataError::new("it is not a list of packages", 0));
    }
    let listed = |(path, (sha256, size))| ListedFile { path, sha256, size };
    Ok(packages.into_iter().map(listed).collect())
}

#[cfg(test)]
mod tests;
