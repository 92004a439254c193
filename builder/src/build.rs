//! `builder build`: builds one image and a folder for each node from one recipe.

mod awaited;
mod digests;
mod folders;
mod summary;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use recipes::{EtcdVersion, PublicKey, Recipe, Sha256};
use time::OffsetDateTime;

use self::digests::{input, packed_overlay, recipe_input, release_input};
pub(crate) use self::folders::default_cache;
use self::folders::{check_outside, default_state};
use self::summary::Summary;
use crate::check::{self, CheckedRecipe};
use crate::manifest::{self, FileDigest, ManifestInputs};
use crate::nodes::Node;
use crate::output::{self, Output, Replaceable};
use crate::overlay::{self, Content, PackedOverlay};
use crate::pki::{self, Authority, ClusterRecord, Lifetimes, Opener, Pki};
use crate::release::{self, Binaries, Progress, ReleaseRequest};
use crate::render::OverlayDigests;
use crate::serve::record::Record;
use crate::tree::{self, OverlayTree};
use crate::{console, elf, etcd_version_warning, image_release, newfile, nodes, render, text_file};

/// The size limit for a firstboot binary. Even a binary with all its debug symbols is smaller than
/// this limit.
const LARGEST_FIRSTBOOT: u64 = 1 << 30;

/// The command-line options.
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// The folder to write. An earlier output is replaced completely
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Replace an output that was built with another PKI folder, such as the output of another
    /// cluster
    #[arg(long)]
    replace: bool,
    /// The folder of the cluster's certificates and keys. Missing files are created [default:
    /// OUT.pki]
    #[arg(long, value_name = "DIR")]
    pki: Option<PathBuf>,
    /// The folder for downloads and compressed files [default: the user's cache folder]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Use only the cache, not the network
    #[arg(long)]
    offline: bool,
    /// Use this release tarball instead of a download, and verify it in the same way
    #[arg(long, value_name = "FILE")]
    release: Option<PathBuf>,
    /// Use this mirror instead of the recipe's mirrors. Can be repeated
    #[arg(long, value_name = "URL")]
    mirror: Vec<recipes::recipe::Base>,
    /// The static firstboot binary to pack [default: `firstboot` next to this program]
    #[arg(long, value_name = "FILE")]
    firstboot: Option<PathBuf>,
    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Options {
    /// Returns the earlier outputs that a build with this signing key may replace.
    fn replaceable(&self, key: Option<PublicKey>) -> Replaceable {
        if self.replace {
            Replaceable::Any
        } else {
            Replaceable::SignedBy(key.map(|key| key.id()))
        }
    }
}

/// Builds the image and the nodes' documents.
pub(crate) fn run(options: &Options) -> Result<()> {
    let progress = release::for_stderr();
    let CheckedRecipe {
        text,
        recipe,
        user_files,
    } = check::checked_recipe(&options.recipe, options.strict)?;
    let date = date(&recipe)?;
    let folders = folders(options)?;
    let (out_dir, cache, pki_folder) = (&folders.out_dir, &folders.cache, &folders.pki);
    // Check the output folder before any download: if the build may not replace the folder now, it
    // cannot replace it at the end either.
    let replaceable = options.replaceable(pki::signing_public_key(pki_folder)?);
    if let Some(etcd) = output::check(out_dir, &replaceable)? {
        warn_of_new_etcd(&recipe, etcd, out_dir, &*progress);
    }
    let (firstboot, firstboot_input) = firstboot(options)?;
    let (etcd_release, binaries) = fetch(options, &recipe, cache, &*progress)?;

    let mut pki = open_pki(Opener::Build, &options.recipe, &recipe, pki_folder)?;
    let public_key = pki.signing_public_key();
    let mut documents = issue_documents(options, &recipe, &mut pki, pki_folder, &*progress)?;

    let output = Output::begin(&options.out, options.replaceable(Some(public_key)))?;
    let image = output.path().join("image");
    make_public(&image)?;
    let base = image_release::base(
        &recipe,
        &render::kickstart(&recipe, OverlayDigests::NONE)?,
        &user_files,
    )?;
    let tree = OverlayTree::new(&recipe, user_files, &binaries, firstboot, public_key, &base)?;
    let packed = overlay::pack(tree.entries, date, cache, &image.join(manifest::OVERLAY))?;
    write(
        &image.join("centos7.ks"),
        &render::kickstart(
            &recipe,
            OverlayDigests {
                sha256: packed.sha256,
                trust: Sha256::of(tree::trust_file(&public_key).as_bytes()),
            },
        )?,
    )?;
    let manifest_inputs = ManifestInputs {
        recipe: recipe_input(&options.recipe, &text),
        etcd: recipe.etcd.settings.version,
        trust: public_key,
        inputs: vec![release_input(&recipe, &etcd_release), firstboot_input],
        packed: Some(packed_overlay(&packed)),
        overlay: tree.listed,
    };
    let manifest = manifest::write(&image, manifest_inputs, Some(pki.signing()))?;
    // Reserve the serial before the output is moved into place, so that two images never share a
    // serial.
    let serial = pki.reserve_image_serial(manifest.image())?;
    let image_release = image_release::document(&recipe.cluster.name, serial, &manifest, base)?;
    image_release::write(output.path(), &image_release, pki.signing())?;
    write_documents(&output, &mut documents, serial, &pki)?;
    output.commit()?;
    pki.publish_image_serial()?;
    report(options, &recipe, &packed, pki_folder, (public_key, serial))
}

/// Issues each node's document. If the PKI is new, also creates the record of installations.
fn issue_documents(
    options: &Options,
    recipe: &Recipe,
    pki: &mut Pki,
    pki_folder: &Path,
    progress: &dyn Progress,
) -> Result<Vec<Node>> {
    // The record of installations must exist before the first document is issued. Issuing a
    // document publishes the public half of the signing key, and from then on the PKI no longer
    // counts as new. If the build is interrupted before it issues the first document, the next
    // build creates the record again.
    let begun = if pki.is_new() {
        Some(begin_record(recipe, pki_folder)?)
    } else {
        None
    };
    let nodes = recipe.nodes.iter();
    let nodes = nodes
        .map(|node| nodes::issue(recipe, pki, node))
        .collect::<Result<Vec<_>, _>>()?;
    for event in pki.events() {
        progress.say(&event.to_string());
    }
    if let Some(record) = begun {
        let state = default_state(pki_folder);
        let option = if state == default_state(&output::default_pki(&options.out)) {
            String::new()
        } else {
            format!(" if you pass `--state {}`", state.display())
        };
        progress.say(&format!(
            "{}: created; `builder serve` records installations there{option}",
            record.folder().display()
        ));
    }
    let paths = [&*options.out, pki_folder, &*options.recipe];
    awaited::report(paths, recipe, pki, &nodes, progress)?;
    Ok(nodes)
}

/// Writes the files of each node. Each document contains the serial of the image release.
fn write_documents(output: &Output, nodes: &mut [Node], serial: u64, pki: &Pki) -> Result<()> {
    for node in nodes {
        if let Node::Enrolled(document) = node {
            document.release = Some(serial);
        }
        nodes::write(output.path(), node, pki.signing())?;
    }
    Ok(())
}

/// The folders that a build reads and writes.
struct Folders {
    /// The output folder.
    out_dir: PathBuf,
    cache: PathBuf,
    pki: PathBuf,
}

/// Resolves the folders. The cache and the PKI must be outside the output.
fn folders(options: &Options) -> Result<Folders> {
    let out_dir = output::resolve(&options.out)?;
    let cache = options.cache.clone().map_or_else(default_cache, Ok)?;
    let pki = options
        .pki
        .clone()
        .unwrap_or_else(|| output::default_pki(&out_dir));
    check_outside(&cache, &out_dir, "--cache")?;
    check_outside(&pki, &out_dir, "--pki")?;
    Ok(Folders {
        out_dir,
        cache,
        pki,
    })
}

/// Warns if a change of etcd's version prevents or restricts an update to the new image. The nodes
/// may be running the image in `out_dir`, whose etcd version is `etcd`.
fn warn_of_new_etcd(recipe: &Recipe, etcd: EtcdVersion, out_dir: &Path, progress: &dyn Progress) {
    if let Some(warning) = etcd_version_warning::warning(etcd, recipe.etcd.settings.version) {
        let path = out_dir.display();
        progress.say(&format!(
            "warning: the nodes may be running the image in {path}: {warning}"
        ));
    }
}

/// Returns SOURCE_DATE_EPOCH if it is set (reproducible-builds.org/specs/source-date-epoch), and
/// otherwise the recipe's date.
fn date(recipe: &Recipe) -> Result<u64> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else {
        return Ok(recipe.date);
    };
    let text = text.to_string_lossy();
    let date = text.parse().ok().filter(|date| *date <= overlay::LATEST);
    date.with_context(|| {
        format!(
            "SOURCE_DATE_EPOCH is `{text}`: expected seconds since 1970, at most {}",
            overlay::LATEST
        )
    })
}

/// Creates the record of the machines that `builder serve` installs.
fn begin_record(recipe: &Recipe, pki: &Path) -> Result<Record> {
    let record = Record::new(&default_state(pki), &recipe.cluster.name);
    record.begin(SystemTime::now())?;
    Ok(record)
}

/// Reads the firstboot binary to pack, and checks that CentOS 7 can run it.
fn firstboot(options: &Options) -> Result<(Content, FileDigest)> {
    let path = match &options.firstboot {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("firstboot"),
    };
    let bytes = text_file::bytes(&path, LARGEST_FIRSTBOOT).with_context(|| {
        format!(
            "cannot read firstboot at {}; run `make build`, or name another binary with \
             --firstboot FILE",
            path.display()
        )
    })?;
    elf::runs_on_centos7(&bytes)
        .with_context(|| format!("{} would not run on a node", path.display()))?;
    let input = input("firstboot", &bytes);
    Ok((
        Content::Verified {
            path,
            sha256: input.sha256,
            size: input.size,
        },
        input,
    ))
}

fn fetch(
    options: &Options,
    recipe: &Recipe,
    cache: &Path,
    progress: &dyn Progress,
) -> Result<(release::Release, Binaries)> {
    let version = recipe.etcd.settings.version;
    let given: Vec<_> = options
        .mirror
        .iter()
        .map(|base| base.url().clone())
        .collect();
    let wanted = ReleaseRequest {
        version,
        sha256: recipe.etcd.sha256,
        mirrors: if given.is_empty() {
            &recipe.etcd.mirrors
        } else {
            &given
        },
        cache,
        offline: options.offline,
        file: options.release.as_deref(),
    };
    let release = release::obtain(&wanted, progress)?;
    progress.say(&release.evidence.to_string());
    let binaries = release::open(
        &release,
        version,
        cache,
        |content| overlay::cached_size(cache, content),
        progress,
    )?;
    Ok((release, binaries))
}

/// Opens the PKI folder of a recipe.
pub(crate) fn open_pki(
    opener: Opener,
    recipe_path: &Path,
    recipe: &Recipe,
    folder: &Path,
) -> Result<Pki> {
    let authority = Authority::of(&recipe.tls, recipe_path.parent().unwrap_or(Path::new(".")));
    let (cluster, lifetimes) = (ClusterRecord::from(recipe), Lifetimes::from(&recipe.tls));
    Ok(pki::open(
        opener,
        folder,
        &cluster,
        &authority,
        lifetimes,
        OffsetDateTime::now_utc(),
    )?)
}

/// Creates a folder that a web server can read, even under a strict umask, because the server may
/// run as a different user.
fn make_public(folder: &Path) -> Result<()> {
    fs::create_dir(folder)
        .and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot create {}", folder.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    newfile::write(path, text.as_bytes(), newfile::PUBLIC)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn report(
    options: &Options,
    recipe: &Recipe,
    packed: &PackedOverlay,
    pki: &Path,
    (public_key, serial): (PublicKey, u64),
) -> Result<()> {
    let summary = Summary {
        serial,
        out: options.out.clone(),
        pki: pki.to_owned(),
        etcd: recipe.etcd.settings.version.to_string(),
        overlay_sha256: packed.sha256,
        overlay_size: packed.size,
        trust: public_key.id(),
        has_node_keys: recipe.tls.keys.is_document(),
        nodes: recipe
            .nodes
            .iter()
            .map(|node| node.name.to_string())
            .collect(),
    };
    Ok(console::report(&summary, options.json, Summary::to_string)?)
}
