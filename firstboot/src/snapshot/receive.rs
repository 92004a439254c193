//! Receives a snapshot: counts what comes, digests it, writes it. What is wrong with the stream ends it at once.

use std::iter;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use recipes::Sha256;
use ring::digest;
use tokio::sync::mpsc;

use super::encode::{Sink, Stored, finished};
use crate::etcd::{Client, SnapshotResponse};
use crate::exit::{ExitError, failed, not_ready};

/// A member that sends nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pieces of 32 KiB that go from the network to the disk together: to wake the writer for each costs more than to digest it.
const TOGETHER: usize = 32;
/// So many times that lie between them: what one does not wait for the other.
const BETWEEN: usize = 1;
/// How many empty pieces in a row are borne: where its disk cannot be read etcd sends them forever.
const EMPTY: u32 = 16;
/// Pages of the database are multiples of this.
const SECTOR: u64 = 512;

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    /// Of all of it, the digest at its end too.
    pub(super) sha256: Sha256,
    pub(super) size: u64,
    pub(super) storage_version: Option<String>,
}

impl Received {
    /// What is stored, where nothing is done to it.
    pub(super) fn as_it_came(&self) -> Stored {
        Stored { sha256: self.sha256, size: self.size }
    }
}

/// One piece, once it is known what it is.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Data(Bytes),
    Digest(Bytes),
    Nothing,
}

/// Counts the stream.
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
            ensure!(total > 0 && total.is_multiple_of(SECTOR), "it announces {total} bytes, which is not a database");
        }
        if length == 0 {
            self.empty += 1;
            ensure!(self.empty < EMPTY, "it sends empty pieces and says that {remaining} bytes are still to come");
            return Ok(Piece::Nothing);
        }
        self.empty = 0;
        ensure!(!self.digest, "it goes on after its end");
        if self.received == total {
            ensure!(length == 32 && remaining == 0, "it ends with {length} bytes where its digest of 32 should be");
            self.digest = true;
            return Ok(Piece::Digest(piece.blob.clone()));
        }
        let expected = (total - self.received).checked_sub(length);
        ensure!(
            expected == Some(remaining),
            "after {} bytes it sends {length} and says that {remaining} of {total} are still to come",
            self.received
        );
        self.received += length;
        Ok(Piece::Data(piece.blob.clone()))
    }

    fn end(&self) -> Result<()> {
        let total = self.total.unwrap_or_default();
        ensure!(self.received == total && total > 0, "it ended after {} of {total} bytes", self.received);
        ensure!(self.digest, "it ended without its digest");
        Ok(())
    }
}

/// Receives a member's database. `announced` is told its size before anything is written.
pub(super) async fn receive(
    client: &Client,
    sink: Box<dyn Sink>,
    announced: impl FnOnce(u64) -> Result<()>,
) -> Result<Received> {
    let (pieces, incoming) = mpsc::channel(BETWEEN);
    let writer = tokio::task::spawn_blocking(move || write(sink, incoming));
    let stream = async move {
        let mut stream = client.snapshot(PATIENCE).await?;
        let mut count = Count::default();
        let mut announced = Some(announced);
        let mut storage_version = None;
        let mut together = Vec::with_capacity(TOGETHER);
        while let Some(piece) = stream.next(PATIENCE).await? {
            let what = count.take(&piece)?;
            if let (Some(announced), Some(total)) = (announced.take(), count.total) {
                announced(total)?;
                storage_version = Some(piece.version).filter(|version| !version.is_empty());
            }
            together.push(what);
            let enough = together.len() == TOGETHER || count.digest;
            // Nobody there to take them: the writer has failed, and says why itself.
            if enough && pieces.send(std::mem::replace(&mut together, Vec::with_capacity(TOGETHER))).await.is_err() {
                break;
            }
        }
        anyhow::Ok((count, storage_version))
    };
    let (streamed, written) = tokio::join!(stream, writer);
    let written = written.context("the writer was lost")?;
    let (count, storage_version) = match (streamed, &written) {
        (Ok(streamed), _) => streamed,
        (Err(error), _) if error.downcast_ref::<ExitError>().is_some() => return Err(error),
        (Err(error), _) => return Err(not_ready(format!("the snapshot did not arrive: {error:#}"))),
    };
    let written = written?;
    count.end().map_err(|error| not_ready(format!("the snapshot did not arrive: {error:#}")))?;
    let sha256 = written.ok_or_else(|| anyhow!("the writer ended without a digest"))?;
    Ok(Received { sha256, size: count.received + 32, storage_version })
}

/// Writes what comes; gives the digest of all, once the stream's own was found right.
fn write(mut sink: Box<dyn Sink>, mut pieces: mpsc::Receiver<Vec<Piece>>) -> Result<Option<Sha256>> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut whole = false;
    for piece in iter::from_fn(|| pieces.blocking_recv()).flatten() {
        let bytes = match piece {
            Piece::Nothing => continue,
            Piece::Data(bytes) => bytes,
            Piece::Digest(bytes) => {
                let own = hash.clone().finish();
                if own.as_ref() != &bytes[..] {
                    return Err(not_ready(
                        "the snapshot was damaged on its way: its digest is another than the member says. Try again",
                    ));
                }
                whole = true;
                bytes
            }
        };
        hash.update(&bytes);
        sink.write_all(&bytes).context("cannot write the snapshot")?;
    }
    if !whole {
        return Ok(None);
    }
    sink.finish().context("cannot write the snapshot")?;
    Ok(Some(finished(hash)))
}

/// Refuses to begin where the disk has not the room for so many bytes in each of these folders.
pub(super) fn room(folders: &[&Path], size: u64) -> Result<()> {
    let disk = |folder: &Path| folder.metadata().map(|about| about.dev());
    for folder in folders {
        let shared = folders.iter().filter(|other| disk(other).ok() == disk(folder).ok()).count();
        let needed = size.saturating_mul(shared as u64);
        let about = nix::sys::statvfs::statvfs(*folder);
        let about = about.with_context(|| format!("cannot look at {}", folder.display()))?;
        let free = about.blocks_available() as u64 * about.fragment_size() as u64;
        if free < needed {
            return Err(failed(format!("{} has {free} bytes free, and the snapshot needs {needed}", folder.display())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(length: usize, remaining: u64) -> SnapshotResponse {
        SnapshotResponse { remaining_bytes: remaining, blob: vec![7; length].into(), version: String::new() }
    }

    fn all(pieces: &[SnapshotResponse]) -> Result<u64> {
        let mut count = Count::default();
        for piece in pieces {
            count.take(piece)?;
        }
        count.end().map(|()| count.received)
    }

    #[test]
    fn a_whole_stream_is_data_and_then_its_digest() {
        assert_eq!(all(&[piece(1024, 512), piece(512, 0), piece(32, 0)]).unwrap(), 1536);
        // Servers send an empty piece where a read ended just there.
        assert_eq!(all(&[piece(0, 1024), piece(1024, 0), piece(0, 0), piece(32, 0)]).unwrap(), 1024);
    }

    #[test]
    fn a_stream_that_is_not_whole_is_refused() {
        for (wrong, words) in [
            (vec![], "ended after 0 of 0"),
            (vec![piece(1024, 512)], "ended after 1024 of 1536"),
            (vec![piece(1024, 0)], "without its digest"),
            (vec![piece(1024, 512), piece(512, 512)], "512 of 1536 are still to come"),
            (vec![piece(1024, 0), piece(31, 0)], "its digest of 32"),
            (vec![piece(1024, 0), piece(32, 0), piece(32, 0)], "goes on after its end"),
            (vec![piece(1000, 0)], "not a database"),
            (vec![piece(0, 0)], "not a database"),
            (vec![piece(1024, u64::MAX)], "not a database"),
            ([vec![piece(512, 512)], vec![piece(0, 512); 20]].concat(), "empty pieces"),
        ] {
            let error = all(&wrong).unwrap_err().to_string();
            assert!(error.contains(words), "{error} / {words}");
        }
    }

    proptest! {
        #[test]
        fn no_stream_makes_it_panic(pieces in prop::collection::vec((0usize..2048, any::<u64>()), 0..20)) {
            let pieces: Vec<_> = pieces.into_iter().map(|(length, remaining)| piece(length, remaining)).collect();
            let _ = all(&pieces);
        }
    }
}
