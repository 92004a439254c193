//! Performs a multipart upload of a stream. [`Upload::complete`] creates the object. The object is
//! deleted again unless [`Upload::upload_manifest`] succeeds.

use std::future::Future;
use std::io::{self, Write};

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload};
use recipes::Sha256;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::task::JoinHandle;

use super::bucket::{Bucket, Parts};
use super::cleanup;
use super::encode::{Sink, StoredFile};

/// The minimum size of a part in S3. With parts of this size, S3's limit of 10,000 parts allows 48
/// GiB.
const PART: usize = 5 << 20;

/// The number of parts in memory: one part is filled while the other is sent.
const PARTS: usize = 2;

/// A part that is ready to be sent.
#[derive(Debug)]
struct UploadPart {
    bytes: Bytes,
    sha256: Sha256,
}

#[derive(Debug)]
pub(super) struct UploadWriter {
    parts: mpsc::UnboundedSender<UploadPart>,
    filling: Option<BytesMut>,
    /// The channel that returns the memory of the parts that have been sent.
    empty: mpsc::UnboundedReceiver<BytesMut>,
}

impl UploadWriter {
    /// Creates a writer, the channel for the parts that are ready, and the channel that returns
    /// their memory.
    fn new() -> (
        Self,
        mpsc::UnboundedReceiver<UploadPart>,
        mpsc::UnboundedSender<BytesMut>,
    ) {
        let (parts, incoming) = mpsc::unbounded_channel();
        let (back, empty) = mpsc::unbounded_channel();
        for _ in 0..PARTS {
            let _ = back.send(BytesMut::new());
        }
        (
            Self {
                parts,
                filling: None,
                empty,
            },
            incoming,
            back,
        )
    }

    /// Returns the part that is being filled. If no part is being filled, takes a free part, or
    /// waits until a part is free.
    fn part(&mut self) -> io::Result<&mut BytesMut> {
        if self.filling.is_none() {
            // Do not block if a part is free. The thread that writes the header of the stream into
            // the first part must not block.
            let mut part = match self.empty.try_recv() {
                Err(TryRecvError::Empty) => Handle::current().block_on(self.empty.recv()),
                other => other.ok(),
            };
            if let Some(part) = &mut part {
                part.reserve(PART);
            }
            self.filling = part;
        }
        self.filling.as_mut().ok_or_else(stopped)
    }

    fn send(&mut self) -> io::Result<()> {
        let Some(part) = self.filling.take() else {
            return Ok(());
        };
        let bytes = part.freeze();
        let part = UploadPart {
            sha256: Sha256::of(&bytes),
            bytes,
        };
        self.parts.send(part).map_err(|_| stopped())
    }
}

/// Returns the error for a write that begins after the upload has failed. `Upload::run` returns the
/// cause of the failure.
fn stopped() -> io::Error {
    io::Error::other("the upload has failed")
}

impl Write for UploadWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = self.part()?;
        let taken = bytes.len().min(PART - part.len());
        part.extend_from_slice(&bytes[..taken]);
        if part.len() == PART {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for UploadWriter {
    fn finish(mut self: Box<Self>) -> io::Result<Option<StoredFile>> {
        self.send().map(|()| None)
    }
}

/// The data that an incomplete upload has left in the store.
enum ToAbort {
    Nothing,
    /// Parts, which do not appear in listings but cost money.
    Parts(Box<dyn MultipartUpload>),
    /// Parts or the object. The store may have completed the object although its answer was an
    /// error: if the first answer is lost, `object_store` repeats the request, and S3 answers that
    /// the upload does not exist.
    PartsOrObject(Box<dyn MultipartUpload>),
    /// An object that has not been checked yet, or whose manifest is missing.
    Object,
}

/// The state of the store, or a request that changes the store. A request continues even if the
/// waiting future is dropped, because only the answer shows what the store contains.
enum State {
    Known(ToAbort),
    Asked(JoinHandle<(ToAbort, Result<()>)>),
}

/// An upload. If the upload ends for any reason before [`Upload::upload_manifest`] succeeds, its
/// data is deleted from the store.
pub(super) struct Upload<'a> {
    bucket: &'a Bucket,
    name: String,
    state: State,
    parts: Parts,
    incoming: mpsc::UnboundedReceiver<UploadPart>,
    back: mpsc::UnboundedSender<BytesMut>,
}

impl<'a> Upload<'a> {
    pub(super) async fn begin(bucket: &'a Bucket, name: &str) -> Result<(Self, UploadWriter)> {
        let (inlet, incoming, back) = UploadWriter::new();
        let state = State::Known(ToAbort::Nothing);
        let mut upload = Self {
            bucket,
            name: name.to_owned(),
            state,
            parts: Parts::new(),
            incoming,
            back,
        };
        let (bucket, path) = (bucket.clone(), bucket.path(name));
        let begun = async move {
            match bucket.store.put_multipart(&path).await {
                Ok(multipart) => (ToAbort::Parts(multipart), Ok(())),
                Err(error) => (ToAbort::Nothing, Err(bucket.error("write to", &error))),
            }
        };
        upload.ask(begun).await?;
        Ok((upload, inlet))
    }

    /// Starts a request and waits for its answer. If the future is dropped during the wait, the
    /// request stays in `self.state`.
    async fn ask(
        &mut self,
        request: impl Future<Output = (ToAbort, Result<()>)> + Send + 'static,
    ) -> Result<()> {
        self.state = State::Asked(tokio::spawn(request));
        let State::Asked(asked) = &mut self.state else {
            bail!("a bug: no request is in progress")
        };
        let (left, answer) = asked
            .await
            .context("a bug: the task of a request panicked")?;
        self.state = State::Known(left);
        answer
    }

    /// Uploads the parts until the writer is closed.
    pub(super) async fn run(&mut self) -> Result<()> {
        let State::Known(ToAbort::Parts(multipart)) = &mut self.state else {
            bail!("a bug: the upload has already ended")
        };
        let mut on_their_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(UploadPart { bytes, sha256 }) = self.incoming.recv() => {
                    self.parts.add(sha256);
                    let put = multipart.put_part(PutPayload::from_bytes(bytes.clone()));
                    on_their_way.push(async { put.await.map(|()| bytes) });
                }
                Some(put) = on_their_way.next() => {
                    let bytes = put.map_err(|error| self.bucket.error("write to", &error))?;
                    let mut empty = bytes.try_into_mut().unwrap_or_default();
                    empty.clear();
                    // Ignore an error of `send`, because a writer that has stopped no longer
                    // accepts returned parts.
                    let _ = self.back.send(empty);
                }
                else => return Ok(()),
            }
        }
    }

    /// Completes the object, and checks what the store contains. Returns the name of the check, for
    /// the manifest.
    pub(super) async fn complete(&mut self, size: u64, sha256: Sha256) -> Result<&'static str> {
        let State::Known(ToAbort::Parts(mut parts)) =
            std::mem::replace(&mut self.state, State::Known(ToAbort::Nothing))
        else {
            bail!("a bug: the upload has already ended")
        };
        let bucket = self.bucket.clone();
        let completed = async move {
            match parts.complete().await {
                Ok(_) => (ToAbort::Object, Ok(())),
                Err(error) => {
                    let error = bucket.error("write to", &error);
                    (ToAbort::PartsOrObject(parts), Err(error))
                }
            }
        };
        self.ask(completed).await?;
        self.bucket
            .check(&self.name, size, sha256, &self.parts)
            .await
    }

    /// Uploads the manifest. After the manifest has been uploaded, a dropped `Upload` no longer
    /// deletes the object.
    pub(super) async fn upload_manifest(mut self, beside: &str, content: Vec<u8>) -> Result<()> {
        let (bucket, beside) = (self.bucket.clone(), beside.to_owned());
        let put = async move { (ToAbort::Object, bucket.put(&beside, &content).await) };
        self.ask(put).await?;
        self.state = State::Known(ToAbort::Nothing);
        Ok(())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Known(ToAbort::Nothing));
        if let State::Known(ToAbort::Nothing) = state {
            return;
        }
        let (bucket, name) = (self.bucket.clone(), std::mem::take(&mut self.name));
        cleanup::begin(async move {
            let left = match state {
                State::Known(left) => left,
                State::Asked(asked) => asked.await.map_or(ToAbort::Nothing, |(left, _)| left),
            };
            let undone = match left {
                ToAbort::Nothing => Ok(()),
                ToAbort::Parts(parts) => abort(&bucket, parts).await,
                // Abort the upload first, so that the store cannot complete the object later.
                // `upload` in take.rs has checked that no other object had this name.
                ToAbort::PartsOrObject(parts) => {
                    let aborted = abort(&bucket, parts).await;
                    bucket.remove(&name).await.and(aborted)
                }
                // Remove the object, because an object that has not been checked must not look like
                // a snapshot.
                ToAbort::Object => bucket.remove(&name).await,
            };
            if let Err(error) = undone {
                eprintln!("firstboot: cannot delete the incomplete upload: {error:#}");
            }
        });
    }
}

/// Deletes the parts of an upload. Succeeds if the upload does not exist.
async fn abort(bucket: &Bucket, mut parts: Box<dyn MultipartUpload>) -> Result<()> {
    match parts.abort().await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(bucket.error("abort an upload to", &error)),
    }
}

#[cfg(test)]
mod tests;
