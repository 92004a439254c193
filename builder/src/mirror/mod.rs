//! `builder mirror`: downloads and verifies everything that a site without Internet access needs.
//! `builder serve --mirror` serves the result.
//!
//! ```text
//! OUT/etcd/vX.Y.Z/    the release, and SHA256SUMS
//! OUT/tree/           .treeinfo, the installer, and the repository of the tree
//! OUT/repos/NAME/     each [[install.repo]]
//! OUT/mirror.json     the contents of the mirror; only a complete mirror has this file
//! ```
//!
//! `repository` reads a repository's lists, and compares them with the mirror's `folder`.
//! `metadata` and `treeinfo` parse the lists, which are untrusted input. `source` downloads the
//! missing files.

mod etcd;
mod folder;
mod metadata;
mod path;
mod record;
mod report;
mod repository;
mod source;
mod treeinfo;
mod xml;

use std::cell::Cell;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use recipes::recipe::Base;
use recipes::{Recipe, Sha256};

use self::folder::Folder;
use self::metadata::ListedFile;
use self::record::{Record, RecordedRepository};
use self::report::{Count, Report, size};
use self::repository::{FileListing, MissingFiles, Reader, Repository};
use self::source::{Source, TotalProgress};
pub(crate) use self::treeinfo::stage2;
use crate::console::counted;
use crate::release::{self, Fetch, Progress, RetryPolicy};
use crate::{build, check, console};

/// The number of unavailable files after which the remaining files are not tried.
const MAX_FAILURES: usize = 10;
/// The free space, in bytes, that must remain after the downloads.
const RESERVE_BYTES: u64 = 64 << 20;

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The recipe, which names the addresses of etcd, the tree and the repositories to mirror
    recipe: PathBuf,
    /// The folder of the mirror. Existing files are verified and not downloaded again
    #[arg(long, value_name = "DIR", default_value = "mirror")]
    out: PathBuf,
    /// The folder for the download of the etcd release [default: the user's cache folder]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Update the mirror: download .treeinfo again, and every repomd.xml that the recipe does not
    /// pin
    #[arg(long)]
    refresh: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Downloads and verifies the contents of the mirror.
pub(crate) fn run(options: &Options) -> Result<()> {
    let recipe = check::checked_recipe(&options.recipe, false)?.recipe;
    let progress = release::for_stderr();
    let cache = options.cache.clone();
    let cache = cache.map_or_else(build::default_cache, Ok)?;
    let folder = Folder::open(&options.out)?;
    let recorded = Record::read(folder.root())?;
    let patience = RetryPolicy::default();
    let client = release::client(&patience, &*progress)?;
    let fetch = Fetch {
        client: &client,
        patience: &patience,
        progress: &*progress,
    };
    let (etcd, downloaded) = etcd::mirror(&recipe, &folder, &cache, fetch)?;
    let mut count = Count::default();
    if let Some(bytes) = downloaded {
        count.add(bytes);
    }
    let reader = Reader {
        fetch,
        folder: &folder,
        refresh: options.refresh,
    };
    let repositories = sources(&recipe)?
        .into_iter()
        .map(|source| {
            let known = recorded.as_ref();
            let known = known.and_then(|record| record.repository(source.area.as_str()));
            let is_tree = source.area.as_str() == "tree";
            reader.read(source, is_tree, known)
        })
        .collect::<Result<Vec<_>>>()?;
    let present = complete(&reader, &repositories, &*progress, &mut count)?;
    let mut recorded = repositories
        .iter()
        .zip(std::iter::once(None).chain(recipe.install.repos.iter().map(Some)))
        .map(|(repository, repo)| entry(repository, repo.map(|repo| repo.name.to_string())));
    let record = Record {
        etcd,
        tree: recorded
            .next()
            .context("the mirror has no tree; this is a bug")?,
        repos: recorded.collect(),
    };
    record.write(folder.root())?;
    let report = Report {
        out: options.out.clone(),
        recipe: report::recipe_lines(&recipe, &record),
        recipe_path: options.recipe.clone(),
        record,
        present: present + usize::from(downloaded.is_none()),
        downloaded: count,
    };
    if options.json {
        console::result(serde_json::to_string_pretty(&report)? + "\n")?;
    } else {
        console::result(report)?;
    }
    Ok(())
}

/// Checks that a folder is a complete mirror.
pub(crate) fn check_complete(root: &Path) -> Result<()> {
    ensure!(
        root.join(folder::RECORD).is_file(),
        "{} is not a complete mirror: it has no {}. `builder mirror RECIPE --out {}` completes it",
        root.display(),
        folder::RECORD,
        root.display()
    );
    Ok(())
}

/// Returns the tree of a recipe, followed by its repositories.
fn sources(recipe: &Recipe) -> Result<Vec<Source<'_>>> {
    fn source<'a>(
        name: String,
        bases: &'a [Base],
        area: &str,
        pin: Option<Sha256>,
    ) -> Result<Source<'a>> {
        Ok(Source {
            name,
            bases,
            area: area.parse().map_err(anyhow::Error::msg)?,
            pin,
            answered: Cell::new(0),
        })
    }
    let install = &recipe.install;
    let mut all = vec![source(
        "the tree".to_owned(),
        &install.trees,
        "tree",
        install.repomd_sha256,
    )?];
    for repo in &install.repos {
        // A `RelativePath` must not contain a colon.
        let folder = repo.name.to_string().replace(':', "_");
        let area = format!("repos/{folder}");
        ensure!(
            all.iter().all(|other| other.area.as_str() != area),
            "two repositories would use the folder {area}: rename one of the repositories"
        );
        all.push(source(
            format!("the repository {}", repo.name),
            &repo.urls,
            &area,
            repo.repomd_sha256,
        )?);
    }
    Ok(all)
}

/// Downloads the missing files, and then writes the new lists. Returns the number of files that
/// already existed.
fn complete(
    reader: &Reader<'_>,
    repositories: &[Repository<'_>],
    progress: &dyn Progress,
    count: &mut Count,
) -> Result<usize> {
    let mut surveys = Vec::new();
    for repository in repositories {
        let (packages, bytes) = repository.packages;
        progress.say(&format!(
            "{}: {}, {}; comparing them with {}",
            repository.source.name,
            counted(packages, "package"),
            size(bytes),
            reader
                .folder
                .root()
                .join(repository.source.area.as_str())
                .display()
        ));
        surveys.push(reader.survey(repository)?);
    }
    announce(reader.folder, repositories, &surveys, progress)?;
    for (repository, survey) in repositories.iter().zip(&surveys) {
        download(reader, repository, survey, progress, count)?;
    }
    for repository in repositories {
        repository
            .downloaded
            .iter()
            .for_each(|bytes| count.add(*bytes));
        for list in repository.lists().filter(|list| !list.is_present) {
            let area = &repository.source.area;
            reader.folder.write(area, &list.path, &list.bytes)?;
            count.add(list.bytes.len() as u64);
        }
    }
    Ok(surveys.iter().map(|survey| survey.present).sum())
}

/// Reports the number and the size of the missing files, and checks that the disk has enough free
/// space.
fn announce(
    folder: &Folder,
    repositories: &[Repository<'_>],
    surveys: &[MissingFiles],
    progress: &dyn Progress,
) -> Result<()> {
    let mut total = 0;
    for (repository, survey) in repositories.iter().zip(surveys) {
        if survey.wanted.is_empty() {
            continue;
        }
        total += survey.bytes;
        let missing = survey.wanted.len() - survey.wrong;
        progress.say(&format!(
            "{}: {missing} missing, {} damaged or outdated; {} to download",
            repository.source.name,
            counted(survey.wrong, "file"),
            size(survey.bytes)
        ));
    }
    let free = folder.free()?;
    ensure!(
        total == 0 || total + RESERVE_BYTES <= free,
        "{}: {} to download, but only {} free: free some space, or name another folder with --out",
        folder.root().display(),
        size(total),
        size(free)
    );
    Ok(())
}

/// Downloads the missing files of a repository. If no address provides a file, the function
/// continues with the other files, but stops after `MAX_FAILURES` unavailable files.
fn download(
    reader: &Reader<'_>,
    repository: &Repository<'_>,
    survey: &MissingFiles,
    progress: &dyn Progress,
    count: &mut Count,
) -> Result<()> {
    let source = &repository.source;
    let (listed, other): (Vec<_>, Vec<_>) =
        survey.wanted.iter().partition(|file| file.size.is_some());
    let mut failures = Vec::new();
    let mut take = |fetch: Fetch<'_>, file: &ListedFile| -> Result<u64> {
        if failures.len() >= MAX_FAILURES {
            return Ok(0);
        }
        match source.download(fetch, reader.folder, file)? {
            Ok(bytes) => {
                count.add(bytes);
                return Ok(bytes);
            }
            Err(failure) => failures.push(failure.to_string()),
        }
        if failures.len() == MAX_FAILURES {
            failures.push("the remaining files were not tried".to_owned());
        }
        Ok(0)
    };
    // The progress of the few files without a listed size, such as the installer's images, is shown
    // file by file.
    for file in other {
        take(reader.fetch, file)?;
    }
    if !listed.is_empty() {
        let total = listed.iter().filter_map(|file| file.size).sum();
        let whole = TotalProgress::begin(progress, &source.name, total);
        let fetch = Fetch {
            progress: &whole,
            ..reader.fetch
        };
        for file in listed {
            whole.done(take(fetch, file)?);
        }
    }
    if !failures.is_empty() {
        bail!(
            "{}\nThe mirror is not complete. Run the command again: it downloads only the missing files",
            failures.join("\n")
        );
    }
    Ok(())
}

fn entry(repository: &Repository<'_>, name: Option<String>) -> RecordedRepository {
    let (packages, bytes) = repository.packages;
    RecordedRepository {
        name,
        path: repository.source.area.to_string(),
        repomd_sha256: repository.repomd.sha256(),
        pinned: repository.source.pin.is_some(),
        treeinfo_sha256: repository.treeinfo.as_ref().map(FileListing::sha256),
        images: repository.images.clone(),
        packages,
        bytes,
    }
}
