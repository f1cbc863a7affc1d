//! Identifiers of traces and spans, as W3C Trace Context writes them: lower-case hexadecimal.

use std::fmt;
use std::str::FromStr;

/// 16 bytes, big endian; zero is invalid and never made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub u128);

/// 8 bytes, big endian; zero is invalid and never made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u64);

impl TraceId {
    /// Reads the 16 bytes of the wire; any other length and all zeros are `None`.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let id = u128::from_be_bytes(bytes.try_into().ok()?);
        (id != 0).then_some(Self(id))
    }
}

impl SpanId {
    /// Reads the 8 bytes of the wire; any other length and all zeros are `None`.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let id = u64::from_be_bytes(bytes.try_into().ok()?);
        (id != 0).then_some(Self(id))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A text that is no identifier of the expected length.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidId;

impl FromStr for TraceId {
    type Err = InvalidId;
    /// Accepts 1 to 32 hexadecimal digits, either case: short forms are padded with zeros on the left, as Jaeger prints them.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let id = hex(text, 32)?;
        (id != 0).then_some(Self(id)).ok_or(InvalidId)
    }
}

impl FromStr for SpanId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let id = hex(text, 16)? as u64;
        (id != 0).then_some(Self(id)).ok_or(InvalidId)
    }
}

fn hex(text: &str, most: usize) -> Result<u128, InvalidId> {
    let digits = !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { u128::from_str_radix(text, 16).map_err(|_| InvalidId) } else { Err(InvalidId) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_wrong_lengths_are_no_ids() {
        assert_eq!(TraceId::from_bytes(&[0; 16]), None);
        assert_eq!(TraceId::from_bytes(&[1; 15]), None);
        assert_eq!(SpanId::from_bytes(&[0; 8]), None);
        assert_eq!(SpanId::from_bytes(&[1; 9]), None);
        assert_eq!("".parse::<SpanId>(), Err(InvalidId));
        assert_eq!("00".parse::<SpanId>(), Err(InvalidId));
        assert_eq!("+1".parse::<SpanId>(), Err(InvalidId));
    }

    #[test]
    fn text_and_bytes_agree() {
        let id = TraceId::from_bytes(&[0xab; 16]).unwrap();
        assert_eq!(id.to_string(), "ab".repeat(16));
        assert_eq!("AB".repeat(16).parse(), Ok(id));
        assert_eq!(
            "5d1a48d0a06d3991".parse::<TraceId>().unwrap().to_string(),
            "00000000000000005d1a48d0a06d3991"
        );
    }
}
