//! The body of an answer: text, a piece of a file, or events. If the connection is not encrypted, a
//! file is sent with sendfile(2), which takes a quarter of the time that reading and writing the
//! file takes.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Buf, Bytes, Frame, SizeHint};

use super::board::Events;
use super::files::Piece;

/// The maximum number of bytes per read, if the server must read the file itself.
const CHUNK_BYTES: u64 = 1 << 17;

/// A placeholder for the bytes of a file. hyper passes the placeholder to the connection, which
/// recognises the placeholder by its address and sends the file instead.
pub(super) static PLACEHOLDER: [u8; 1 << 20] = [0; 1 << 20];

/// The files that a connection must send, in the order of their placeholders.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbox(Arc<Mutex<VecDeque<Piece>>>);

impl Outbox {
    pub(super) fn lock(&self) -> MutexGuard<'_, VecDeque<Piece>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Either bytes to send, or the length of a piece of a file, which the connection must send in
/// place of a placeholder.
#[derive(Debug)]
pub(super) enum Data {
    Bytes(Bytes),
    File(u64),
}

impl Buf for Data {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.remaining(),
            Self::File(left) => usize::try_from(*left).unwrap_or(usize::MAX),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.chunk(),
            Self::File(_) => &PLACEHOLDER[..self.remaining().min(PLACEHOLDER.len())],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::File(left) => *left = left.saturating_sub(count as u64),
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum ResponseBody {
    /// A string.
    Text(Bytes),
    /// A piece of a file that the connection sends with sendfile(2).
    Sent(Option<Piece>, Outbox),
    /// A piece of a file that the server must read, because the connection is encrypted.
    Read(Piece),
    /// Events, which are sent as they happen.
    Events(Events),
}

impl ResponseBody {
    pub(super) fn text(text: String) -> Self {
        Self::Text(text.into())
    }

    /// Returns the number of bytes that are still to be sent, or `None` if the number is unknown.
    fn remaining(&self) -> Option<u64> {
        Some(match self {
            Self::Events(_) => return None,
            Self::Text(text) => text.len() as u64,
            Self::Sent(piece, _) => piece.as_ref().map_or(0, |piece| piece.length),
            Self::Read(piece) => piece.length,
        })
    }
}

impl Body for ResponseBody {
    type Data = Data;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Data>>>> {
        if self.remaining() == Some(0) {
            return Poll::Ready(None);
        }
        let data = match &mut *self {
            Self::Text(text) => Data::Bytes(std::mem::take(text)),
            // The file is queued only when hyper polls the body. hyper never polls the body of an
            // answer to a HEAD request, so a file that was queued earlier would stay in the outbox.
            Self::Sent(piece, outbox) => {
                let length = piece.as_ref().map_or(0, |piece| piece.length);
                outbox.lock().extend(piece.take());
                Data::File(length)
            }
            Self::Read(piece) => Data::Bytes(read(piece)?),
            Self::Events(events) => match ready!(events.poll(cx)) {
                Some(event) => Data::Bytes(event),
                None => return Poll::Ready(None),
            },
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining()
            .map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// Reads the next bytes of a piece. The bytes are usually in the page cache, so the read rarely
/// blocks.
fn read(piece: &mut Piece) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(piece.length.min(CHUNK_BYTES)).unwrap_or_default()];
    let count = piece.file.read_at(&mut buffer, piece.start)?;
    if count == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file became shorter while the server sent it",
        ));
    }
    buffer.truncate(count);
    piece.start += count as u64;
    piece.length -= count as u64;
    Ok(buffer.into())
}
