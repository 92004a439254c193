//! Streams a file, from an offset to its end, as the body of an HTTP response. The barrier's server
//! uses this module to send the snapshot.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

use crate::files;

/// The number of bytes in one read. The reads rarely block: firstboot has just verified the
/// snapshot, so the kernel usually serves them from the page cache.
const CHUNK: usize = 256 << 10;

/// The part of a file from an offset to its end.
#[derive(Debug)]
pub(crate) struct FileRange {
    file: File,
    left: u64,
}

impl FileRange {
    /// Opens the file at a path. Returns `None` if the offset is beyond the file's end.
    pub(crate) fn of(path: &Path, from: u64) -> io::Result<Option<Self>> {
        let mut file = files::open(path)?;
        let length = file.metadata()?.len();
        if from > length {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(from))?;
        Ok(Some(Self {
            file,
            left: length - from,
        }))
    }
}

impl Body for FileRange {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut bytes = vec![0; usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK))];
        let read = self.file.read_exact(&mut bytes);
        self.left -= bytes.len() as u64;
        Poll::Ready(Some(read.map(|()| Frame::data(Bytes::from(bytes)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Parses the offset in a Range header. Members send only `bytes=N-`.
pub(crate) fn parse_offset(range: &str) -> Option<u64> {
    range
        .strip_prefix("bytes=")?
        .strip_suffix('-')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_range_contains_the_rest_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let content: Vec<u8> = (0..CHUNK * 2 + 5)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        std::fs::write(&path, &content).unwrap();
        for from in [0, 1, CHUNK, content.len() - 1, content.len()] {
            let rest = FileRange::of(&path, from as u64).unwrap().unwrap();
            assert_eq!(
                rest.size_hint().exact(),
                Some((content.len() - from) as u64)
            );
            assert_eq!(rest.collect().await.unwrap().to_bytes(), content[from..]);
        }
        assert!(
            FileRange::of(&path, content.len() as u64 + 1)
                .unwrap()
                .is_none()
        );
        assert_eq!(
            (
                parse_offset("bytes=7-"),
                parse_offset("bytes=7-8"),
                parse_offset("bytes=-7"),
                parse_offset("7")
            ),
            (Some(7), None, None, None)
        );
    }
}
