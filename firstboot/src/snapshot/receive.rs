//! Receives a snapshot: counts the bytes, computes their digest and writes them. Aborts the
//! transfer as soon as the stream is invalid.

use std::iter;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use recipes::Sha256;
use ring::digest;
use tokio::sync::mpsc;

use super::encode::{Sink, StoredFile, finished};
use crate::etcd::{Client, SnapshotResponse};
use crate::exit::{ExitError, failed, not_ready};
use crate::files;
use crate::reason::ReasonId;

/// The time after which firstboot aborts a transfer if the member has sent no data.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of pieces of 32 KiB in a batch. firstboot passes a whole batch to the writer, because
/// waking the writer for each piece would take longer than hashing the piece.
const BATCH: usize = 32;
/// The number of batches in the queue to the writer.
const QUEUE: usize = 1;
/// After this number of consecutive empty pieces, firstboot aborts the transfer. An etcd that
/// cannot read its disk sends empty pieces indefinitely.
const MAX_EMPTY: u32 = 16;
/// The size of a page of the database is a multiple of this number.
const SECTOR: u64 = 512;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReceivedSnapshot {
    /// The digest of all bytes, including etcd's digest at the end.
    pub(super) sha256: Sha256,
    pub(super) size: u64,
    pub(super) storage_version: Option<String>,
}

impl ReceivedSnapshot {
    /// Describes the stored file of a snapshot that is neither compressed nor encrypted.
    pub(super) fn as_it_came(&self) -> StoredFile {
        StoredFile {
            sha256: self.sha256,
            size: self.size,
        }
    }
}

/// A piece of the stream: a part of the database, the digest, or an empty piece.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Data(Bytes),
    Digest(Bytes),
    Nothing,
}

/// Counts the bytes of the stream, and checks each piece.
#[derive(Debug, Default)]
struct Count {
    total: Option<u64>,
    received: u64,
    empty: u32,
    digest: bool,
}

impl Count {
    fn take(&mut self, piece: &SnapshotResponse) -> Result<Piece> {
        let (length, remaining) = (piece.blob.len() as u64, piece.remaining_bytes);
        let first = self.total.is_none();
        let total = *self.total.get_or_insert(length.saturating_add(remaining));
        if first {
            ensure!(
                total > 0 && total.is_multiple_of(SECTOR),
                "the member announced {total} bytes, which is not the size of a database"
            );
        }
        if length == 0 {
            self.empty += 1;
            ensure!(
                self.empty < MAX_EMPTY,
                "the member keeps sending empty pieces although {remaining} bytes are missing"
            );
            return Ok(Piece::Nothing);
        }
        self.empty = 0;
        ensure!(!self.digest, "the member sent data after the digest");
        if self.received == total {
            ensure!(
                length == 32 && remaining == 0,
                "the member sent {length} bytes instead of a digest of 32 bytes"
            );
            self.digest = true;
            return Ok(Piece::Digest(piece.blob.clone()));
        }
        let expected = (total - self.received).checked_sub(length);
        ensure!(
            expected == Some(remaining),
            "after {} bytes, the member sent {length} more, and reported {remaining} of {total} as missing",
            self.received
        );
        self.received += length;
        Ok(Piece::Data(piece.blob.clone()))
    }

    fn end(&self) -> Result<()> {
        let total = self.total.unwrap_or_default();
        ensure!(
            self.received == total && total > 0,
            "the stream ended after {} of {total} bytes",
            self.received
        );
        ensure!(self.digest, "the stream ended without a digest");
        Ok(())
    }
}

/// Receives a member's database. Calls `announced` with the size before writing anything.
pub(super) async fn receive(
    client: &Client,
    sink: Box<dyn Sink>,
    announced: impl FnOnce(u64) -> Result<()>,
) -> Result<ReceivedSnapshot> {
    let (pieces, incoming) = mpsc::channel(QUEUE);
    let writer = tokio::task::spawn_blocking(move || write(sink, incoming));
    let stream = async move {
        let mut stream = client.snapshot(STALL_TIMEOUT).await?;
        let mut count = Count::default();
        let mut announced = Some(announced);
        let mut storage_version = None;
        let mut together = Vec::with_capacity(BATCH);
        while let Some(piece) = stream.next(STALL_TIMEOUT).await? {
            let what = count.take(&piece)?;
            if let (Some(announced), Some(total)) = (announced.take(), count.total) {
                announced(total)?;
                storage_version = Some(piece.version).filter(|version| !version.is_empty());
            }
            together.push(what);
            let enough = together.len() == BATCH || count.digest;
            // `send` fails if the writer has stopped. The code below returns the writer's own
            // error.
            if enough
                && pieces
                    .send(std::mem::replace(&mut together, Vec::with_capacity(BATCH)))
                    .await
                    .is_err()
            {
                break;
            }
        }
        anyhow::Ok((count, storage_version))
    };
    let (streamed, written) = tokio::join!(stream, writer);
    let interrupted = |error: anyhow::Error| {
        let text = format!("the transfer of the snapshot was interrupted: {error:#}. Try again");
        not_ready(ReasonId::SnapshotInterrupted.because(text))
    };
    let written = written.context("a bug: the writer thread panicked")?;
    let (count, storage_version) = match (streamed, &written) {
        (Ok(streamed), _) => streamed,
        (Err(error), _) if error.downcast_ref::<ExitError>().is_some() => return Err(error),
        (Err(error), _) => return Err(interrupted(error)),
    };
    let written = written?;
    count.end().map_err(interrupted)?;
    let sha256 = written.ok_or_else(|| anyhow!("the writer ended without a digest"))?;
    Ok(ReceivedSnapshot {
        sha256,
        size: count.received + 32,
        storage_version,
    })
}

/// Writes the pieces. Returns the digest of all bytes, or `None` if etcd did not send a digest.
/// Fails if the digest that etcd sent is wrong.
fn write(
    mut sink: Box<dyn Sink>,
    mut pieces: mpsc::Receiver<Vec<Piece>>,
) -> Result<Option<Sha256>> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut whole = false;
    for piece in iter::from_fn(|| pieces.blocking_recv()).flatten() {
        let bytes = match piece {
            Piece::Nothing => continue,
            Piece::Data(bytes) => bytes,
            Piece::Digest(bytes) => {
                let own = hash.clone().finish();
                if own.as_ref() != &bytes[..] {
                    return Err(not_ready(ReasonId::SnapshotInterrupted.because(
                        "the snapshot was damaged in transit: its digest differs from the digest that the member sent. Try again",
                    )));
                }
                whole = true;
                bytes
            }
        };
        hash.update(&bytes);
        sink.write_all(&bytes)
            .context("cannot write the snapshot")?;
    }
    if !whole {
        return Ok(None);
    }
    sink.finish().context("cannot write the snapshot")?;
    Ok(Some(finished(hash)))
}

/// Checks that each of these folders has room for a file of this many bytes. If several folders are
/// on the same disk, the disk must have room for the files of all of them.
pub(super) fn check_room(folders: &[&Path], size: u64) -> Result<()> {
    let disk = |folder: &Path| folder.metadata().map(|about| about.dev());
    for folder in folders {
        let shared = folders
            .iter()
            .filter(|other| disk(other).ok() == disk(folder).ok())
            .count();
        let needed = size.saturating_mul(shared as u64);
        let free = files::free_space(folder)?;
        if free < needed {
            return Err(failed(ReasonId::DiskFull.because(format!(
                "{} has {free} bytes free, but the snapshot needs {needed}",
                folder.display()
            ))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(length: usize, remaining: u64) -> SnapshotResponse {
        SnapshotResponse {
            remaining_bytes: remaining,
            blob: vec![7; length].into(),
            version: String::new(),
        }
    }

    fn all(pieces: &[SnapshotResponse]) -> Result<u64> {
        let mut count = Count::default();
        for piece in pieces {
            count.take(piece)?;
        }
        count.end().map(|()| count.received)
    }

    #[test]
    fn a_complete_stream_is_data_followed_by_its_digest() {
        assert_eq!(
            all(&[piece(1024, 512), piece(512, 0), piece(32, 0)]).unwrap(),
            1536
        );
        // A server sends an empty piece if one of its reads returns no data.
        assert_eq!(
            all(&[piece(0, 1024), piece(1024, 0), piece(0, 0), piece(32, 0)]).unwrap(),
            1024
        );
    }

    #[test]
    fn an_incomplete_stream_is_refused() {
        for (wrong, words) in [
            (vec![], "ended after 0 of 0"),
            (vec![piece(1024, 512)], "ended after 1024 of 1536"),
            (vec![piece(1024, 0)], "without a digest"),
            (
                vec![piece(1024, 512), piece(512, 512)],
                "512 of 1536 as missing",
            ),
            (vec![piece(1024, 0), piece(31, 0)], "digest of 32"),
            (
                vec![piece(1024, 0), piece(32, 0), piece(32, 0)],
                "after the digest",
            ),
            (vec![piece(1000, 0)], "not the size of a database"),
            (vec![piece(0, 0)], "not the size of a database"),
            (vec![piece(1024, u64::MAX)], "not the size of a database"),
            (
                [vec![piece(512, 512)], vec![piece(0, 512); 20]].concat(),
                "empty pieces",
            ),
        ] {
            let error = all(&wrong).unwrap_err().to_string();
            assert!(error.contains(words), "{error} / {words}");
        }
    }

    proptest! {
        #[test]
        fn no_stream_causes_a_panic(pieces in prop::collection::vec((0usize..2048, any::<u64>()), 0..20)) {
            let pieces: Vec<_> = pieces.into_iter().map(|(length, remaining)| piece(length, remaining)).collect();
            let _ = all(&pieces);
        }
    }
}
