//! Decompression under a cap, and the only place that decompresses.
//!
//! A few hundred kilobytes can expand to gigabytes, so output is counted while it grows, never afterwards. One
//! layer of compression is taken off; what is compressed twice stays what it then is: no trace.

use std::io::{self, BufRead, Read};

#[expect(clippy::disallowed_types, reason = "this is where they get their cap")]
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::{DecodeError, Malformed, NoRoom, Place, Room};

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, also several members one after another.
    Gzip,
    /// RFC 1950, and the bare RFC 1951 that some senders mean by `deflate`.
    Deflate,
    /// RFC 8878, also several frames one after another.
    Zstd,
}

/// Output grows in steps of this size, each asked for before it is taken.
const STEP: usize = 64 << 10;

/// Largest zstd window for requests, as RFC 8878 recommends: a frame's header alone must not allocate 128 MiB.
const WINDOW_LOG: u32 = 23;

impl Compression {
    /// Reads a `content-encoding` or `grpc-encoding`. Stacked encodings are unknown: nobody needs them, and they
    /// multiply the work of a bomb.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::None),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" | "zlib" => Some(Self::Deflate),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Tells by the first bytes. Deflate has no mark of its own and is taken for uncompressed.
    pub fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Decompresses a whole body of at most `most` bytes of output.
pub fn inflate(
    compression: Compression,
    bytes: &[u8],
    most: usize,
    room: Room<'_>,
) -> Result<Vec<u8>, DecodeError> {
    let mut reader =
        reader(compression, bytes, WINDOW_LOG).map_err(|error| Malformed::at(Place::Byte(0), error))?;
    let mut output = Vec::new();
    loop {
        let filled = output.len();
        // One byte more than allowed tells the largest body from one that is too large.
        let left = most.saturating_add(1) - filled;
        if left == 0 {
            return Err(NoRoom::Ever.into());
        }
        let step = STEP.min(left);
        if output.capacity() < filled + step {
            // Doubling, but never past the cap.
            let growth = filled.clamp(step, left);
            room(growth)?;
            output.reserve_exact(growth);
        }
        output.resize(filled + step, 0);
        let read = fill(&mut reader, &mut output[filled..])
            .map_err(|error| Malformed::at(Place::Byte(filled), error))?;
        output.truncate(filled + read);
        if read < step {
            return Ok(output);
        }
    }
}

/// Decompresses a file as it is read; whoever reads bounds what is kept.
pub fn stream<'a>(
    compression: Compression,
    input: impl BufRead + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    // 27 is what `zstd --long` and `--ultra` use; a file is chosen by whoever runs us.
    reader(compression, input, 27)
}

#[expect(clippy::disallowed_types, reason = "this is where they get their cap")]
fn reader<'a>(
    compression: Compression,
    mut input: impl BufRead + Send + 'a,
    window_log: u32,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Deflate if is_zlib(input.fill_buf()?) => Box::new(ZlibDecoder::new(input)),
        Compression::Deflate => Box::new(DeflateDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?;
            decoder.window_log_max(window_log)?;
            Box::new(decoder)
        }
    })
}

/// RFC 1950 §2.2: method 8, and a check value over the first two bytes.
fn is_zlib(start: &[u8]) -> bool {
    matches!(start, [method, flags, ..]
        if method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)).is_multiple_of(31))
}

/// Reads until the buffer is full or the input ends.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write;

    use flate2::Compression as Level;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const PLENTY: Room<'_> = &|_| Ok(());

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Level::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn bare_deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Level::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    fn every_encoding(bytes: &[u8]) -> [(Compression, Vec<u8>); 5] {
        [
            (Compression::None, bytes.to_vec()),
            (Compression::Gzip, gzip(bytes)),
            (Compression::Deflate, zlib(bytes)),
            (Compression::Deflate, bare_deflate(bytes)),
            (Compression::Zstd, zstd(bytes)),
        ]
    }

    #[test]
    fn every_encoding_gives_back_what_went_in() {
        for size in [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP] {
            let bytes: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
            for (compression, packed) in every_encoding(&bytes) {
                let output = inflate(compression, &packed, size, PLENTY).unwrap();
                assert!(output == bytes, "{compression:?} of {size} bytes");
            }
        }
    }

    #[test]
    fn one_byte_over_the_cap_is_too_large() {
        let bytes = vec![b'x'; 100_000];
        for (compression, packed) in every_encoding(&bytes) {
            assert_eq!(
                inflate(compression, &packed, 99_999, PLENTY),
                Err(DecodeError::NoRoom(NoRoom::Ever)),
                "{compression:?}"
            );
        }
    }

    #[test]
    fn a_bomb_takes_no_more_than_the_cap() {
        let zeros = vec![0; 64 << 20];
        let cap = 1 << 20;
        for (compression, bomb) in every_encoding(&zeros).into_iter().skip(1) {
            assert!(bomb.len() < 300 << 10, "{compression:?} is no bomb");
            let taken = Cell::new(0);
            let room = |bytes: usize| {
                taken.set(taken.get() + bytes);
                Ok(())
            };
            assert_eq!(inflate(compression, &bomb, cap, &room), Err(DecodeError::NoRoom(NoRoom::Ever)));
            assert!(taken.get() <= cap + STEP, "{compression:?} took {}", taken.get());
        }
    }

    #[test]
    fn decompression_stops_where_the_room_ends() {
        let left = Cell::new(3 * STEP);
        let room = |bytes: usize| match left.get().checked_sub(bytes) {
            Some(rest) => {
                left.set(rest);
                Ok(())
            }
            None => Err(NoRoom::Now),
        };
        let packed = gzip(&vec![0; 1 << 20]);
        assert_eq!(
            inflate(Compression::Gzip, &packed, 16 << 20, &room),
            Err(DecodeError::NoRoom(NoRoom::Now))
        );
    }

    #[test]
    fn members_and_frames_follow_one_another() {
        let gzips = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(inflate(Compression::Gzip, &gzips, 100, PLENTY).unwrap(), b"one two");
        let frames = [zstd(b"one "), zstd(b"two")].concat();
        assert_eq!(inflate(Compression::Zstd, &frames, 100, PLENTY).unwrap(), b"one two");
    }

    #[test]
    fn truncated_and_foreign_bytes_are_malformed() {
        let bytes: Vec<u8> =
            (0..50_000u32).flat_map(|at| (at.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        for (compression, packed) in every_encoding(&bytes).into_iter().skip(1) {
            for broken in [&packed[..packed.len() / 2], &packed[..1], b"{\"resourceSpans\":[]}".as_slice()] {
                let outcome = inflate(compression, broken, 1 << 20, PLENTY);
                assert!(matches!(outcome, Err(DecodeError::Malformed(_))), "{compression:?} {outcome:?}");
            }
        }
    }

    #[test]
    fn encodings_are_known_by_name_and_never_stacked() {
        assert_eq!(Compression::from_name("GZIP"), Some(Compression::Gzip));
        assert_eq!(Compression::from_name("identity"), Some(Compression::None));
        assert_eq!(Compression::from_name("gzip, gzip"), None);
        assert_eq!(Compression::from_name("snappy"), None);
    }
}
