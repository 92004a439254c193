//! Writes a temporary file that another thread reads while the file grows. firstboot uploads or
//! encodes a snapshot from this file, so that a slow store does not slow down the transfer from the
//! member. The transfer must be fast, because etcd cannot reuse old pages while it sends its
//! database.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::encode::{Sink, StoredFile};

const CHUNK: usize = 128 << 10;

/// The writer of the file. The writer never syncs the file to the disk, because the file is only
/// temporary.
#[derive(Debug)]
pub(super) struct GrowingFileWriter {
    file: File,
    length: watch::Sender<u64>,
}

/// The reader of the file. The reader waits for more bytes until the writer is dropped.
#[derive(Debug)]
pub(super) struct GrowingFileReader {
    file: File,
    length: watch::Receiver<u64>,
}

/// Creates a writer and a reader for an empty file.
pub(super) fn follow(file: &File) -> io::Result<(GrowingFileWriter, GrowingFileReader)> {
    let (sender, receiver) = watch::channel(0);
    Ok((
        GrowingFileWriter {
            file: file.try_clone()?,
            length: sender,
        },
        GrowingFileReader {
            file: file.try_clone()?,
            length: receiver,
        },
    ))
}

impl Write for GrowingFileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.length.send_modify(|length| *length += written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for GrowingFileWriter {
    fn finish(self: Box<Self>) -> io::Result<Option<StoredFile>> {
        Ok(None)
    }
}

impl GrowingFileReader {
    /// Copies all bytes until the writer is dropped. Blocks the calling thread.
    pub(super) fn copy(mut self, mut sink: Box<dyn Sink>) -> io::Result<Option<StoredFile>> {
        let mut chunk = vec![0; CHUNK];
        let mut at = 0;
        while Handle::current().block_on(self.length.changed()).is_ok() {
            let length = *self.length.borrow_and_update();
            while at < length {
                let wanted = usize::try_from(length - at).map_or(CHUNK, |left| left.min(CHUNK));
                let bytes = &mut chunk[..wanted];
                self.file.read_exact_at(bytes, at)?;
                sink.write_all(bytes)?;
                at += wanted as u64;
            }
        }
        sink.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct ProgressWriter(mpsc::Sender<Vec<u8>>);

    impl Write for ProgressWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .send(bytes.to_vec())
                .map(|()| bytes.len())
                .map_err(io::Error::other)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for ProgressWriter {
        fn finish(self: Box<Self>) -> io::Result<Option<StoredFile>> {
            Ok(None)
        }
    }

    /// The reader returns bytes while the file grows, and finishes once the writer has been
    /// dropped.
    #[test]
    fn all_bytes_are_read_while_the_file_grows() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut writer, follower) = follow(&tempfile::tempfile().unwrap()).unwrap();
            let (sender, read) = mpsc::channel();
            let copying = tokio::task::spawn_blocking(move || {
                follower.copy(Box::new(ProgressWriter(sender)))
            });
            let mut expected = Vec::new();
            for (byte, size) in [(1, 10), (2, CHUNK), (3, 3 * CHUNK + 1)] {
                writer.write_all(&vec![byte; size]).unwrap();
                expected.resize(expected.len() + size, byte);
                if byte == 1 {
                    assert_eq!(
                        read.recv().unwrap(),
                        expected,
                        "the reader must not wait for the end"
                    );
                }
            }
            Box::new(writer).finish().unwrap();
            copying.await.unwrap().unwrap();
            assert_eq!(
                [vec![1; 10], read.iter().flatten().collect()].concat(),
                expected
            );
        });
    }
}
