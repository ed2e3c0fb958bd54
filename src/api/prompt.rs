//! A socket that acknowledges at once what comes from a client that waits for that. Some clients, KurrentDB's for Rust among
//! them, write one call in several packets and leave Nagle's algorithm on: their kernel keeps the second packet back until
//! the first is acknowledged, and ours puts that off for 40 ms, since an answer could carry it (RFC 1122, 4.2.3.2). Such a
//! client shows itself by that pause in the middle of what it says. To others, acknowledgements of their own would only cost.

use std::io::{self, IoSlice};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long Linux puts an acknowledgement off, and what the machine adds.
const PUT_OFF: RangeInclusive<Duration> = Duration::from_millis(35)..=Duration::from_millis(250);

/// The socket of a connection.
pub(super) struct Prompt {
    socket: TcpStream,
    /// When something was read that nothing was written after.
    read_at: Option<Instant>,
    /// The client was seen to wait.
    waits: bool,
}

impl Prompt {
    pub(super) fn new(socket: TcpStream) -> Prompt {
        Prompt { socket, read_at: None, waits: false }
    }

    fn has_read(&mut self) {
        let now = Instant::now();
        let before = self.read_at.replace(now);
        self.waits |= before.is_some_and(|before| PUT_OFF.contains(&now.duration_since(before)));
        #[cfg(target_os = "linux")]
        if self.waits
            && let Err(error) = self.socket.set_quickack(true)
        {
            tracing::debug!(%error, "what comes is acknowledged late");
        }
    }
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = bytes.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, bytes))?;
        if bytes.filled().len() > before {
            self.has_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.read_at = None;
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.read_at = None;
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn connected() -> (TcpStream, Prompt) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).await;
        let (socket, _) = listener.accept().await.expect("a connection");
        (client.expect("a connection"), Prompt::new(socket))
    }

    /// The client says two things with this pause between them, and hears something before the second or not.
    async fn says_twice(pause: Duration, is_answered: bool) -> bool {
        let (mut client, mut server) = connected().await;
        let mut byte = [0];
        for place in 0..2 {
            client.write_all(&[1]).await.expect("it is open");
            server.read_exact(&mut byte).await.expect("it is open");
            if place == 0 {
                if is_answered {
                    server.write_all(&[2]).await.expect("it is open");
                }
                // Real time: what is read has to come.
                server.read_at = server.read_at.and_then(|at| at.checked_sub(pause));
            }
        }
        server.waits
    }

    #[tokio::test]
    async fn only_a_pause_in_the_middle_of_what_a_client_says_shows_that_it_waits() {
        let put_off = Duration::from_millis(41);
        assert!(says_twice(put_off, false).await);
        assert!(!says_twice(put_off, true).await, "it has had its answer");
        assert!(!says_twice(Duration::ZERO, false).await, "it goes on by itself");
        assert!(!says_twice(Duration::from_secs(2), false).await, "it says something new");
    }
}
