//! `firstboot snapshot verify`: checks that a snapshot is undamaged and, with `--boot`, that etcd
//! starts from the snapshot.

use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::decode::{NoMatchingKey, decode, is_encoded};
use super::examine::{
    CheckResult, DigestCheck, TrailingDigest, VerifiedSnapshot, ensure_not_in_use, examine,
};
use super::schema::DatabaseContents;
use super::trial_start::{self, TrialReport};
use crate::exit::{Exit, failed, reason_of};
use crate::files::{self, partial_file::PartialFile};
use crate::output::{show, show_json};
use crate::reason::Reason;

/// The command line of `firstboot snapshot verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the snapshot is good; 1 the file cannot be read; 3 the file is not a good snapshot; \
    4 the temporary etcd did not serve in time (--boot).\n\n\
    Example: firstboot snapshot verify --boot --dir /var/tmp etcd.db.zst.age --identity backup.key"
)]
pub(crate) struct Options {
    /// The snapshot file
    path: PathBuf,
    /// Accept a file without the digest at its end, such as a copy of member/snap/db
    #[arg(long)]
    skip_hash_check: bool,
    /// Start a temporary etcd from the snapshot, and compare etcd's revision, number of keys and
    /// hash with the values in the snapshot
    #[arg(long)]
    boot: bool,
    /// Decrypt the snapshot with the secret key in this age identity file
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Store the temporary etcd's data and the decoded snapshot in this directory. The command
    /// deletes these files when it ends [default: the snapshot's directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    let (examined, booted) = check(options)?;
    let went_well = booted.as_ref().and_then(|booted| booted.as_ref().ok());
    if options.json {
        show_json(&JsonOutput::of(&examined, booted.as_ref()))?;
    } else if examined.faults.count() == 0 {
        show(&table(&examined.verified, went_well))?;
    } else {
        let lines: Vec<String> = examined
            .faults
            .first()
            .iter()
            .map(ToString::to_string)
            .collect();
        show(&(lines.join("\n") + "\n"))?;
    }
    examined.into_verified(&options.path)?;
    booted.transpose().map(|_| None)
}

/// Examines the snapshot, and with `--boot` starts an etcd from it.
fn check(options: &Options) -> Result<(CheckResult, Option<Result<TrialReport>>)> {
    let hash = if options.skip_hash_check {
        DigestCheck::Optional
    } else {
        DigestCheck::Required
    };
    let path = &options.path;
    let beside = path
        .parent()
        .filter(|parent| *parent != Path::new(""))
        .unwrap_or(Path::new("."));
    let room = options.dir.as_deref().unwrap_or(beside);
    let mut file = files::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let encoded = is_encoded(path, &file)?;
    if encoded {
        // The file has no name, so the kernel deletes the file when this process exits.
        file = PartialFile::begin(room, "firstboot-verify")?
            .file()
            .try_clone()
            .context("cannot duplicate a file descriptor")?;
        decode(path, options.identity.as_deref(), &file).map_err(|error| {
            match error.downcast::<NoMatchingKey>() {
                Ok(locked) => failed(locked.0),
                Err(error) => error,
            }
        })?;
    } else {
        ensure_not_in_use(path)?;
    }
    let mut examined = examine(&file, hash, &mut |_| ())
        .with_context(|| format!("cannot read {}", path.display()))?;
    examined.compare(path);
    let booted = match &options.boot {
        true if examined.faults.count() == 0 => {
            let open = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
            let path = if encoded { Path::new(&open) } else { path };
            Some(trial_start::boot(path, &examined.verified, room))
        }
        _ => None,
    };
    Ok((examined, booted))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct JsonOutput<'a> {
    good: bool,
    #[serde(flatten)]
    verified: &'a VerifiedSnapshot,
    fault_count: u64,
    /// The first faults, at most `Faults::KEPT`.
    faults: &'a [bolt::Fault],
    /// The result of `--boot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    booted: Option<&'a TrialReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_failed: Option<Reason>,
}

impl<'a> JsonOutput<'a> {
    fn of(examined: &'a CheckResult, booted: Option<&'a Result<TrialReport>>) -> Self {
        let (booted, failed) = match booted {
            Some(Ok(booted)) => (Some(booted), None),
            Some(Err(error)) => (None, Some(reason_of(error))),
            None => (None, None),
        };
        let CheckResult {
            verified, faults, ..
        } = examined;
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
    let mut rows = contents_rows(verified);
    if verified.alarms > 0 {
        let alarms = format!(
            "{}; until they are disarmed, etcd refuses writes or all requests",
            verified.alarms
        );
        rows.push(("alarms", alarms));
    }
    if let Some(TrialReport {
        etcd,
        live_keys,
        hash_kv,
        milliseconds,
    }) = booted
    {
        rows.push((
            "booted",
            format!(
                "etcd {etcd} served the same revision with {live_keys} keys and the hash \
                 {hash_kv:08x} after {milliseconds} ms"
            ),
        ));
    }
    let lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| format!("{name:<18} {value}"))
        .collect();
    lines.join("\n") + "\n"
}

/// Returns the rows that describe the snapshot's contents, each as a name and a value.
fn contents_rows(verified: &VerifiedSnapshot) -> Vec<(&'static str, String)> {
    let DatabaseContents {
        revision,
        compacted,
        keys,
        hash,
        index,
        term,
        storage_version,
        members,
        leases,
        ..
    } = &verified.contents;
    let members: Vec<String> = members
        .iter()
        .map(|member| format!("{} ({:x})", member.name, member.id))
        .collect();
    let digest = match verified.digest {
        TrailingDigest::Good => "correct",
        TrailingDigest::Wrong => "WRONG",
        TrailingDigest::Absent => "absent",
    };
    let sha256 = verified.sha256.map(|sha256| sha256.to_string());
    let auth = match (verified.auth_enabled, verified.users) {
        (true, _) => "on",
        (false, 0) => "off",
        (false, _) => "off, although there are users",
    };
    vec![
        (
            "revision",
            format!("{revision}, compacted up to {compacted}"),
        ),
        (
            "keys",
            format!("{keys} with their history, hash {hash:08x}"),
        ),
        ("raft", format!("index {index}, term {term}")),
        (
            "storage version",
            storage_version
                .clone()
                .unwrap_or_else(|| "none (before 3.6)".to_owned()),
        ),
        ("members", members.join(", ")),
        ("auth", auth.to_owned()),
        ("leases", leases.to_string()),
        (
            "pages",
            format!(
                "{} of {} bytes, {} in use",
                verified.pages, verified.page_size, verified.used
            ),
        ),
        ("size", format!("{} bytes", verified.size)),
        ("digest at its end", digest.to_owned()),
        (
            "sha256",
            sha256.unwrap_or_else(|| "not computed".to_owned()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_verification() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 << 10).unwrap();
        let examined = examine(&file, DigestCheck::Required, &mut |_| ()).unwrap();
        let booted = Ok(TrialReport {
            etcd: "3.6.14".to_owned(),
            live_keys: 5,
            hash_kv: 7,
            milliseconds: 900,
        });
        let failed = Err(failed("etcd does not start"));
        let mut all = keys(&JsonOutput::of(&examined, Some(&booted)));
        all.extend(keys(&JsonOutput::of(&examined, Some(&failed))));
        assert_eq!(documented("json.md", "firstboot snapshot verify"), all);
    }
}
