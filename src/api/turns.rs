//! A connection in turns. HTTP/2 parses all that a socket holds in one go, and its h2 ends a connection on which many small
//! frames wait to be taken: with a client that sends each event of an append as a frame of its own, as KurrentDB's for Go does,
//! what waits would only be what nobody had the time to take. So after a stretch of bytes the others run. And it writes each
//! frame by itself, of 16 KiB with most clients, each of which wakes the client: what a turn writes goes out together.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

/// The most bytes that a turn reads, about. Frames of one byte each, which are dearest, come to 1.7 MB by the count of h2, which
/// takes half of the connection's window.
const TURN_BYTES: usize = 64 << 10;
/// From how many bytes on what is written is not kept for more.
const HELD_BYTES: usize = 64 << 10;
/// A write of fewer bytes is no part of something large, and is flushed when that is asked.
const PART_BYTES: usize = 8 << 10;

/// The connection.
pub(super) struct Turns<S> {
    /// It holds what was written and is not on its way yet.
    socket: BufWriter<S>,
    /// How many bytes this turn has read.
    taken: usize,
    /// The last write was part of something large, whose next part may come before it is asked to flush again.
    goes_on: bool,
}

impl<S: AsyncWrite> Turns<S> {
    pub(super) fn new(socket: S) -> Turns<S> {
        Turns { socket: BufWriter::with_capacity(HELD_BYTES, socket), taken: 0, goes_on: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Turns<S> {
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
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.goes_on = slices.iter().map(|slice| slice.len()).sum::<usize>() >= PART_BYTES;
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.socket.buffer().is_empty() && std::mem::take(&mut self.goes_on) {
            // HTTP/2 flushes behind each frame, and once more behind the last. Whoever does not is woken to do so.
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
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
    use futures::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn who_sends_much_is_read_a_stretch_at_a_time_and_whole() {
        let sent: Vec<u8> = (0..=250).cycle().take(3 * TURN_BYTES + 17).collect();
        let mut connection = Turns::new(tokio::io::join(&sent[..], tokio::io::sink()));
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

        let mut connection = Turns::new(tokio::io::join(&sent[..], tokio::io::sink()));
        let mut read = Vec::new();
        connection.read_to_end(&mut read).await.expect("each turn wakes the next");
        assert_eq!(read, sent);
    }

    /// A socket that keeps its writes apart and takes at most so many bytes at once.
    struct Socket {
        writes: Vec<Vec<u8>>,
        at_once: usize,
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.at_once);
            self.writes.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn connection(at_once: usize) -> Turns<Socket> {
        Turns::new(Socket { writes: Vec::new(), at_once })
    }

    /// Writes a frame of so many bytes and flushes, as HTTP/2 does.
    async fn frame(connection: &mut Turns<Socket>, byte: u8, size: usize) {
        connection.write_all(&vec![byte; size]).await.expect("it is taken");
        connection.flush().await.expect("it goes on");
    }

    fn sizes(connection: &Turns<Socket>) -> Vec<usize> {
        connection.socket.get_ref().writes.iter().map(Vec::len).collect()
    }

    #[tokio::test]
    async fn the_parts_of_something_large_go_out_together_and_in_order() {
        let mut connection = connection(usize::MAX);
        for byte in 0..6 {
            frame(&mut connection, byte, 16 << 10).await;
        }
        assert_eq!(sizes(&connection), [64 << 10], "no more is kept than so much");
        connection.flush().await.expect("behind the last");
        assert_eq!(sizes(&connection), [64 << 10, 32 << 10]);

        // What is small goes out when that is asked, with all before it.
        frame(&mut connection, 6, 16 << 10).await;
        frame(&mut connection, 7, 10).await;
        frame(&mut connection, 8, 10).await;
        // And what is larger than what is kept, behind that.
        frame(&mut connection, 9, 16 << 10).await;
        frame(&mut connection, 10, 100 << 10).await;
        assert_eq!(sizes(&connection)[2..], [(16 << 10) + 10, 10, 16 << 10, 100 << 10]);
        let written = connection.socket.get_ref().writes.concat();
        assert!(written.is_sorted(), "in order");
    }

    #[tokio::test]
    async fn what_a_socket_takes_in_pieces_and_the_end_lose_nothing() {
        let mut connection = connection(1000);
        for byte in 0..7 {
            frame(&mut connection, byte, 16 << 10).await;
        }
        connection.shutdown().await.expect("it ends");
        let written = connection.socket.get_ref().writes.concat();
        let sent: Vec<_> = (0..7).flat_map(|byte| vec![byte; 16 << 10]).collect();
        assert!(written == sent);
    }

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Woken>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn whoever_flushes_once_is_woken_to_flush_again() {
        let mut connection = connection(usize::MAX);
        connection.write_all(&[1; 16 << 10]).await.expect("it is taken");
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut connection).poll_flush(&mut cx).is_ready());
        assert_eq!(
            (woken.0.load(Ordering::Relaxed), connection.socket.get_ref().writes.len()),
            (1, 0)
        );
        poll_fn(|cx| Pin::new(&mut connection).poll_flush(cx)).await.expect("it is open");
        assert_eq!(sizes(&connection), [16 << 10]);
    }
}
