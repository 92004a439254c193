//! `builder build`: one recipe in, one image and a folder for each node out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use recipes::{ImageStamp, NodeDocument, PublicKey, Recipe, Sha256, StampedFile};
use serde::Serialize;
use time::OffsetDateTime;

use crate::manifest::{self, About, FileDigest, OverlayEntry};
use crate::output::Output;
use crate::overlay::{self, Entry, Kind, Packed, Source};
use crate::pki::{self, Authority, Lifetimes, Pki, Subject};
use crate::release::{self, Binaries, Progress, Wanted};
use crate::{elf, nodes, reading, render};

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// The folder to write; an earlier output there is replaced as a whole
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// The folder of the cluster's certificates and keys; made and filled where missing [default: OUT.pki]
    #[arg(long)]
    pki: Option<PathBuf>,
    /// Where downloads and compressed files are kept [default: the user's cache folder]
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Use what is in the cache; no network
    #[arg(long)]
    offline: bool,
    /// The release tarball, brought by hand; it is verified like a download
    #[arg(long, value_name = "FILE")]
    release: Option<PathBuf>,
    /// Ask this mirror instead of the recipe's (may be given more than once)
    #[arg(long, value_name = "URL")]
    mirror: Vec<recipes::recipe::Base>,
    /// The static firstboot to pack [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    firstboot: Option<PathBuf>,
    /// Take warnings about the recipe for errors
    #[arg(long)]
    strict: bool,
    /// Print what was built for programs
    #[arg(long)]
    json: bool,
}

/// What was built, for people and programs.
#[derive(Debug, Serialize)]
struct Summary {
    out: PathBuf,
    pki: PathBuf,
    etcd: String,
    overlay_sha256: Sha256,
    overlay_size: u64,
    trust: String,
    nodes: Vec<String>,
}

/// Files of the overlay that the node goes on to change, so that first boot does not compare them.
const MUTABLE: [&str; 1] = ["etc/hosts"];

/// Builds.
pub(crate) fn run(options: &Options) -> Result<()> {
    let progress = release::for_stderr();
    let (text, recipe) = reading::recipe(&options.recipe, options.strict)?;
    let firstboot = firstboot(options)?;
    let cache = options.cache.clone().map_or_else(default_cache, Ok)?;
    let (release, binaries) = fetch(options, &recipe, &cache, &*progress)?;

    let pki_folder = options.pki.clone().unwrap_or_else(|| beside(&options.out));
    let mut pki = open_pki(options, &recipe, &pki_folder)?;
    let documents = documents(&recipe, &mut pki)?;
    for event in pki.events() {
        progress.say(&event.to_string());
    }

    let output = Output::begin(&options.out)?;
    let image = output.path().join("image");
    fs::create_dir(&image).with_context(|| format!("cannot make {}", image.display()))?;
    let entries = entries(&recipe, &binaries, &firstboot, pki.trust())?;
    let listed = listed(&entries);
    let packed = overlay::pack(entries, date(&recipe)?, &cache, &image.join("overlay.tar.gz"))?;
    write(&image.join("centos7.ks"), &render::kickstart(&recipe, packed.sha256)?)?;
    let inputs = vec![release_input(&recipe, &release), input("firstboot", &fs::read(&firstboot)?)];
    let name = options.recipe.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let about = About {
        recipe: input(&name, text.as_bytes()),
        etcd: recipe.etcd.settings.version,
        trust: pki.trust(),
        inputs,
        overlay: with_digests(listed, &packed),
    };
    manifest::write(&image, about, Some(pki.signing()))?;
    for document in &documents {
        nodes::write(output.path(), document, pki.signing())?;
    }
    output.commit()?;
    report(options, &recipe, &packed, &pki_folder, pki.trust())
}

/// SOURCE_DATE_EPOCH where it is set (reproducible-builds.org/specs/source-date-epoch), else the recipe's date.
fn date(recipe: &Recipe) -> Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().with_context(|| format!("SOURCE_DATE_EPOCH is `{text}`, expected seconds since 1970")),
        Err(_) => Ok(recipe.date),
    }
}

fn default_cache() -> Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
    cache
        .map(|cache| cache.join("etcd-image"))
        .context("neither XDG_CACHE_HOME nor HOME is set; name a folder by --cache")
}

/// The PKI's default place: `out` has `out.pki` beside it, so that two clusters in one folder do not share one.
fn beside(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".pki");
    out.with_file_name(name)
}

/// The firstboot to pack, once it is sure that CentOS 7 can run it.
fn firstboot(options: &Options) -> Result<PathBuf> {
    let path = match &options.firstboot {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("firstboot"),
    };
    let bytes = fs::read(&path).with_context(|| {
        format!("cannot read firstboot at {}; `make build` makes it, --firstboot FILE names another", path.display())
    })?;
    elf::runs_on_centos7(&bytes).with_context(|| format!("{} would not run on a node", path.display()))?;
    Ok(path)
}

fn fetch(
    options: &Options,
    recipe: &Recipe,
    cache: &Path,
    progress: &dyn Progress,
) -> Result<(release::Release, Binaries)> {
    let version = recipe.etcd.settings.version;
    let given: Vec<_> = options.mirror.iter().map(|base| base.url().clone()).collect();
    let wanted = Wanted {
        version,
        sha256: recipe.etcd.sha256,
        mirrors: if given.is_empty() { &recipe.etcd.mirrors } else { &given },
        cache,
        offline: options.offline,
        file: options.release.as_deref(),
    };
    let release = release::obtain(&wanted, progress)?;
    progress.say(&release.evidence.to_string());
    let binaries = release::open(&release, version, cache, progress)?;
    Ok((release, binaries))
}

fn open_pki(options: &Options, recipe: &Recipe, folder: &Path) -> Result<Pki> {
    let here = options.recipe.parent().unwrap_or(Path::new("."));
    let authority = match &recipe.tls.authority {
        Some((cert, key)) => Authority::Given { cert: here.join(cert), key: here.join(key) },
        None => Authority::Own,
    };
    let lifetimes = Lifetimes {
        ca_days: recipe.tls.authority_days,
        leaf_days: recipe.tls.certificate_days,
        renew_before_days: recipe.tls.renew_before_days,
    };
    Ok(pki::open(folder, &authority, lifetimes, OffsetDateTime::now_utc())?)
}

/// Who each node is.
fn documents(recipe: &Recipe, pki: &mut Pki) -> Result<Vec<NodeDocument>> {
    let (cluster, domain) = (&recipe.cluster.name, &recipe.cluster.domain);
    let document = |node: &recipes::recipe::Node| -> Result<NodeDocument> {
        let tls = pki.node_tls(&Subject { cluster, domain, name: &node.name, address: node.address })?;
        let (name, machine) = (node.name.clone(), node.machine.clone());
        Ok(NodeDocument { cluster: cluster.clone(), name, address: node.address, machine, tls })
    };
    recipe.nodes.iter().map(document).collect()
}

/// Everything in the overlay: the rendered files, the programs, what firstboot reads, the stamp over it all, and the
/// folders that hold it.
fn entries(recipe: &Recipe, binaries: &Binaries, firstboot: &Path, trust: PublicKey) -> Result<Vec<Entry>> {
    let mut files = Vec::new();
    let mut stamped = Vec::new();
    let mut add = |path: &str, mode: u32, source: Source, sha256: Sha256, size: u64| -> Result<()> {
        let mutable = MUTABLE.contains(&path);
        stamped.push(StampedFile { path: path.to_owned(), mode, uid: 0, gid: 0, size, sha256, mutable });
        files.push(Entry { path: path.parse()?, mode, uid: 0, gid: 0, kind: Kind::File(source) });
        Ok(())
    };
    let mut texts: Vec<(String, u32, Vec<u8>)> =
        render::overlay(recipe)?.into_iter().map(|file| (file.path, file.mode, file.content.into_bytes())).collect();
    texts.push(("etc/firstboot/cluster.json".to_owned(), 0o644, json(&recipe.cluster_document())?));
    texts.push(("etc/firstboot/trust.pub".to_owned(), 0o644, format!("{trust}\n").into_bytes()));
    texts.push(("usr/local/bin/firstboot".to_owned(), 0o755, fs::read(firstboot)?));
    for (path, mode, bytes) in texts {
        let (digest, size) = (Sha256::of(&bytes), bytes.len() as u64);
        add(&path, mode, Source::Bytes(bytes), digest, size)?;
    }
    for binary in binaries.iter() {
        let (sha256, size) = (binary.sha256, binary.size);
        let source = Source::Verified { path: binary.path.clone(), sha256, size };
        add(&format!("usr/local/bin/{}", binary.program.name()), 0o755, source, sha256, size)?;
    }
    stamped.sort_by(|a, b| a.path.cmp(&b.path));
    // For `sha256sum -c` in the kickstart, which has nothing that reads JSON.
    let sums: String = stamped.iter().map(|file| format!("{}  {}\n", file.sha256, file.path)).collect();
    let stamp = json(&ImageStamp { files: stamped })?;
    for (path, bytes) in [("etc/firstboot/image.json", stamp), ("etc/firstboot/SHA256SUMS", sums.into_bytes())] {
        files.push(Entry { path: path.parse()?, mode: 0o644, uid: 0, gid: 0, kind: Kind::File(Source::Bytes(bytes)) });
    }
    files.extend(folders(&files)?);
    Ok(files)
}

/// Every folder above the files, with its mode: where the base system has it, tar leaves its own.
fn folders(files: &[Entry]) -> Result<Vec<Entry>> {
    let paths: BTreeSet<&str> = files.iter().flat_map(|file| file.path.above()).collect();
    let entry = |path: &str| -> Result<Entry> {
        let mode = render::modes().find(|(_, named)| *named == path).map_or(0o755, |(mode, _)| mode);
        Ok(Entry { path: path.parse()?, mode, uid: 0, gid: 0, kind: Kind::Dir })
    };
    paths.into_iter().map(entry).collect()
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

/// The manifest's view of the entries, without the files' digests, which only packing finds.
fn listed(entries: &[Entry]) -> Vec<OverlayEntry> {
    let entry = |entry: &Entry| OverlayEntry {
        path: entry.path.to_string(),
        kind: match entry.kind {
            Kind::File(_) => manifest::Kind::File,
            Kind::Dir => manifest::Kind::Folder,
            Kind::Symlink(_) => manifest::Kind::Link,
        },
        mode: manifest::Mode(entry.mode),
        uid: entry.uid.into(),
        gid: entry.gid.into(),
        size: None,
        sha256: None,
        target: match &entry.kind {
            Kind::Symlink(target) => Some(target.clone()),
            _ => None,
        },
    };
    entries.iter().map(entry).collect()
}

fn with_digests(mut listed: Vec<OverlayEntry>, packed: &Packed) -> Vec<OverlayEntry> {
    for entry in &mut listed {
        if let Some(file) = packed.files.iter().find(|file| file.path.as_str() == entry.path) {
            (entry.size, entry.sha256) = (Some(file.size), Some(file.sha256));
        }
    }
    listed
}

fn input(name: &str, bytes: &[u8]) -> FileDigest {
    FileDigest { name: name.to_owned(), size: bytes.len() as u64, sha256: Sha256::of(bytes) }
}

fn release_input(recipe: &Recipe, release: &release::Release) -> FileDigest {
    let name = format!("etcd-v{}-linux-amd64.tar.gz", recipe.etcd.settings.version);
    FileDigest { name, size: release.size, sha256: release.sha256 }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn report(options: &Options, recipe: &Recipe, packed: &Packed, pki: &Path, trust: PublicKey) -> Result<()> {
    let summary = Summary {
        out: options.out.clone(),
        pki: pki.to_owned(),
        etcd: recipe.etcd.settings.version.to_string(),
        overlay_sha256: packed.sha256,
        overlay_size: packed.size,
        trust: trust.id(),
        nodes: recipe.nodes.iter().map(|node| node.name.to_string()).collect(),
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
        return Ok(());
    }
    let out = summary.out.display();
    println!("{out}/image/   etcd {}, public, the same for every node: serve it over http", summary.etcd);
    println!("{out}/nodes/   {}: secret, one for each: hand it to that machine alone", summary.nodes.join(", "));
    println!("{}   certificates and keys of the cluster: keep it, back it up", summary.pki.display());
    println!("overlay.tar.gz {} bytes, sha256 {}", summary.overlay_size, summary.overlay_sha256);
    Ok(())
}
