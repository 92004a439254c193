//! `firstboot snapshot verify`: is this file all that it was when etcd sent it, and can etcd live from it?

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use bolt::{Faults, Form};
use recipes::Sha256;
use ring::digest;
use serde::Serialize;

use super::boot::{self, Booted};
use super::decode::{decode, is_encoded};
use super::schema::{Contents, Reader};
use crate::exit::{Exit, refused};
use crate::files::part::Part;
use crate::say::show;

/// The SHA-256 that etcd sends after the last page.
pub(super) const TRAILER: u64 = 32;
/// Pages are multiples of this, so a length that is 32 more has the digest at its end.
const SECTOR: u64 = 512;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The snapshot
    path: PathBuf,
    /// Take a file without the digest at its end, such as one copied from member/snap/db
    #[arg(long)]
    skip_hash_check: bool,
    /// Start a throw-away etcd from it too, and compare what it says of itself
    #[arg(long)]
    boot: bool,
    /// The secret key (a file of age's) for a snapshot that is encrypted
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Where there is room, for the throw-away etcd and for what a compressed or encrypted snapshot holds, all of which
    /// is removed again; else beside the snapshot
    #[arg(long)]
    dir: Option<PathBuf>,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// What to make of the digest at the file's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    /// It must be there and be right.
    Required,
    /// It may be missing or wrong; the result says which.
    Optional,
    /// It was checked while the file was written, and this is the whole file's digest. Saves reading it twice.
    Known(Sha256),
}

/// What was found at the file's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Digest {
    /// The digest of all that goes before.
    Good,
    /// Another digest.
    Wrong,
    /// None.
    Absent,
}

/// A snapshot that is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    /// Of the whole file.
    pub(crate) sha256: Sha256,
    /// Of the whole file, in bytes.
    pub(crate) size: u64,
    pub(crate) digest: Digest,
    /// Pages of the database, and those of them that hold something.
    pub(crate) pages: u64,
    pub(crate) used: u64,
    pub(crate) page_size: u32,
    #[serde(flatten)]
    pub(crate) contents: Contents,
}

impl std::ops::Deref for Verified {
    type Target = Contents;

    fn deref(&self) -> &Contents {
        &self.contents
    }
}

/// What is known of a file after it was looked at: what it is as far as it can be told, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) verified: Verified,
    pub(crate) faults: Faults,
}

impl Examined {
    /// The snapshot, if it is good.
    pub(crate) fn good(self, path: &Path) -> Result<Verified> {
        let Some(first) = self.faults.first().first() else { return Ok(self.verified) };
        let more = match self.faults.count() - 1 {
            0 => String::new(),
            more => format!("; and {more} more: firstboot snapshot verify {} shows them", path.display()),
        };
        Err(refused(format!("{} is no good snapshot: {first}{more}", path.display())))
    }
}

/// Checks a snapshot.
///
/// # Errors
/// [`Exit::Refused`] where it is damaged, with the first fault; another where it cannot be read.
pub(crate) fn verify(path: &Path, hash: Hash) -> Result<Verified> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let examined = examine(&file, hash, &mut |_| ());
    examined.with_context(|| format!("cannot read {}", path.display()))?.good(path)
}

/// Looks at an open file, and tells `progress` how many bytes of its pages it has behind it. The digest is made beside
/// the walk, by a thread of its own.
pub(crate) fn examine(file: &File, hash: Hash, progress: &mut dyn FnMut(u64)) -> Result<Examined> {
    let size = file.metadata()?.len();
    let trailer = size % SECTOR == TRAILER;
    let pages = if trailer { size - TRAILER } else { size };
    let form = if trailer { Form::Snapshot } else { Form::Live };
    let mut reader = Reader::new(progress);
    let (report, digests) = thread::scope(|scope| {
        let digests = || match hash {
            Hash::Known(whole) => Ok(Digests { whole, right: true }),
            _ => Digests::of(file, pages, size),
        };
        let digests = scope.spawn(digests);
        let report = bolt::check(file, pages, form, &mut reader)?;
        let digests = digests.join().map_err(|_| anyhow!("the thread that makes the digest died"))??;
        anyhow::Ok((report, digests))
    })?;
    let mut faults = report.faults;
    let contents = if report.complete { reader.finish(&mut faults) } else { reader.finish(&mut Faults::default()) };
    let digest = match (trailer, digests.right) {
        (false, _) => Digest::Absent,
        (true, true) => Digest::Good,
        (true, false) => Digest::Wrong,
    };
    if hash != Hash::Optional {
        match digest {
            Digest::Good => {}
            Digest::Wrong => faults.add(None, pages, "the SHA-256 of all bytes before it", "another"),
            Digest::Absent => faults.add(
                None,
                size,
                "a SHA-256 after the last page (--skip-hash-check, if the file was copied from member/snap/db)",
                format!("no room for it in {size} bytes"),
            ),
        }
    }
    let verified = Verified {
        sha256: digests.whole,
        size,
        digest,
        pages: report.meta.as_ref().map_or(0, |meta| meta.pages),
        used: report.used,
        page_size: report.meta.as_ref().map_or(0, |meta| meta.page_size),
        contents,
    };
    Ok(Examined { verified, faults })
}

/// The digests of a file, made in one go.
struct Digests {
    whole: Sha256,
    /// Whether the digest of what goes before the trailer is the trailer.
    right: bool,
}

impl Digests {
    fn of(file: &File, pages: u64, size: u64) -> io::Result<Self> {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut buffer = vec![0; 256 << 10];
        let mut at = 0;
        while at < pages {
            let piece = usize::try_from(pages - at).unwrap_or(buffer.len()).min(buffer.len());
            file.read_exact_at(&mut buffer[..piece], at)?;
            context.update(&buffer[..piece]);
            at += piece as u64;
        }
        let trailer = &mut buffer[..usize::try_from(size - pages).unwrap_or(0)];
        file.read_exact_at(trailer, pages)?;
        let right = context.clone().finish().as_ref() == trailer;
        context.update(trailer);
        let mut whole = [0; 32];
        whole.copy_from_slice(context.finish().as_ref());
        Ok(Self { whole: Sha256::new(whole), right })
    }
}

/// Prints what is in the snapshot, or what is wrong with it.
pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    let hash = if options.skip_hash_check { Hash::Optional } else { Hash::Required };
    let path = &options.path;
    let beside = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let room = options.dir.as_deref().unwrap_or(beside);
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let encoded = is_encoded(path, &file)?;
    if encoded {
        // Nobody else sees it, and it is gone with this process.
        file = Part::begin(room, "firstboot-verify")?.file().try_clone().context("cannot hold a file open")?;
        decode(path, options.identity.as_deref(), &file)?;
    }
    let examined = examine(&file, hash, &mut |_| ()).with_context(|| format!("cannot read {}", path.display()))?;
    let booted = match &options.boot {
        true if examined.faults.count() == 0 => {
            let open = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
            let path = if encoded { Path::new(&open) } else { path };
            Some(boot::boot(path, &examined.verified, room))
        }
        _ => None,
    };
    let went_well = booted.as_ref().and_then(|booted| booted.as_ref().ok());
    if options.json {
        show(&(serde_json::to_string_pretty(&Answer::of(&examined, booted.as_ref()))? + "\n"))?;
    } else if examined.faults.count() == 0 {
        show(&table(&examined.verified, went_well))?;
    } else {
        let lines: Vec<String> = examined.faults.first().iter().map(ToString::to_string).collect();
        show(&(lines.join("\n") + "\n"))?;
    }
    examined.good(path)?;
    booted.transpose().map(|_| None)
}

/// The answer for programs.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    good: bool,
    #[serde(flatten)]
    verified: &'a Verified,
    /// How many there are, and the first of them.
    fault_count: u64,
    faults: &'a [bolt::Fault],
    /// What came of `--boot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    booted: Option<&'a Booted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_failed: Option<String>,
}

impl<'a> Answer<'a> {
    fn of(examined: &'a Examined, booted: Option<&'a Result<Booted>>) -> Self {
        let (booted, failed) = match booted {
            Some(Ok(booted)) => (Some(booted), None),
            Some(Err(error)) => (None, Some(format!("{error:#}"))),
            None => (None, None),
        };
        let Examined { verified, faults } = examined;
        Self {
            good: faults.count() == 0 && failed.is_none(),
            verified,
            fault_count: faults.count(),
            faults: faults.first(),
            booted,
            boot_failed: failed,
        }
    }
}

fn table(verified: &Verified, booted: Option<&Booted>) -> String {
    let Contents { revision, compacted, keys, hash, index, term, storage_version, members, leases, .. } =
        &verified.contents;
    let members: Vec<String> = members.iter().map(|member| format!("{} ({:x})", member.name, member.id)).collect();
    let digest = match verified.digest {
        Digest::Good => "right",
        Digest::Wrong => "WRONG",
        Digest::Absent => "absent",
    };
    let mut rows = vec![
        ("revision", format!("{revision}, compacted up to {compacted}")),
        ("keys", format!("{keys} with their history, hash {hash:08x}")),
        ("raft", format!("index {index}, term {term}")),
        ("storage version", storage_version.clone().unwrap_or_else(|| "none (before 3.6)".to_owned())),
        ("members", members.join(", ")),
        ("auth", if verified.auth_enabled { "on" } else { "off" }.to_owned()),
        ("leases", leases.to_string()),
        ("pages", format!("{} of {} bytes, {} in use", verified.pages, verified.page_size, verified.used)),
        ("size", format!("{} bytes", verified.size)),
        ("digest at its end", digest.to_owned()),
        ("sha256", verified.sha256.to_string()),
    ];
    if let Some(Booted { etcd, live_keys, hash_kv, milliseconds }) = booted {
        rows.push((
            "booted",
            format!("etcd {etcd} has this revision, {live_keys} keys, hash {hash_kv:08x}; took {milliseconds} ms"),
        ));
    }
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<18} {value}")).collect();
    lines.join("\n") + "\n"
}
