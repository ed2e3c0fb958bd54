//! A connection that is read in turns. HTTP/2 parses all that a socket holds in one go, and its h2 ends a connection on which
//! many small frames wait to be taken: with a client that sends each event of an append as a frame of its own, as KurrentDB's
//! for Go does, what waits would only be what nobody had the time to take. So after a stretch of bytes the others run.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes of a turn, about. Frames of one byte each, which are dearest, come to 1.7 MB by the count of h2, which takes
/// half of the connection's window.
const TURN_BYTES: usize = 64 << 10;

/// The connection.
pub(super) struct Turns<S> {
    socket: S,
    /// How many bytes this turn has read.
    taken: usize,
}

impl<S> Turns<S> {
    pub(super) fn new(socket: S) -> Turns<S> {
        Turns { socket, taken: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Turns<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.taken >= TURN_BYTES {
            self.taken = 0;
            // Behind all who were woken for what this turn has read.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = bytes.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, bytes);
        self.taken = if read.is_ready() { self.taken + bytes.filled().len() - before } else { 0 };
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Turns<S> {
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
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn who_sends_much_is_read_a_stretch_at_a_time_and_whole() {
        let sent: Vec<u8> = (0..=250).cycle().take(3 * TURN_BYTES + 17).collect();
        let mut connection = Turns::new(&sent[..]);
        let (mut read, mut turns) = (Vec::new(), 0);
        while read.len() < sent.len() {
            let mut some = vec![0; TURN_BYTES / 4];
            match connection.read(&mut some).now_or_never() {
                Some(count) => read.extend_from_slice(&some[..count.expect("bytes")]),
                None => turns += 1,
            }
        }
        assert_eq!(turns, 3);
        assert_eq!(read, sent);

        let mut connection = Turns::new(&sent[..]);
        let mut read = Vec::new();
        connection.read_to_end(&mut read).await.expect("each turn wakes the next");
        assert_eq!(read, sent);
    }
}
