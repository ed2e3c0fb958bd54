//! ClickHouse's native compressed frames, as clients send them with `decompress=1`: a 16-byte `CityHash128` (version 1.0.2,
//! halves swapped) of what follows, then a method byte, the compressed size with this 9-byte header, and the
//! plain size, all little-endian. A frame that does not add up is refused; its data never reaches the engine.

use std::io::{self, BufRead, Read};

const CHECKSUM_BYTES: usize = 16;
const HEADER_BYTES: usize = 9;
const FRAME_BYTES_MAX: usize = 128 << 20;

const METHOD_NONE: u8 = 0x02;
const METHOD_LZ4: u8 = 0x82;
const METHOD_ZSTD: u8 = 0x90;

/// Reads the plain data out of frames.
pub(crate) struct FrameReader<R> {
    frames: R,
    plain: Vec<u8>,
    at: usize,
}

impl<R: BufRead> FrameReader<R> {
    pub(crate) fn new(frames: R) -> Self {
        Self { frames, plain: Vec::new(), at: 0 }
    }

    fn next_frame(&mut self) -> io::Result<()> {
        self.plain.clear();
        self.at = 0;
        if self.frames.fill_buf()?.is_empty() {
            return Ok(());
        }
        let mut checksum = [0; CHECKSUM_BYTES];
        self.frames.read_exact(&mut checksum)?;
        let mut frame = vec![0; HEADER_BYTES];
        self.frames.read_exact(&mut frame)?;
        let compressed = size_at(&frame, 1);
        let plain = size_at(&frame, 5);
        if !(HEADER_BYTES..=FRAME_BYTES_MAX).contains(&compressed) || plain > FRAME_BYTES_MAX {
            return Err(invalid(format!("a compressed frame of {compressed} bytes for {plain}")));
        }
        frame.resize(compressed, 0);
        self.frames.read_exact(&mut frame[HEADER_BYTES..])?;
        let actual = cityhash_rs::cityhash_102_128(&frame).rotate_right(64);
        if actual.to_le_bytes() != checksum {
            return Err(invalid("the checksum of a compressed frame does not match".to_owned()));
        }
        let data = &frame[HEADER_BYTES..];
        self.plain = match frame[0] {
            METHOD_NONE => data.to_vec(),
            METHOD_LZ4 => lz4_flex::block::decompress(data, plain)
                .map_err(|error| invalid(error.to_string()))?,
            METHOD_ZSTD => zstd::bulk::decompress(data, plain)?,
            method => {
                return Err(invalid(format!("compression method {method:#04x} is not supported")));
            }
        };
        if self.plain.len() == plain {
            Ok(())
        } else {
            Err(invalid(format!("a compressed frame of {} bytes says {plain}", self.plain.len())))
        }
    }
}

fn size_at(frame: &[u8], at: usize) -> usize {
    let bytes: [u8; 4] = frame[at..at + 4].try_into().expect("four bytes of a nine-byte header");
    usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl<R: BufRead> BufRead for FrameReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.plain.len() {
            self.next_frame()?;
            if self.plain.is_empty() && self.frames.fill_buf()?.is_empty() {
                break;
            }
        }
        Ok(&self.plain[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl<R: BufRead> Read for FrameReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let bytes = available.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&available[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(method: u8, data: &[u8], plain: usize) -> Vec<u8> {
        let mut frame = vec![method];
        let compressed = u32::try_from(data.len() + HEADER_BYTES).unwrap();
        frame.extend_from_slice(&compressed.to_le_bytes());
        frame.extend_from_slice(&u32::try_from(plain).unwrap().to_le_bytes());
        frame.extend_from_slice(data);
        let mut whole =
            cityhash_rs::cityhash_102_128(&frame).rotate_right(64).to_le_bytes().to_vec();
        whole.extend_from_slice(&frame);
        whole
    }

    fn read(frames: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        FrameReader::new(frames).read_to_end(&mut plain).map(|_| plain)
    }

    #[test]
    fn frames_of_every_method_are_joined() {
        let text = b"row after row after row after row";
        let mut frames = frame(METHOD_LZ4, &lz4_flex::block::compress(text), text.len());
        frames.extend(frame(METHOD_NONE, b"", 0));
        frames.extend(frame(METHOD_NONE, b"plain", 5));
        frames.extend(frame(METHOD_ZSTD, &zstd::bulk::compress(text, 1).unwrap(), text.len()));
        assert_eq!(read(&frames).unwrap(), [text.as_slice(), b"plain", text].concat());
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn a_flipped_byte_or_a_short_frame_is_refused() {
        let frames = frame(METHOD_LZ4, &lz4_flex::block::compress(b"some rows"), 9);
        for at in 0..frames.len() {
            let mut damaged = frames.clone();
            damaged[at] ^= 0x20;
            assert!(read(&damaged).is_err(), "byte {at}");
        }
        for length in 1..frames.len() {
            assert!(read(&frames[..length]).is_err(), "{length} bytes");
        }
    }
}
