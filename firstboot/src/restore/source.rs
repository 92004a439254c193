//! Obtains the snapshot and verifies it while etcd is running.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::download;
use super::options::Options;
use super::temporary_file::TemporaryFile;
use crate::exit::refused;
use crate::files;
use crate::identity::Identity;
use crate::journal::SnapshotFile;
use crate::output::say;
use crate::reason::ReasonId;
use crate::snapshot::decode::{NoMatchingKey, decode, is_encoded};
use crate::snapshot::examine::{self, DigestCheck, TrailingDigest};
use crate::snapshot::remote::RemoteSnapshot;

/// Obtains and verifies the snapshot, and returns the verified snapshot on this node's disk.
pub(super) fn get(
    options: &Options,
    identity: &Identity,
    patience: Duration,
) -> Result<SnapshotFile> {
    let path = match (&options.snapshot, &options.from) {
        (Some(path), _) => plain_snapshot(path, options, identity, patience)?,
        (None, Some(peer)) => download::from(identity, peer, patience)?,
        (None, None) => {
            let why = "specify a snapshot, or use --from to download the snapshot from a member";
            return Err(refused(ReasonId::RestoreSource.because(why)));
        }
    };
    let fingerprint = files::fingerprint(&path)?;
    let hash = if options.skip_hash_check {
        DigestCheck::Optional
    } else {
        DigestCheck::Required
    };
    say(format!("verifying {}", path.display()));
    let verified = examine::verify(&path, hash)?;
    if let Some(why) = verified.version_obstacle(identity.cluster.etcd.version) {
        return Err(refused(
            ReasonId::EtcdVersion.because(format!("{}: {why}", path.display())),
        ));
    }
    let revision =
        u64::try_from(verified.revision).context("the snapshot has a negative revision")?;
    say(format!("{} is good: revision {revision}", path.display()));
    Ok(SnapshotFile {
        path,
        sha256: verified
            .sha256
            .context("a bug: the digest of a good snapshot was not computed")?,
        revision,
        digest: verified.digest == TrailingDigest::Good,
        fingerprint,
    })
}

/// Returns the error for a snapshot that cannot be opened. The error is a refusal, because another
/// attempt would have the same result.
fn unusable(path: &Path, stored: &Path, error: &io::Error) -> anyhow::Error {
    let scheme = path
        .to_str()
        .and_then(|text| text.split_once("://"))
        .map(|(scheme, _)| scheme);
    let why = scheme.map_or_else(
        || format!("cannot open {}: {error}", stored.display()),
        |scheme| {
            format!(
                "{}: cannot download a snapshot over {scheme}",
                path.display()
            )
        },
    );
    refused(ReasonId::RestoreSource.because(format!(
        "{why}. Specify a file, an HTTPS URL or s3://bucket/prefix/NAME"
    )))
}

/// Returns the path of the plain snapshot. If necessary, downloads, decrypts and decompresses the
/// snapshot first.
fn plain_snapshot(
    path: &Path,
    options: &Options,
    identity: &Identity,
    patience: Duration,
) -> Result<PathBuf> {
    let backup = identity.cluster.backup.as_ref();
    let remote = path
        .to_str()
        .map(|text| RemoteSnapshot::of(text, backup))
        .transpose()?
        .flatten();
    let stored = match &remote {
        Some(remote) => download::fetch_remote(remote, patience)?,
        None => std::path::absolute(path)
            .with_context(|| format!("{} is not a path", path.display()))?,
    };
    let file = files::open(&stored).map_err(|error| unusable(path, &stored, &error))?;
    if !is_encoded(&stored, &file)? {
        return Ok(stored);
    }
    say(format!("decoding {}", path.display()));
    let mut temporary = TemporaryFile::begin("decoded")?;
    decode(&stored, options.identity.as_deref(), &mut temporary).map_err(|error| {
        match error.downcast::<NoMatchingKey>() {
            Ok(locked) => refused(locked.0),
            Err(error) => error,
        }
    })?;
    let plain = temporary.finish(None)?;
    if remote.is_some() {
        files::remove(&stored)?;
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Exit, code_of, id_of};

    #[test]
    fn a_snapshot_that_cannot_be_opened_is_refused_with_an_id() {
        for (path, words) in [
            (
                "http://a.example/x.db",
                "cannot download a snapshot over http",
            ),
            ("/root/x.db", "cannot open /root/x.db"),
        ] {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            let error = unusable(Path::new(path), Path::new(path), &missing);
            assert_eq!(code_of(&error), Exit::Refused);
            assert_eq!(id_of(&error), Some(ReasonId::RestoreSource));
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
