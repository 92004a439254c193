//! A multipart upload that grows with the stream. The object is there only after [`Upload::complete`].

use std::io::{self, Write};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload};
use recipes::Sha256;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, OwnedPermit};

use super::bucket::{Bucket, Parts};
use super::encode::{Sink, Stored};
use super::undo;

/// The smallest that S3 takes; its limit of 10,000 parts lets 48 GiB through.
const PART: usize = 5 << 20;

/// The end of the upload that the stream is written into. It fills one part while the one before is sent, and no third.
#[derive(Debug)]
pub(super) struct Inlet {
    parts: mpsc::Sender<Bytes>,
    /// Where the part that is filling will go.
    place: Option<OwnedPermit<Bytes>>,
    filling: Vec<u8>,
}

impl Inlet {
    /// Waits until there is room for another part.
    fn begin(&mut self) -> io::Result<()> {
        // The first is never waited for: what is written before the stream comes is not written by the thread that may wait.
        let place = match self.parts.clone().try_reserve_owned() {
            Err(TrySendError::Full(parts)) => Handle::current().block_on(parts.reserve_owned()).ok(),
            other => other.ok(),
        };
        // Nobody there: the upload has failed, and says why itself.
        self.place = Some(place.ok_or_else(|| io::Error::other("the upload has stopped"))?);
        self.filling.reserve_exact(PART);
        Ok(())
    }

    fn send(&mut self) {
        if let Some(place) = self.place.take() {
            place.send(std::mem::take(&mut self.filling).into());
        }
    }
}

impl Write for Inlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.place.is_none() {
            self.begin()?;
        }
        let taken = bytes.len().min(PART - self.filling.len());
        self.filling.extend_from_slice(&bytes[..taken]);
        if self.filling.len() == PART {
            self.send();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Inlet {
    fn finish(mut self: Box<Self>) -> io::Result<Option<Stored>> {
        self.send();
        Ok(None)
    }
}

/// An upload that has begun.
#[derive(Debug)]
pub(super) struct Upload<'a> {
    bucket: &'a Bucket,
    name: String,
    /// Gone when it is an object, or is no more.
    multipart: Option<Box<dyn MultipartUpload>>,
    parts: Parts,
    incoming: mpsc::Receiver<Bytes>,
}

impl<'a> Upload<'a> {
    pub(super) async fn begin(bucket: &'a Bucket, name: &str) -> Result<(Self, Inlet)> {
        let begun = bucket.store.put_multipart(&bucket.path(name)).await;
        let multipart = begun.map_err(|error| bucket.trouble("write to", &error))?;
        let (parts, incoming) = mpsc::channel(1);
        let upload = Self { bucket, name: name.to_owned(), multipart: Some(multipart), parts: Parts::new(), incoming };
        Ok((upload, Inlet { parts, place: None, filling: Vec::new() }))
    }

    /// Uploads what comes, until the inlet is closed.
    pub(super) async fn run(&mut self) -> Result<()> {
        let outcome = self.pump().await;
        // After a failure nothing more is taken; who writes must learn that and not wait for room.
        self.incoming.close();
        outcome
    }

    async fn pump(&mut self) -> Result<()> {
        while let Some(part) = self.incoming.recv().await {
            self.parts.add(&part);
            let Some(multipart) = &mut self.multipart else { bail!("a bug: the upload is over") };
            let put = multipart.put_part(PutPayload::from_bytes(part)).await;
            put.map_err(|error| self.bucket.trouble("write to", &error))?;
        }
        Ok(())
    }

    /// Makes it an object, and has the store prove what it has.
    pub(super) async fn complete(mut self, size: u64, sha256: Sha256) -> Result<&'static str> {
        let Some(mut multipart) = self.multipart.take() else { bail!("a bug: the upload is over") };
        let done = multipart.complete().await;
        if done.is_err() {
            self.multipart = Some(multipart);
        }
        done.map_err(|error| self.bucket.trouble("write to", &error))?;
        let checked = self.bucket.check(&self.name, size, sha256, &self.parts).await;
        if checked.is_err() {
            // What is not as it was sent must not look like a snapshot.
            let removed = self.bucket.remove(&self.name).await;
            removed.context("what was uploaded is not as it was sent, and cannot be removed either")?;
        }
        checked
    }
}

/// In whatever way it ends that is not an object: the store forgets the parts, which no list shows and which cost money.
impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let Some(mut multipart) = self.multipart.take() {
            undo::begin(async move {
                if let Err(error) = multipart.abort().await {
                    eprintln!("firstboot: the unfinished upload could not be taken back: {error}");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// age writes its header before the thread is there that writes the stream.
    #[test]
    fn parts_come_whole_whoever_writes_first() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sizes = runtime.block_on(async {
            let (parts, mut incoming) = mpsc::channel(1);
            let mut inlet = Box::new(Inlet { parts, place: None, filling: Vec::new() });
            inlet.write_all(b"header").unwrap();
            let writer = tokio::task::spawn_blocking(move || {
                (0..3).for_each(|_| inlet.write_all(&vec![7; PART]).unwrap());
                inlet.finish().unwrap();
            });
            let mut sizes = Vec::new();
            while let Some(part) = incoming.recv().await {
                sizes.push(part.len());
            }
            writer.await.unwrap();
            sizes
        });
        assert_eq!(sizes, [PART, PART, PART, 6]);
    }
}
