//! `builder mirror`: downloads all that a site without the Internet needs, and verifies it. `builder
//! serve --mirror` serves it.
//!
//! ```text
//! OUT/etcd/vX.Y.Z/    the release, and SHA256SUMS
//! OUT/tree/           .treeinfo, the installer, and the repository of the tree
//! OUT/repos/NAME/     each [[install.repo]]
//! OUT/mirror.json     what the mirror has; only a complete one has it
//! ```
//!
//! `repository` reads the lists of a repository (`metadata`, `treeinfo`, both foreign), and compares
//! them with the `folder`. `source` downloads what is missing.

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
use self::repository::{List, Reader, Repository, Survey};
use self::source::{Source, Whole};
use crate::console::counted;
use crate::release::{self, Fetch, Progress, RetryPolicy};
use crate::{build, check, console};

/// After so many files that no address has, the rest is not tried.
const MAX_FAILURES: usize = 10;
/// Free space that a run leaves, besides the files.
const RESERVE_BYTES: u64 = 64 << 20;

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The recipe, whose addresses of etcd, the tree and the repositories are mirrored
    recipe: PathBuf,
    /// The folder of the mirror. Files that it has are verified, and not downloaded again
    #[arg(long, value_name = "DIR", default_value = "mirror")]
    out: PathBuf,
    /// The folder for the download of the etcd release [default: the user's cache folder]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Ask again for repomd.xml and .treeinfo that the recipe does not pin, to bring a mirror up to
    /// date
    #[arg(long)]
    refresh: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Mirrors.
pub(crate) fn run(options: &Options) -> Result<()> {
    let recipe = check::checked_recipe(&options.recipe, false)?.recipe;
    let progress = release::for_stderr();
    let cache = options
        .cache
        .clone()
        .map_or_else(build::default_cache, Ok)?;
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
        tree: recorded.next().context("a bug: a mirror without a tree")?,
        repos: recorded.collect(),
    };
    record.write(folder.root())?;
    let report = Report {
        out: options.out.clone(),
        recipe: report::recipe_lines(&recipe, &record),
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

/// Makes sure that a folder is a complete mirror.
pub(crate) fn check_complete(root: &Path) -> Result<()> {
    ensure!(
        root.join(record::RECORD).is_file(),
        "{} is not a complete mirror: it has no {}. `builder mirror RECIPE --out {}` completes it",
        root.display(),
        record::RECORD,
        root.display()
    );
    Ok(())
}

/// The tree of a recipe, and then its repositories.
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
        // A colon has a meaning in a path of a URL.
        let folder = repo.name.to_string().replace(':', "_");
        let area = format!("repos/{folder}");
        ensure!(
            all.iter().all(|other| other.area.as_str() != area),
            "two repositories would be in the folder {area}: give one of them another name"
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

/// Downloads what is missing. Returns the number of files that were there.
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
        if let Some(bytes) = repository.primary_downloaded {
            count.add(bytes);
        }
        for list in repository.lists().filter(|list| !list.is_present) {
            let area = &repository.source.area;
            reader.folder.write(area, &list.path, &list.bytes)?;
            count.add(list.bytes.len() as u64);
        }
    }
    Ok(surveys.iter().map(|survey| survey.present).sum())
}

/// Says how much is to be downloaded, and makes sure that there is room for it.
fn announce(
    folder: &Folder,
    repositories: &[Repository<'_>],
    surveys: &[Survey],
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
            "{}: {missing} missing, {} wrong: {} to download",
            repository.source.name,
            counted(survey.wrong, "file"),
            size(survey.bytes)
        ));
    }
    let free = folder.free()?;
    ensure!(
        total == 0 || total + RESERVE_BYTES <= free,
        "{}: {} to download, and {} free: make room, or name another folder by --out",
        folder.root().display(),
        size(total),
        size(free)
    );
    Ok(())
}

/// Downloads the missing files of a repository. A file that no address has does not keep the others
/// from being downloaded.
fn download(
    reader: &Reader<'_>,
    repository: &Repository<'_>,
    survey: &Survey,
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
            failures.push("the rest was not tried".to_owned());
        }
        Ok(0)
    };
    // The few whose size is not listed are shown one by one, such as the installer's images.
    for file in other {
        take(reader.fetch, file)?;
    }
    if !listed.is_empty() {
        let total = listed.iter().filter_map(|file| file.size).sum();
        let whole = Whole::begin(progress, &source.name, total);
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
            "{}\nThe mirror is not complete. Run the command again: it downloads only what is missing",
            failures.join("\n")
        );
    }
    Ok(())
}

/// The record of a repository.
fn entry(repository: &Repository<'_>, name: Option<String>) -> RecordedRepository {
    let (packages, bytes) = repository.packages;
    RecordedRepository {
        name,
        path: repository.source.area.to_string(),
        repomd_sha256: repository.repomd.sha256(),
        pinned: repository.source.pin.is_some(),
        treeinfo_sha256: repository.treeinfo.as_ref().map(List::sha256),
        packages,
        bytes,
    }
}
