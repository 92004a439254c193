//! `firstboot snapshot verify`: is this file all that it was when etcd sent it, and can etcd live from it?

use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::decode::{decode, is_encoded};
use super::examine::{CheckResult, Digest, Hash, VerifiedSnapshot, at_rest, examine};
use super::schema::Contents;
use super::trial_start::{self, TrialReport};
use crate::exit::Exit;
use crate::files::{self, partial_file::PartialFile};
use crate::output::show;

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

/// Prints what is in the snapshot, or what is wrong with it.
pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    let hash = if options.skip_hash_check { Hash::Optional } else { Hash::Required };
    let path = &options.path;
    let beside = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let room = options.dir.as_deref().unwrap_or(beside);
    let mut file = files::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let encoded = is_encoded(path, &file)?;
    if encoded {
        // Nobody else sees it, and it is gone with this process.
        file = PartialFile::begin(room, "firstboot-verify")?.file().try_clone().context("cannot hold a file open")?;
        decode(path, options.identity.as_deref(), &file)?;
    } else {
        at_rest(path)?;
    }
    let mut examined = examine(&file, hash, &mut |_| ()).with_context(|| format!("cannot read {}", path.display()))?;
    examined.compare(path);
    let booted = match &options.boot {
        true if examined.faults.count() == 0 => {
            let open = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
            let path = if encoded { Path::new(&open) } else { path };
            Some(trial_start::boot(path, &examined.verified, room))
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
    verified: &'a VerifiedSnapshot,
    /// How many there are, and the first of them.
    fault_count: u64,
    faults: &'a [bolt::Fault],
    /// What came of `--boot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    booted: Option<&'a TrialReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_failed: Option<String>,
}

impl<'a> Answer<'a> {
    fn of(examined: &'a CheckResult, booted: Option<&'a Result<TrialReport>>) -> Self {
        let (booted, failed) = match booted {
            Some(Ok(booted)) => (Some(booted), None),
            Some(Err(error)) => (None, Some(format!("{error:#}"))),
            None => (None, None),
        };
        let CheckResult { verified, faults, .. } = examined;
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

fn table(verified: &VerifiedSnapshot, booted: Option<&TrialReport>) -> String {
    let Contents { revision, compacted, keys, hash, index, term, storage_version, members, leases, .. } =
        &verified.contents;
    let members: Vec<String> = members.iter().map(|member| format!("{} ({:x})", member.name, member.id)).collect();
    let digest = match verified.digest {
        Digest::Good => "right",
        Digest::Wrong => "WRONG",
        Digest::Absent => "absent",
    };
    let auth = match (verified.auth_enabled, verified.users) {
        (true, _) => "on",
        (false, 0) => "off",
        (false, _) => "off, though there are users",
    };
    let mut rows = vec![
        ("revision", format!("{revision}, compacted up to {compacted}")),
        ("keys", format!("{keys} with their history, hash {hash:08x}")),
        ("raft", format!("index {index}, term {term}")),
        ("storage version", storage_version.clone().unwrap_or_else(|| "none (before 3.6)".to_owned())),
        ("members", members.join(", ")),
        ("auth", auth.to_owned()),
        ("leases", leases.to_string()),
        ("pages", format!("{} of {} bytes, {} in use", verified.pages, verified.page_size, verified.used)),
        ("size", format!("{} bytes", verified.size)),
        ("digest at its end", digest.to_owned()),
        ("sha256", verified.sha256.to_string()),
    ];
    if verified.alarms > 0 {
        let alarms = format!("{}; etcd refuses writes, or everything, until they are disarmed", verified.alarms);
        rows.push(("alarms", alarms));
    }
    if let Some(TrialReport { etcd, live_keys, hash_kv, milliseconds }) = booted {
        rows.push((
            "booted",
            format!("etcd {etcd} has this revision, {live_keys} keys, hash {hash_kv:08x}; took {milliseconds} ms"),
        ));
    }
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<18} {value}")).collect();
    lines.join("\n") + "\n"
}
