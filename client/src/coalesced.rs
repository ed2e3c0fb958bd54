//! A connection that puts small writes together. An HTTP/2 client writes each call as several frames with a flush after
//! each, and every flush is a packet of its own that wakes the server. Here the first flush waits for one turn of the
//! scheduler, in which other calls and the rest of this one write theirs; then all goes out at once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

/// From how many bytes on a write goes out without waiting.
const BUFFER_BYTES: usize = 128 << 10;

/// The connection.
pub(crate) struct Coalesced<S> {
    socket: BufWriter<S>,
    /// A flush has waited its turn.
    waited: bool,
}

impl<S: AsyncWrite> Coalesced<S> {
    pub(crate) fn new(socket: S) -> Coalesced<S> {
        Coalesced { socket: BufWriter::with_capacity(BUFFER_BYTES, socket), waited: false }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waited && !self.socket.buffer().is_empty() {
            self.waited = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.waited = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A socket that counts its writes and takes at most so many bytes at once.
    struct Counting {
        taken: Vec<u8>,
        writes: usize,
        at_once: usize,
    }

    impl AsyncWrite for Counting {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.at_once);
            self.taken.extend_from_slice(&bytes[..taken]);
            self.writes += 1;
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn counting(at_once: usize) -> Coalesced<Counting> {
        Coalesced::new(Counting { taken: Vec::new(), writes: 0, at_once })
    }

    #[tokio::test]
    async fn what_is_written_within_a_turn_goes_out_at_once() {
        let mut connection = counting(usize::MAX);
        connection.write_all(b"head").await.expect("room");
        assert!(connection.flush().now_or_never().is_none(), "the first flush waits");
        connection.write_all(b"body").await.expect("room");
        connection.flush().await.expect("it flushes");
        assert_eq!(
            (connection.socket.get_ref().taken.as_slice(), connection.socket.get_ref().writes),
            (&b"headbody"[..], 1)
        );
        connection.write_all(b"next").await.expect("room");
        assert!(connection.flush().now_or_never().is_none(), "every first flush waits");
        connection.flush().await.expect("it flushes");
        assert_eq!(connection.socket.get_ref().writes, 2);
    }

    #[tokio::test]
    async fn a_large_write_goes_out_whole_and_in_order() {
        let mut connection = counting(1000);
        let bytes: Vec<u8> = (0..=250_u8).cycle().take(3 * BUFFER_BYTES + 17).collect();
        connection.write_all(&bytes).await.expect("it is taken");
        let parts = [IoSlice::new(b"one"), IoSlice::new(b"two")];
        assert_eq!(connection.write_vectored(&parts).await.expect("room"), 6);
        connection.flush().await.expect("it flushes");
        assert_eq!(connection.socket.get_ref().taken, [&bytes[..], b"onetwo"].concat());
    }

    #[tokio::test]
    async fn a_flush_wakes_itself_and_a_shutdown_leaves_nothing_behind() {
        let (one, mut other) = tokio::io::duplex(64);
        let mut connection = Coalesced::new(one);
        connection.write_all(b"first").await.expect("room");
        connection.flush().await.expect("nothing else wakes it");
        connection.write_all(b", last").await.expect("room");
        connection.shutdown().await.expect("it shuts down");
        let mut read = Vec::new();
        other.read_to_end(&mut read).await.expect("bytes");
        assert_eq!(read, b"first, last");
    }
}
