//! Bytes to spans: OTLP as protobuf and as JSON, compressed or not, from a request or from files.
//!
//! Everything here takes hostile input, so nothing here takes memory without asking for it first: callers pass
//! [`Room`], which says how much there is. It does not judge single spans (a wrong id is the door's business). Of
//! attributes it knows the form, and asks `semconv` whether there is a secret in them.

pub mod bounded;
pub mod check;
pub mod dictionary;
mod fields;
pub mod file;
pub mod items;
mod json;
pub mod logs;
pub mod otlp;
pub mod plain;
mod weight;
mod wire;

use std::fmt;

/// Asked before memory is taken, with the number of bytes; a refusal ends the decoding.
pub type Room<'a> = &'a dyn Fn(usize) -> Result<(), NoRoom>;

/// Why there is no memory for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// It is larger than anything that may be taken: asking again is no use.
    Ever,
    /// Others hold it: ask again later.
    Now,
}

/// Input that is not what it should be, with the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub why: String,
}

/// A place in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Counted from 0, after decompression.
    Byte(usize),
    /// Counted from 1.
    Line(usize, usize),
    /// Somewhere in so many bytes; `prost` says no more than which field it was reading.
    Within(usize),
}

/// Why bytes did not become spans.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not what it should be.
    #[error("{0}")]
    Malformed(Malformed),
    /// More than may be taken, by itself or at the moment.
    #[error("{}", match .0 {
        NoRoom::Ever => "too large when decoded",
        NoRoom::Now => "no memory for it at the moment",
    })]
    NoRoom(NoRoom),
}

impl Malformed {
    fn at(place: Place, why: impl fmt::Display) -> Self {
        Self { place, why: why.to_string() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(offset) => write!(out, "byte {offset}"),
            Self::Line(line, column) => write!(out, "line {line} column {column}"),
            Self::Within(length) => write!(out, "in these {length} bytes"),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.why)
    }
}

impl From<Malformed> for DecodeError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<NoRoom> for DecodeError {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}

/// Deepest nesting of lists within attribute values. Both encodings have the same, below the limits of their
/// parsers, so that a document that one takes the other takes too.
const MAX_DEPTH: u32 = 24;
