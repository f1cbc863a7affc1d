//! Short bytes that resemble each other, compressed with what they share: a dictionary that both sides know.
//!
//! A span repeats the keys and values of other spans rather than its own, so alone it hardly compresses.

use std::sync::{Mutex, PoisonError};

use zstd::bulk::{Compressor, Decompressor};

use super::{Malformed, Place};

/// What is longer stays as it is: it has repeats of its own, and unpacking is bounded by it.
const MOST: usize = 64 << 10;
/// Levels above gain a few bytes in a hundred and cost half as much again.
const LEVEL: i32 = 1;
/// Contexts kept for the next user: as many as work at once on most machines.
const MOST_IDLE: usize = 8;

/// A dictionary with contexts that are kept: to make one takes longer than to pack a hundred spans.
pub struct Dictionary {
    body: Vec<u8>,
    packers: Mutex<Vec<Compressor<'static>>>,
    unpackers: Mutex<Vec<Decompressor<'static>>>,
}

/// Packs one after another.
pub struct Packer<'a> {
    dictionary: &'a Dictionary,
    context: Option<Compressor<'static>>,
    packed: Vec<u8>,
}

/// Unpacks one after another.
pub struct Unpacker<'a> {
    dictionary: &'a Dictionary,
    context: Option<Decompressor<'static>>,
    plain: Vec<u8>,
}

impl Dictionary {
    /// From what training gave.
    pub fn new(body: Vec<u8>) -> Self {
        Self { body, packers: Mutex::default(), unpackers: Mutex::default() }
    }

    /// Begins to pack.
    pub fn packer(&self) -> Packer<'_> {
        let kept = self.packers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let context = kept.or_else(|| {
            let mut context = Compressor::with_dictionary(LEVEL, &self.body).ok()?;
            // Whoever unpacks knows the dictionary from elsewhere.
            context.include_dictid(false).ok()?;
            Some(context)
        });
        Packer {
            dictionary: self,
            context,
            packed: Vec::with_capacity(zstd::zstd_safe::compress_bound(MOST)),
        }
    }

    /// Begins to unpack.
    pub fn unpacker(&self) -> Unpacker<'_> {
        let kept = self.unpackers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let context = kept.or_else(|| Decompressor::with_dictionary(&self.body).ok());
        Unpacker { dictionary: self, context, plain: Vec::with_capacity(MOST) }
    }
}

impl Packer<'_> {
    /// The packed form, where there is a shorter one.
    ///
    /// Budget: 1.5 µs for 300 bytes.
    pub fn pack(&mut self, plain: &[u8]) -> Option<&[u8]> {
        if MOST < plain.len() {
            return None;
        }
        let length = self.context.as_mut()?.compress_to_buffer(plain, &mut self.packed).ok()?;
        (length < plain.len()).then_some(&self.packed[..length])
    }
}

impl Unpacker<'_> {
    /// What was packed.
    pub fn unpack(&mut self, packed: &[u8]) -> Result<&[u8], Malformed> {
        let at = Place::Within(packed.len());
        let context = self.context.as_mut().ok_or_else(|| Malformed::at(at, "its dictionary is none"))?;
        let unpacked = context.decompress_to_buffer(packed, &mut self.plain);
        let length = unpacked.map_err(|error| Malformed::at(at, error))?;
        Ok(&self.plain[..length])
    }
}

/// How long what was packed was, by its own account.
pub fn plain_length(packed: &[u8]) -> usize {
    let told = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
    told.and_then(|length| usize::try_from(length).ok()).map_or(MOST, |length| length.min(MOST))
}

impl Drop for Packer<'_> {
    fn drop(&mut self) {
        keep(&self.dictionary.packers, self.context.take());
    }
}

impl Drop for Unpacker<'_> {
    fn drop(&mut self) {
        keep(&self.dictionary.unpackers, self.context.take());
    }
}

fn keep<T>(idle: &Mutex<Vec<T>>, context: Option<T>) {
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    if idle.len() < MOST_IDLE {
        idle.extend(context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half the texts train, the other half is packed.
    fn texts(from: usize) -> Vec<Vec<u8>> {
        let text = |n: usize| {
            format!("http.request.method GET url.path /item/{} server.port 80{}", n * 7919 % 997, n % 90)
        };
        (from..4_000).step_by(2).map(|n| text(n).into_bytes()).collect()
    }

    fn dictionary() -> Dictionary {
        Dictionary::new(zstd::dict::from_samples(&texts(0), 4_096).unwrap())
    }

    #[test]
    fn what_is_packed_is_shorter_and_comes_back() {
        let dictionary = dictionary();
        let (mut packer, mut unpacker) = (dictionary.packer(), dictionary.unpacker());
        let mut sizes = (0, 0);
        for plain in texts(1) {
            let packed = packer.pack(&plain).unwrap();
            assert_eq!(plain_length(packed), plain.len());
            assert_eq!(unpacker.unpack(packed).unwrap(), plain);
            sizes = (sizes.0 + plain.len(), sizes.1 + packed.len());
        }
        assert!(sizes.1 * 2 < sizes.0, "{sizes:?}");
    }

    #[test]
    fn what_would_not_shrink_or_is_long_stays_as_it_is() {
        let dictionary = dictionary();
        assert_eq!(dictionary.packer().pack(&[]), None);
        assert_eq!(dictionary.packer().pack(b"\x01\x7f"), None);
        assert_eq!(dictionary.packer().pack(&vec![0; MOST + 1]), None);
        assert!(dictionary.packer().pack(&vec![0; MOST]).is_some());
    }

    #[test]
    fn a_bomb_or_another_dictionary_is_an_error() {
        let bomb = zstd::bulk::compress(&vec![0; MOST + 1], 1).unwrap();
        let dictionary = dictionary();
        assert!(dictionary.unpacker().unpack(&bomb).is_err());
        assert!(dictionary.unpacker().unpack(b"no frame").is_err());
        assert_eq!((plain_length(&bomb), plain_length(b"no frame")), (MOST, MOST));
        let no_dictionary = Dictionary::new(Vec::new());
        let packed = dictionary.packer().pack(&texts(1)[0]).unwrap().to_vec();
        let plain = no_dictionary.unpacker().unpack(&packed).map(<[u8]>::to_vec);
        assert_ne!(plain.ok(), Some(texts(1)[0].clone()));
        // A context that failed serves on.
        assert_eq!(dictionary.unpacker().unpack(&packed).unwrap(), texts(1)[0]);
    }
}
