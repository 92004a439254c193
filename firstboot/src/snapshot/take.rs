//! Takes and checks one snapshot.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use recipes::ClusterDocument;

use super::background_sync::SyncedWriter;
use super::bucket::Bucket;
use super::encode::{Encoding, Sink, StoredFile};
use super::examine::{self, DigestCheck, VerifiedSnapshot};
use super::growing_file::follow;
use super::manifest::{Manifest, Plain, Snapshot};
use super::member_comparison::MemberComparison;
use super::receive::{ReceivedSnapshot, check_room, receive};
use super::source::Endpoint;
use super::store::Store;
use super::target::{self, Target};
use super::upload::Upload;
use crate::exit::{Exit, refused};
use crate::files::partial_file::PartialFile;
use crate::machine::host;
use crate::paths;
use crate::reason::ReasonId;
use members::timestamp::{now, rfc3339};

/// Warns if firstboot cannot rely on the data of the member `source` (see
/// [`MemberComparison::apart`]), and returns an exit code. Also warns if the data was not compared,
/// but this warning alone has no exit code.
///
/// # Errors
/// Returns a refusal if firstboot cannot rely on the data of `source`, but can rely on the data of
/// another member. Does not fail if the operator selected the member with
/// `--endpoint` (`named`).
pub(super) fn warn_of_differences(
    comparison: &MemberComparison,
    source: &Endpoint,
    named: bool,
) -> Result<Option<Exit>> {
    if let Some(why) = comparison.unknown(source) {
        eprintln!("firstboot: the members' data was not compared: {why}");
    }
    let Some(why) = comparison.apart(source) else {
        return Ok(None);
    };
    if comparison.has_reliable_member() && !named {
        return Err(refused(why.map(|why| {
            format!("{why}. Take the snapshot from another member with --from-any")
        })));
    }
    let why = why.map(|why| format!("{why}. The snapshot will contain this member's data"));
    eprintln!("firstboot: WARNING: {why}");
    Ok(Some(Exit::Degraded))
}

/// Describes a snapshot on one line.
pub(super) fn describe(place: &Store, manifest: &Manifest) -> String {
    let Snapshot { revision, keys, .. } = &manifest.snapshot;
    let slash = if place.to_string().ends_with('/') {
        ""
    } else {
        "/"
    };
    format!(
        "{place}{slash}{}: revision {revision}, {keys} keys, {} bytes, sha256 {}; checked: {}",
        manifest.file,
        manifest.size,
        manifest.sha256,
        manifest.checked.join(", ")
    )
}

/// Takes a snapshot. When the function succeeds, all pages of the snapshot have been checked, and
/// the snapshot is durable and has its final name.
pub(super) async fn take(
    cluster: &ClusterDocument,
    target: &Target,
    source: &Endpoint,
    comparison: &MemberComparison,
) -> Result<Manifest> {
    let time = now();
    let revision = source.status.header.map_or(0, |header| header.revision);
    let encoding = Encoding::of(cluster.backup.as_ref());
    let name = target.name(&cluster.name, time, revision, encoding)?;
    let about = SnapshotContext {
        cluster,
        source,
        comparison,
        time,
        name: &name,
        encoding,
    };
    match &target.place {
        Store::Folder(folder) => save(&folder.0, &about).await,
        Store::Bucket(bucket) => upload(bucket, &about).await,
    }
}

async fn save(folder: &Path, about: &SnapshotContext<'_>) -> Result<Manifest> {
    let path = folder.join(about.name);
    target::ensure_absent(&path)?;
    // The name of the temporary file contains the host, so that the name is unique in a folder that
    // several hosts share.
    let part = PartialFile::begin(folder, &format!("firstboot-{}", host()))?;
    let hold = || {
        part.file()
            .try_clone()
            .context("cannot duplicate a file descriptor")
    };
    let kept = Box::new(SyncedWriter::new(hold()?)?);
    let unwritten = || format!("cannot write {}", part.path().display());
    let (received, verified, stored) = if about.encoding.is_none() {
        let received = receive(&about.source.client, kept, |size| {
            check_room(&[folder], size)
        })
        .await?;
        let stored = received.as_it_came();
        let (verified, flushed) =
            tokio::join!(check_pages(hold()?, &received, about), flush(hold()?));
        flushed.with_context(unwritten)?;
        (received, verified?, stored)
    } else {
        // Check for room in the folder only if the stored file is not compressed, because the size
        // of a compressed file is not known in advance.
        let whole = Some(folder).filter(|_| !about.encoding.compresses());
        let made = through_temporary_file(about, kept, whole).await?;
        flush(hold()?).await.with_context(unwritten)?;
        made
    };
    let manifest = about.manifest(&received, stored, verified, "pages");
    target::commit(part, &path, &manifest)?;
    Ok(manifest)
}

async fn flush(file: File) -> Result<()> {
    Ok(tokio::task::spawn_blocking(move || file.sync_all()).await??)
}

/// Takes a snapshot and stores it in a bucket. The object appears only after the snapshot's pages
/// have been checked.
async fn upload(bucket: &Bucket, about: &SnapshotContext<'_>) -> Result<Manifest> {
    let name = about.name;
    bucket.ensure_absent(name).await?;
    let (mut upload, inlet) = Upload::begin(bucket, name).await?;
    // If the upload fails, return its error, which is more informative than the writer's error.
    let ((), (received, verified, stored)) = tokio::try_join!(
        upload.run(),
        through_temporary_file(about, Box::new(inlet), None)
    )?;
    bucket.ensure_absent(name).await?;
    let how = upload.complete(stored.size, stored.sha256).await?;
    let manifest = about.manifest(&received, stored, verified, how);
    upload
        .upload_manifest(
            &format!("{name}{}", super::manifest::SUFFIX),
            manifest.text()?,
        )
        .await?;
    Ok(manifest)
}

/// Receives the snapshot into a temporary file, and encodes the snapshot from this file while the
/// file grows. After the transfer, checks the file's pages. Fails if there is no room for the
/// temporary file, or for a file of the same size in the folder `also`.
async fn through_temporary_file(
    about: &SnapshotContext<'_>,
    sink: Box<dyn Sink>,
    also: Option<&Path>,
) -> Result<(ReceivedSnapshot, VerifiedSnapshot, StoredFile)> {
    let temporary = target::temporary_file()?;
    let (writer, follower) = follow(&temporary).context("cannot duplicate a file descriptor")?;
    let sink = about.encoding.wrap(sink)?;
    let folders: Vec<&Path> = also
        .into_iter()
        .chain([Path::new(paths::BACKUPS)])
        .collect();
    let come = async {
        let received = receive(&about.source.client, Box::new(writer), |size| {
            check_room(&folders, size)
        })
        .await?;
        let verified = check_pages(temporary, &received, about).await?;
        Ok((received, verified))
    };
    let made = async {
        let made = tokio::task::spawn_blocking(move || follower.copy(sink)).await;
        made.context("a bug: the encoder thread panicked")?
            .context("cannot store the snapshot")
    };
    let ((received, verified), stored) = tokio::try_join!(come, made)?;
    let stored = stored.unwrap_or(received.as_it_came());
    Ok((received, verified, stored))
}

/// Checks every page, and checks that the snapshot has at least the revision that the member
/// reported before the transfer. The check of the pages is not enough: if the write of a page was
/// lost, the older pages may still form a consistent database.
async fn check_pages(
    file: File,
    received: &ReceivedSnapshot,
    about: &SnapshotContext<'_>,
) -> Result<VerifiedSnapshot> {
    let hash = DigestCheck::Known(received.sha256);
    let examined =
        tokio::task::spawn_blocking(move || examine::examine(&file, hash, &mut |_| ())).await;
    let examined =
        examined.map_err(|_| anyhow!("a bug: the thread that checks the pages panicked"))??;
    let verified = examined
        .into_verified(Path::new(about.name))
        .context("etcd sent a damaged database")?;
    let header = about.source.status.header.unwrap_or_default();
    if verified.revision < header.revision {
        return Err(refused(ReasonId::SnapshotInvalid.because(format!(
            "etcd sent a damaged database: the member {:x} at {} reported revision {}, but the database ends at revision \
             {}. Take the snapshot from another member with --from-any",
            header.member_id, about.source.url, header.revision, verified.revision
        ))));
    }
    Ok(verified)
}

/// The facts that the manifest needs in addition to the facts from the received stream and its
/// pages.
struct SnapshotContext<'a> {
    cluster: &'a ClusterDocument,
    source: &'a Endpoint,
    comparison: &'a MemberComparison,
    time: u64,
    name: &'a str,
    encoding: Encoding<'a>,
}

impl SnapshotContext<'_> {
    fn manifest(
        &self,
        received: &ReceivedSnapshot,
        stored: StoredFile,
        verified: VerifiedSnapshot,
        how: &str,
    ) -> Manifest {
        let header = self.source.status.header.unwrap_or_default();
        let mut checked = vec![
            "length".to_owned(),
            "stream digest".to_owned(),
            "pages".to_owned(),
        ];
        if how != "pages" {
            checked.push(how.to_owned());
        }
        checked.extend(self.comparison.checked(self.source).map(str::to_owned));
        let StoredFile { sha256, size } = stored;
        let plain = (stored != received.as_it_came()).then_some(Plain {
            sha256: received.sha256,
            size: received.size,
        });
        Manifest {
            format: Manifest::format(),
            file: self.name.to_owned(),
            sha256,
            size,
            plain,
            snapshot: Snapshot {
                revision: verified.revision,
                keys: verified.keys,
                raft_term: verified.term,
                raft_index: verified.index,
            },
            cluster: self.cluster.name.clone(),
            cluster_id: format!("{:x}", header.cluster_id),
            member_id: format!("{:x}", header.member_id),
            endpoint: self.source.url.clone(),
            etcd_version: self.source.status.version.clone(),
            storage_version: verified
                .contents
                .storage_version
                .or_else(|| received.storage_version.clone()),
            taken_at: rfc3339(self.time),
            time: self.time,
            host: host(),
            checked,
        }
    }
}
