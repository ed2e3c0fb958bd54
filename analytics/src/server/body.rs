//! A request's body as bytes that a blocking task reads: from the network through a bounded queue, then undone of its
//! encodings. A client that goes away, or is silent for too long, is an error of the reader, never an end of data.

use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use tokio::sync::mpsc;

use super::failure::{Failure, Reason};
use super::frames::FrameReader;

/// Pieces of a body that wait for the engine; more than that slows the client.
const QUEUE_PIECES: usize = 4;
/// How long a client may send nothing in the middle of a body.
const SILENCE_MAX: Duration = Duration::from_mins(5);
/// How much of a body is still read after its request failed, so that the client reads the error and not a reset.
const DRAIN_BYTES_MAX: usize = 256 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// Reads from the queue that the network fills. For blocking tasks only.
pub(crate) struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl BodyReader {
    /// Starts to take the body from the network; it goes on, discarding, when the reader is dropped early.
    pub(crate) fn start(body: Body) -> Self {
        let (sender, pieces) = mpsc::channel(QUEUE_PIECES);
        tokio::spawn(pump(body, sender));
        Self { pieces, current: Bytes::new() }
    }

    /// A body that is already here.
    pub(crate) fn ready(bytes: Bytes) -> Self {
        let (_, pieces) = mpsc::channel(1);
        Self { pieces, current: bytes }
    }
}

async fn pump(body: Body, sender: mpsc::Sender<io::Result<Bytes>>) {
    let mut pieces = body.into_data_stream();
    let mut discarded = 0;
    loop {
        let piece = match tokio::time::timeout(SILENCE_MAX, pieces.next()).await {
            Ok(None) => return,
            Ok(Some(piece)) => piece.map_err(io::Error::other),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        let failed = piece.is_err();
        let bytes = piece.as_ref().map_or(0, Bytes::len);
        if sender.send(piece).await.is_err() {
            discarded += bytes;
        }
        if failed || discarded > DRAIN_BYTES_MAX {
            return;
        }
    }
}

impl BufRead for BodyReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => break,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, bytes: usize) {
        self.current.advance(bytes);
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let bytes = available.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&available[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

/// How a body is encoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encoding {
    /// The request's `Content-Encoding`, in lower case.
    pub(crate) content: Option<String>,
    /// Whether it is ClickHouse's own compressed frames (`decompress=1`).
    pub(crate) frames: bool,
}

/// The body without its encodings.
pub(crate) fn decoded(
    body: BodyReader,
    encoding: &Encoding,
) -> Result<Box<dyn BufRead + Send>, Failure> {
    let plain: Box<dyn BufRead + Send> = match encoding.content.as_deref() {
        None | Some("" | "identity") => Box::new(body),
        Some("lz4") => buffered(lz4_flex::frame::FrameDecoder::new(body)),
        Some("gzip") => buffered(flate2::bufread::MultiGzDecoder::new(body)),
        Some("deflate") => buffered(flate2::bufread::ZlibDecoder::new(body)),
        Some("zstd") => {
            let decoder = zstd::stream::read::Decoder::with_buffer(body);
            buffered(decoder.map_err(|error| Failure::new(Reason::CannotDecompress, error))?)
        }
        Some(other) => {
            let text = format_args!(
                "Content-Encoding {other} is not supported: lz4, gzip, deflate and zstd are"
            );
            return Err(Failure::new(Reason::NotImplemented, text));
        }
    };
    Ok(if encoding.frames { Box::new(FrameReader::new(plain)) } else { plain })
}

fn buffered(reader: impl Read + Send + 'static) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, reader))
}

/// Why a body could not be read, as the client is told, should it still be there.
pub(crate) fn failure(error: &io::Error) -> Failure {
    let damaged =
        [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof].contains(&error.kind());
    let reason = if damaged { Reason::CannotDecompress } else { Reason::NetworkError };
    Failure::new(reason, format_args!("the request's body could not be read: {error}"))
}
