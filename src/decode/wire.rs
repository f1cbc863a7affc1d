//! Protobuf as it is written: one field after another, read without taking memory.
//!
//! <https://protobuf.dev/programming-guides/encoding/>. It knows no message; groups, which left the language long ago,
//! it does not read.

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Fields of a message, until its end or the first that cannot be read.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u32, Held<'a>)>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| field(&mut self.0, varint))
    }
}

/// The next field, its number first. Numbers are read with `varint`.
#[inline]
pub(super) fn field<'a>(
    rest: &mut &'a [u8],
    varint: impl Fn(&mut &'a [u8]) -> Option<u64>,
) -> Option<(u32, Held<'a>)> {
    let key = u32::try_from(varint(rest)?).ok()?;
    let held = match key & 7 {
        0 => Held::Varint(varint(rest)?),
        1 => Held::Fixed64(u64::from_le_bytes(take(rest)?)),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            Held::Bytes(bytes)
        }
        5 => Held::Fixed32(u32::from_le_bytes(take(rest)?)),
        _ => return None,
    };
    (8 <= key).then_some((key >> 3, held))
}

/// A number of up to 64 bits.
#[inline]
pub(super) fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (shift < 63 || *byte <= 1).then_some(value);
        }
    }
    None
}

/// The same where it is written in as few bytes as it takes.
#[inline]
pub(super) fn short_varint(rest: &mut &[u8]) -> Option<u64> {
    let before = *rest;
    let value = varint(rest)?;
    let length = before.len() - rest.len();
    (length == 1 || before[length - 1] != 0).then_some(value)
}

/// Writes a number as [`short_varint`] reads it.
pub(super) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while 0x80 <= value {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written_and_not_past_their_bits() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            assert_eq!(varint(&mut bytes.as_slice()), Some(value));
            assert_eq!(short_varint(&mut bytes.as_slice()), Some(value));
            assert_eq!(varint(&mut &bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(varint(&mut &[0x81, 0][..]), Some(1));
        assert_eq!(short_varint(&mut &[0x81, 0][..]), None);
        let mut long = [0xff; 10];
        assert_eq!(varint(&mut &long[..]), None);
        long[9] = 2;
        assert_eq!(varint(&mut &long[..]), None);
        long[9] = 1;
        assert_eq!(varint(&mut &long[..]), Some(u64::MAX));
    }

    #[test]
    fn fields_end_at_the_first_that_cannot_be_read() {
        let read = |bytes: &[u8]| Fields(bytes).map_while(|field| field).count();
        assert_eq!(read(&[0x08, 5, 0x12, 1, 9, 0x1d, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0, 0]), 4);
        for broken in [&[0x08][..], &[0x12, 2, 9], &[0x1d, 0], &[0x21, 0], &[0x0b], &[0x00, 1], &[0x07]] {
            assert_eq!(read(broken), 0, "{broken:?}");
        }
    }
}
