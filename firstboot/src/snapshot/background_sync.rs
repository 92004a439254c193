//! Writes a file and flushes it while it grows, because a single flush at the end would block
//! etcd's own flushes.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::encode::{Sink, StoredFile};

const FLUSH: usize = 64 << 20;

/// A writer that flushes its file in the background.
pub(super) struct SyncedWriter {
    file: File,
    flusher: Flusher,
    unflushed: usize,
}

impl SyncedWriter {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let flusher = Flusher::of(file.try_clone()?);
        Ok(Self {
            file,
            flusher,
            unflushed: 0,
        })
    }
}

impl Write for SyncedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unflushed += written;
        if self.unflushed > FLUSH {
            self.flusher.begin();
            self.unflushed = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for SyncedWriter {
    fn finish(self: Box<Self>) -> io::Result<Option<StoredFile>> {
        self.flusher.end().map(|()| None)
    }
}

/// A thread that flushes a file, so that the writer's thread does not wait for the disk.
struct Flusher {
    orders: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Flusher {
    fn of(file: File) -> Self {
        let (orders, incoming) = sync_channel(1);
        let thread =
            thread::spawn(move || incoming.into_iter().try_for_each(|()| file.sync_data()));
        Self { orders, thread }
    }

    /// Requests a flush, unless an earlier request is still pending.
    fn begin(&self) {
        let _ = self.orders.try_send(());
    }

    /// Waits for the requested flushes, and returns the first error. The caller must not ignore the
    /// error, because the kernel reports a write error only once, and a later flush would not
    /// return it.
    fn end(self) -> io::Result<()> {
        drop(self.orders);
        self.thread.join().unwrap_or_else(|_| {
            Err(io::Error::other(
                "a bug: the thread that flushes the file panicked",
            ))
        })
    }
}
