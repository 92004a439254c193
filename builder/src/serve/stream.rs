//! Two kinds of connection: one with time limits, and one that also sends files with sendfile(2).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::fs::sendfile;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::{Outbox, PLACEHOLDER};

/// The time after which the kernel drops a client that accepts no data (tcp(7), TCP_USER_TIMEOUT).
/// The server itself cannot distinguish such a client from a slow client, because a socket becomes
/// writable again only after the client has accepted a third of the socket's buffer. The buffer can
/// grow to 4 MiB, and a client that accepts 60 KB per second needs more than 20 s for a third of
/// this buffer. The buffer is not limited to a smaller size, because the server would then need
/// twice the processor time to send a file.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The time during which a client may receive an answer at any speed. After this time, the client
/// must sustain a minimum rate.
const RATE_GRACE_PERIOD: Duration = Duration::from_secs(60);
/// The minimum rate, in bytes per second, which is about the rate of a modem.
const MIN_BYTES_PER_SECOND: u64 = 4096;

/// A connection that fails if its client accepts no data, or accepts the data too slowly.
#[derive(Debug)]
pub(super) struct StallTimeout {
    inner: TcpStream,
    since: Instant,
    sent: u64,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl StallTimeout {
    pub(super) fn new(inner: TcpStream) -> Self {
        // If this call fails, only the minimum rate applies. On kernels before 5.11, only the
        // minimum rate applies to a client that keeps its window closed.
        let _ = set_tcp_user_timeout(
            &inner,
            u32::try_from(STALL_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
        );
        Self {
            inner,
            since: Instant::now(),
            sent: 0,
            stalled: None,
        }
    }

    /// Counts the bytes of a successful write. If the connection must wait for the client, fails
    /// once the client has been slower than the minimum rate.
    fn progress(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match done {
            Poll::Ready(Ok(count)) => {
                self.stalled = None;
                self.sent += count as u64;
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let (since, sent) = (self.since, self.sent);
                let timer = self.stalled.get_or_insert_with(|| {
                    Box::pin(sleep_until(
                        since
                            + RATE_GRACE_PERIOD
                            + Duration::from_secs(sent / MIN_BYTES_PER_SECOND),
                    ))
                });
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client accepts the data too slowly",
                )))
            }
        }
    }

    /// Restarts the time limits for a new answer.
    fn restart(&mut self) {
        (self.since, self.sent) = (Instant::now(), 0);
    }
}

impl AsyncRead for StallTimeout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.restart();
        }
        done
    }
}

impl AsyncWrite for StallTimeout {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.progress(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.progress(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// An unencrypted connection. In the data that hyper writes, the connection replaces each
/// placeholder with a file from its outbox. The connection recognises the placeholder by its
/// address. hyper keeps the address, because hyper never copies a body's bytes if the connection
/// accepts several slices at once. If hyper copied the placeholder, `poll_write` would send zeros,
/// and the client's digest check would fail.
#[derive(Debug)]
pub(super) struct SendfileStream {
    inner: StallTimeout,
    outbox: Outbox,
}

impl SendfileStream {
    pub(super) fn new(inner: StallTimeout, outbox: Outbox) -> Self {
        Self { inner, outbox }
    }

    /// Sends at most `limit` bytes of the next file.
    fn send_file(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        loop {
            let ready = self.inner.inner.poll_write_ready(cx).map_ok(|()| 0);
            if ready.is_pending() {
                return self.inner.progress(cx, ready);
            }
            ready!(ready)?;
            let mut outbox = self.outbox.lock();
            let Some(piece) = outbox.front_mut() else {
                return Poll::Ready(Err(io::Error::other("a placeholder has no file")));
            };
            let (socket, mut at) = (&self.inner.inner, piece.start);
            let count = limit.min(usize::try_from(piece.length).unwrap_or(usize::MAX));
            match socket.try_io(Interest::WRITABLE, || {
                Ok(sendfile(socket, &*piece.file, Some(&mut at), count)?)
            }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(sent) => {
                    piece.start = at;
                    piece.length -= sent as u64;
                    if piece.length == 0 {
                        outbox.pop_front();
                    }
                    drop(outbox);
                    return self.inner.progress(cx, Poll::Ready(Ok(sent)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Returns whether a slice is a file's placeholder.
fn is_placeholder(slice: &[u8]) -> bool {
    PLACEHOLDER.as_ptr_range().contains(&slice.as_ptr())
}

impl AsyncRead for SendfileStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for SendfileStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = bufs
            .iter()
            .take_while(|slice| !is_placeholder(slice))
            .count();
        if let Some(first) = bufs.first().filter(|_| bytes == 0) {
            return self.send_file(cx, first.len());
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, &bufs[..bytes])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
