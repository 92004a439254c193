//! `firstboot snapshot`: one snapshot, taken and checked.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use recipes::ClusterDocument;

use super::agreement::Agreement;
use super::background_sync::SyncedWriter;
use super::bucket::Bucket;
use super::encode::{Encoding, Sink, Stored};
use super::examine::{self, Hash, VerifiedSnapshot};
use super::list::now;
use super::manifest::{Manifest, Plain, Snapshot, stamp};
use super::receive::{Received, receive, room};
use super::source::Endpoint;
use super::spool_tee::follow;
use super::store::Store;
use super::target::{self, Target};
use super::upload::Upload;
use crate::exit::{Exit, refused};
use crate::files::partial_file::PartialFile;
use crate::machine::host;
use crate::paths;

/// Says where a member's data is not, or not known to be, what the others have; and with which code the command ends then.
///
/// # Errors
/// Refused where another member has what the majority has, unless this one was `named`.
pub(super) fn judge(agreement: &Agreement, source: &Endpoint, named: bool) -> Result<Option<Exit>> {
    if let Some(why) = agreement.unknown() {
        eprintln!("firstboot: the members' data was not compared: {why}");
    }
    let Some(why) = agreement.apart(source) else { return Ok(None) };
    if agreement.has_majority() && !named {
        return Err(refused(format!("{why}. Take the snapshot from another member: --from-any")));
    }
    eprintln!("firstboot: WARNING: {why}. The snapshot is taken all the same, and holds this member's data");
    Ok(Some(Exit::Degraded))
}

/// What was made, in one line.
pub(super) fn describe(place: &Store, manifest: &Manifest) -> String {
    let Snapshot { revision, keys, .. } = &manifest.snapshot;
    let slash = if place.to_string().ends_with('/') { "" } else { "/" };
    format!(
        "{place}{slash}{}: revision {revision}, {keys} keys, {} bytes, sha256 {}; checked: {}",
        manifest.file,
        manifest.size,
        manifest.sha256,
        manifest.checked.join(", ")
    )
}

/// Takes a snapshot. When this returns well it is durable, named, and every page of it was walked.
pub(super) async fn take(
    cluster: &ClusterDocument,
    target: &Target,
    source: &Endpoint,
    agreement: &Agreement,
) -> Result<Manifest> {
    let time = now();
    let revision = source.status.header.map_or(0, |header| header.revision);
    let encoding = Encoding::of(cluster.backup.as_ref());
    let name = target.name(&cluster.name, time, revision, encoding)?;
    let about = SnapshotContext { cluster, source, agreement, time, name: &name, encoding };
    match &target.place {
        Store::Folder(folder) => save(&folder.0, &about).await,
        Store::Bucket(bucket) => upload(bucket, &about).await,
    }
}

/// Into a folder.
async fn save(folder: &Path, about: &SnapshotContext<'_>) -> Result<Manifest> {
    let path = folder.join(about.name);
    target::vacant(&path)?;
    // With the host in its name it is this host's alone, also in a folder that others see.
    let part = PartialFile::begin(folder, &format!("firstboot-{}", host()))?;
    let hold = || part.file().try_clone().context("cannot hold a file open");
    let kept = Box::new(SyncedWriter::new(hold()?)?);
    let unwritten = || format!("cannot write {}", part.path().display());
    let (received, verified, stored) = if about.encoding.is_none() {
        let received = receive(&about.source.client, kept, |size| room(&[folder], size)).await?;
        let stored = received.as_it_came();
        let (verified, flushed) = tokio::join!(walked(hold()?, &received, about), flush(hold()?));
        flushed.with_context(unwritten)?;
        (received, verified?, stored)
    } else {
        // Of what is made smaller nobody knows how small.
        let whole = Some(folder).filter(|_| !about.encoding.compresses());
        let made = by_spool(about, kept, whole).await?;
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

/// Into a bucket: the object is there only when its pages were found good.
async fn upload(bucket: &Bucket, about: &SnapshotContext<'_>) -> Result<Manifest> {
    let name = about.name;
    bucket.vacant(name).await?;
    let (mut upload, inlet) = Upload::begin(bucket, name).await?;
    // What the upload says of its failure is more than what its inlet can say.
    let ((), (received, verified, stored)) = tokio::try_join!(upload.run(), by_spool(about, Box::new(inlet), None))?;
    bucket.vacant(name).await?;
    let how = upload.complete(stored.size, stored.sha256).await?;
    let manifest = about.manifest(&received, stored, verified, how);
    upload.keep(&format!("{name}{}", super::manifest::SUFFIX), manifest.text()?).await?;
    Ok(manifest)
}

/// Receives it into a spool whose pages are walked, and makes from that what is stored, at the same time. There must be
/// room for the spool and, `also`, for as much in another folder.
async fn by_spool(
    about: &SnapshotContext<'_>,
    sink: Box<dyn Sink>,
    also: Option<&Path>,
) -> Result<(Received, VerifiedSnapshot, Stored)> {
    let spool = target::spool()?;
    let (spooled, follower) = follow(&spool).context("cannot hold a file open")?;
    let sink = about.encoding.before(sink)?;
    let folders: Vec<&Path> = also.into_iter().chain([Path::new(paths::BACKUPS)]).collect();
    let come = async {
        let received = receive(&about.source.client, Box::new(spooled), |size| room(&folders, size)).await?;
        let verified = walked(spool, &received, about).await?;
        Ok((received, verified))
    };
    let made = async {
        let made = tokio::task::spawn_blocking(move || follower.copy(sink)).await;
        made.context("what stores it was lost")?.context("cannot store the snapshot")
    };
    let ((received, verified), stored) = tokio::try_join!(come, made)?;
    let stored = stored.unwrap_or(received.as_it_came());
    Ok((received, verified, stored))
}

/// Walks every page. What the member said of itself before must be in it: a page that is lost may leave older ones that
/// fit together.
async fn walked(file: File, received: &Received, about: &SnapshotContext<'_>) -> Result<VerifiedSnapshot> {
    let hash = Hash::Known(received.sha256);
    let examined = tokio::task::spawn_blocking(move || examine::examine(&file, hash, &mut |_| ())).await;
    let examined = examined.map_err(|_| anyhow!("the pages could not be walked"))??;
    let verified = examined.good(Path::new(about.name)).context("etcd sent a database that is damaged")?;
    let header = about.source.status.header.unwrap_or_default();
    if verified.revision < header.revision {
        return Err(refused(format!(
            "etcd sent a database that is damaged: the member {:x} at {} was at revision {} before, and the database ends \
             at {}. Take the snapshot from another member: --from-any",
            header.member_id, about.source.url, header.revision, verified.revision
        )));
    }
    Ok(verified)
}

/// All that a manifest says besides what the stream and the pages say.
struct SnapshotContext<'a> {
    cluster: &'a ClusterDocument,
    source: &'a Endpoint,
    agreement: &'a Agreement,
    time: u64,
    name: &'a str,
    encoding: Encoding<'a>,
}

impl SnapshotContext<'_> {
    fn manifest(&self, received: &Received, stored: Stored, verified: VerifiedSnapshot, how: &str) -> Manifest {
        let header = self.source.status.header.unwrap_or_default();
        let mut checked = vec!["length".to_owned(), "stream digest".to_owned(), "pages".to_owned()];
        if how != "pages" {
            checked.push(how.to_owned());
        }
        checked.extend(self.agreement.checked().map(str::to_owned));
        let Stored { sha256, size } = stored;
        let plain = (stored != received.as_it_came()).then_some(Plain { sha256: received.sha256, size: received.size });
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
            storage_version: verified.contents.storage_version.or_else(|| received.storage_version.clone()),
            taken_at: stamp(self.time),
            time: self.time,
            host: host(),
            checked,
        }
    }
}
