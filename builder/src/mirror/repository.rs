//! The contents of a repository or a tree. This module reads the repository's lists, and compares
//! them with the mirror.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use flate2::read::MultiGzDecoder;
use recipes::Sha256;

use super::folder::{Folder, Status};
use super::metadata::{self, ListedFile, Metadata};
use super::path::RelativePath;
use super::record::RecordedRepository;
use super::source::Source;
use super::treeinfo::{self, TreeInfo};
use crate::release::{Fetch, MirrorError};

/// The maximum size of a decompressed `primary` file. The `primary` file of CentOS 7.9's updates
/// has 100 MB.
const MAX_PRIMARY_BYTES: u64 = 2 << 30;
/// The compression formats that the builder cannot read, each with the first bytes of a compressed
/// file and the name of the format.
const OTHER_COMPRESSIONS: [(&[u8], &str); 3] = [
    (b"\xfd7zXZ", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
];

/// A repository and all files that it lists.
#[derive(Debug)]
pub(super) struct Repository<'a> {
    pub(super) source: Source<'a>,
    /// All files except the lists themselves.
    pub(super) files: Vec<ListedFile>,
    /// The number of packages among the files, and their total size.
    pub(super) packages: (usize, u64),
    /// The repository's repomd.xml, which lists the metadata files. Lists are written last, so that
    /// they never list a missing file.
    pub(super) repomd: FileListing,
    /// The tree's `.treeinfo`, if the repository is a tree.
    pub(super) treeinfo: Option<FileListing>,
    /// The digests of the tree's images for which `.treeinfo` lists no digest.
    pub(super) images: BTreeMap<String, Sha256>,
    /// The sizes of the files that were downloaded while the lists were read: the list of packages,
    /// and the installer's images without a listed digest.
    pub(super) downloaded: Vec<u64>,
}

impl Repository<'_> {
    /// Returns the repository's lists.
    pub(super) fn lists(&self) -> impl Iterator<Item = &FileListing> {
        std::iter::once(&self.repomd).chain(&self.treeinfo)
    }
}

/// A list of files, with its content.
#[derive(Debug)]
pub(super) struct FileListing {
    pub(super) path: RelativePath,
    pub(super) bytes: Vec<u8>,
    /// Whether the mirror already contains this list.
    pub(super) is_present: bool,
}

impl FileListing {
    /// Returns the digest of the list.
    pub(super) fn sha256(&self) -> Sha256 {
        Sha256::of(&self.bytes)
    }
}

/// The files of a repository that must be downloaded, and the number of files that are present.
#[derive(Debug, Default)]
pub(super) struct MissingFiles {
    pub(super) wanted: Vec<ListedFile>,
    /// The number of wanted files that the mirror contains, but with wrong content.
    pub(super) wrong: usize,
    pub(super) present: usize,
    /// The total size of the wanted files whose size is known.
    pub(super) bytes: u64,
}

/// Reads repositories, and compares them with the mirror.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) fetch: Fetch<'a>,
    pub(super) folder: &'a Folder,
    /// If this field is true, lists without a pinned digest are downloaded even if the mirror
    /// already contains them.
    pub(super) refresh: bool,
}

impl Reader<'_> {
    /// Reads the lists of a repository. Downloads a list unless the mirror's folder contains the
    /// list with the expected digest. Also downloads each image of the installer whose digest
    /// neither `.treeinfo` nor the last run provides. `recorded` contains the digests from the last
    /// run.
    pub(super) fn read<'s>(
        &self,
        source: Source<'s>,
        is_tree: bool,
        recorded: Option<&RecordedRepository>,
    ) -> Result<Repository<'s>> {
        let known = recorded.map(|recorded| recorded.repomd_sha256);
        let repomd = self.list(&source, "repodata/repomd.xml", source.pin, known, |bytes| {
            metadata::read_repomd(bytes)
                .map(drop)
                .map_err(|error| error.to_string())
        })?;
        let lists = metadata::read_repomd(&repomd.bytes)
            .with_context(|| format!("{}: {}", source.name, repomd.path))?;
        let (mut files, mut downloaded) = (Vec::new(), Vec::new());
        let (mut treeinfo, mut images) = (None, BTreeMap::new());
        if is_tree {
            let (info, tree) = self.tree(&source, recorded, repomd.sha256())?;
            let is_same = recorded.is_some_and(|old| old.treeinfo_sha256 == Some(info.sha256()));
            let known = recorded
                .filter(|_| is_same)
                .map(|recorded| &recorded.images);
            for path in tree.unlisted {
                let known = known.and_then(|known| known.get(path.as_str()));
                let sha256 = match known {
                    Some(sha256) => *sha256,
                    None => self.image(&source, &path, &mut downloaded)?,
                };
                images.insert(path.to_string(), sha256);
                files.push(ListedFile {
                    path,
                    sha256,
                    size: None,
                });
            }
            files.extend(tree.files);
            treeinfo = Some(info);
        }
        let (packages, primary) = self.packages(&source, &lists)?;
        downloaded.extend(primary);
        let bytes = packages.iter().filter_map(|file| file.size).sum();
        let count = packages.len();
        files.extend(lists.files);
        files.extend(packages);
        Ok(Repository {
            source,
            files,
            packages: (count, bytes),
            repomd,
            treeinfo,
            images,
            downloaded,
        })
    }

    /// Reads `.treeinfo`, the list of a tree's files that are not packages. `repomd` is the digest
    /// of the tree's repomd.xml.
    fn tree(
        &self,
        source: &Source<'_>,
        recorded: Option<&RecordedRepository>,
        repomd: Sha256,
    ) -> Result<(FileListing, TreeInfo)> {
        let known = recorded.and_then(|recorded| recorded.treeinfo_sha256);
        let info = self.list(source, ".treeinfo", None, known, |bytes| {
            treeinfo::read(&String::from_utf8_lossy(bytes)).map(drop)
        })?;
        let tree = treeinfo::read(&String::from_utf8_lossy(&info.bytes))
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("{}: .treeinfo", source.name))?;
        if tree.repomd_sha256.is_some_and(|listed| listed != repomd) {
            self.fetch.progress.say(&format!(
                "note: {}: .treeinfo lists another digest for repodata/repomd.xml; the metadata \
                 was probably regenerated after the tree was created",
                source.name
            ));
        }
        Ok((info, tree))
    }

    /// Downloads an image of the installer without a listed digest, and returns the image's digest.
    fn image(
        &self,
        source: &Source<'_>,
        path: &RelativePath,
        downloaded: &mut Vec<u64>,
    ) -> Result<Sha256> {
        match source.unverified(self.fetch, self.folder, path)? {
            Ok((size, sha256)) => {
                self.fetch.progress.say(&format!(
                    "note: {}: .treeinfo lists no digest for {path}, so the first download of this file is trusted, with sha256 {sha256}",
                    source.name
                ));
                downloaded.push(size);
                Ok(sha256)
            }
            Err(error) => bail!("{error}"),
        }
    }

    /// Reads a list from the mirror's folder if the list there has the expected digest, and
    /// otherwise downloads the list from the repository. A download that changes the list also
    /// removes the mirror's record.
    fn list(
        &self,
        source: &Source<'_>,
        path: &str,
        pin: Option<Sha256>,
        known: Option<Sha256>,
        check: impl Fn(&[u8]) -> Result<(), String>,
    ) -> Result<FileListing> {
        let path: RelativePath = path.parse().map_err(anyhow::Error::msg)?;
        if let Some(sha256) = pin.or(known.filter(|_| !self.refresh))
            && let Some(bytes) = self.folder.verified(&source.area, &path, sha256)?
        {
            return Ok(FileListing {
                path,
                bytes,
                is_present: true,
            });
        }
        let bytes = source.small(self.fetch, &path, |bytes| {
            let found = Sha256::of(bytes);
            if let Some(expected) = pin.filter(|pin| *pin != found) {
                return Err(MirrorError::Digest { expected, found });
            }
            check(bytes).map_err(MirrorError::Content)
        })?;
        self.folder.begin_change(&source.area, &path, &bytes)?;
        Ok(FileListing {
            path,
            bytes,
            is_present: false,
        })
    }

    /// Returns the packages of a repository. If the mirror does not contain the list of packages,
    /// also downloads that list and returns its size.
    fn packages(
        &self,
        source: &Source<'_>,
        lists: &Metadata,
    ) -> Result<(Vec<ListedFile>, Option<u64>)> {
        let primary = &lists.primary;
        let mut downloaded = None;
        if !matches!(
            self.folder.status(&source.area, primary)?,
            Status::Present(_)
        ) {
            match source.download(self.fetch, self.folder, primary)? {
                Ok(size) => downloaded = Some(size),
                Err(error) => bail!("{error}"),
            }
        }
        let path = self.folder.path(&source.area, &primary.path)?;
        let read =
            || -> Result<_> { Ok(metadata::read_primary(opened(&path)?, MAX_PRIMARY_BYTES)?) };
        let packages = read().with_context(|| format!("{}: {}", source.name, primary.path))?;
        Ok((packages, downloaded))
    }

    /// Compares all files of a repository with the mirror's folder.
    pub(super) fn survey(&self, repository: &Repository<'_>) -> Result<MissingFiles> {
        let mut survey = MissingFiles::default();
        for file in &repository.files {
            match self.folder.status(&repository.source.area, file)? {
                Status::Present(_) => survey.present += 1,
                Status::Missing => survey.wanted.push(file.clone()),
                Status::Wrong => {
                    survey.wrong += 1;
                    survey.wanted.push(file.clone());
                }
            }
        }
        let source = &repository.source;
        let sizes = survey.wanted.iter();
        survey.bytes = sizes.filter_map(|file| source.size(self.fetch, file)).sum();
        survey.present += repository.lists().filter(|list| list.is_present).count();
        survey.present -= repository.downloaded.len();
        Ok(survey)
    }
}

/// Opens a package list, which may be compressed with gzip.
fn opened(path: &Path) -> Result<Box<dyn Read>> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    file.by_ref().take(6).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    if start.starts_with(b"\x1f\x8b") {
        return Ok(Box::new(MultiGzDecoder::new(file)));
    }
    let other = OTHER_COMPRESSIONS
        .iter()
        .find(|(magic, _)| start.starts_with(magic));
    if let Some((_, name)) = other {
        bail!(
            "it is compressed with {name}, which this program cannot read. The repositories of \
             CentOS 7 use gzip: name a mirror that has `primary.xml.gz`, or regenerate the \
             metadata with createrepo"
        );
    }
    Ok(Box::new(file))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn a_plain_or_gzipped_list_is_read_and_any_other_compression_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("primary");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"<metadata/>").unwrap();
        for bytes in [gzip.finish().unwrap(), b"<metadata/>".to_vec()] {
            std::fs::write(&path, bytes).unwrap();
            let mut text = String::new();
            opened(&path).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "<metadata/>");
        }
        for (start, name) in OTHER_COMPRESSIONS {
            std::fs::write(&path, start).unwrap();
            let error = opened(&path).map(drop).unwrap_err().to_string();
            assert!(
                error.contains(&format!("compressed with {name}")),
                "{error}"
            );
        }
    }
}
