//! What a protobuf request will weigh once decoded, known before the decoder runs.
//!
//! Two bytes on the wire can become a span of several hundred bytes in memory, so 16 MiB could become gigabytes.
//! This walks the message once, takes nothing, and adds up what the decoder will take. It is no validator: text
//! that is not UTF-8, say, is left for the decoder to find.

use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::wire::varint;
use super::{MAX_DEPTH, Malformed, Place};

/// Messages with something inside that repeats.
#[derive(Clone, Copy)]
enum Message {
    Request,
    Logs,
    ResourceLogs,
    ScopeLogs,
    LogRecord,
    ResourceSpans,
    Resource,
    EntityRef,
    ScopeSpans,
    Scope,
    Span,
    Event,
    Link,
    KeyValue,
    AnyValue,
    ArrayValue,
    KeyValueList,
}

/// What a length-delimited field holds.
#[derive(Clone, Copy)]
enum Field {
    /// Text or bytes.
    Leaf,
    /// Text of a list.
    Text,
    /// A message, at most once.
    One(Message),
    /// A message of a list, and its size in there.
    List(Message, usize),
}

/// A heap block's own cost, about what allocators round up and note down.
const BLOCK: usize = 16;

/// Above the highest field number of a list.
const MAX_FIELD: usize = 16;

impl Message {
    /// Field numbers of `opentelemetry/proto/{trace,logs,resource,common}/v1`.
    fn field(self, number: u64) -> Field {
        use Field::{Leaf, List, One, Text};
        use Message as M;
        match (self, number) {
            (M::Request, 1) => List(M::ResourceSpans, size_of::<ResourceSpans>()),
            (M::Logs, 1) => List(M::ResourceLogs, size_of::<ResourceLogs>()),
            (M::ResourceSpans | M::ResourceLogs, 1) => One(M::Resource),
            (M::ResourceLogs, 2) => List(M::ScopeLogs, size_of::<ScopeLogs>()),
            (M::ScopeLogs, 2) => List(M::LogRecord, size_of::<LogRecord>()),
            (M::ResourceSpans, 2) => List(M::ScopeSpans, size_of::<ScopeSpans>()),
            (M::ScopeSpans | M::ScopeLogs, 1) => One(M::Scope),
            (M::ScopeSpans, 2) => List(M::Span, size_of::<Span>()),
            (M::Span, 11) => List(M::Event, size_of::<Event>()),
            (M::Span, 13) => List(M::Link, size_of::<Link>()),
            (M::Resource | M::KeyValueList, 1)
            | (M::Scope | M::Event, 3)
            | (M::Span, 9)
            | (M::Link, 4)
            | (M::LogRecord, 6) => List(M::KeyValue, size_of::<KeyValue>()),
            (M::Resource, 3) => List(M::EntityRef, size_of::<EntityRef>()),
            (M::EntityRef, 3 | 4) => Text,
            (M::KeyValue, 2) | (M::LogRecord, 5) => One(M::AnyValue),
            (M::ArrayValue, 1) => List(M::AnyValue, size_of::<AnyValue>()),
            (M::AnyValue, 5) => One(M::ArrayValue),
            (M::AnyValue, 6) => One(M::KeyValueList),
            _ => Leaf,
        }
    }
}

/// Bytes that the decoded form of a request takes, at most.
pub(super) fn of_request(bytes: &[u8]) -> Result<usize, Malformed> {
    of(Message::Request, bytes)
}

/// The same of a resource, a scope and a span alone.
pub(super) fn of_resource(bytes: &[u8]) -> Result<usize, Malformed> {
    of(Message::Resource, bytes)
}

pub(super) fn of_scope(bytes: &[u8]) -> Result<usize, Malformed> {
    of(Message::Scope, bytes)
}

pub(super) fn of_span(bytes: &[u8]) -> Result<usize, Malformed> {
    of(Message::Span, bytes)
}

/// The same of a request that holds logs.
pub(super) fn of_logs(bytes: &[u8]) -> Result<usize, Malformed> {
    of(Message::Logs, bytes)
}

fn of(message: Message, bytes: &[u8]) -> Result<usize, Malformed> {
    let mut scan = Scan { start: bytes.as_ptr().addr(), weight: 0 };
    scan.message(message, bytes, 0)?;
    Ok(scan.weight)
}

/// What a list takes anew for one more element of this size: room for four at first, then as much again when full.
pub(super) const fn of_push(length: usize, size: usize) -> usize {
    match length {
        0 => 4 * size + BLOCK,
        4.. if length.is_power_of_two() => length * size,
        _ => 0,
    }
}

/// What text or bytes take.
pub(super) const fn of_leaf(length: usize) -> usize {
    if length == 0 { 0 } else { length + BLOCK }
}

struct Scan {
    /// Where the request begins, to name places in it.
    start: usize,
    weight: usize,
}

impl Scan {
    /// `depth` counts lists within attribute values.
    fn message(&mut self, message: Message, bytes: &[u8], depth: u32) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(self.at(bytes, "attribute value nested too deep"));
        }
        let mut lengths = [0; MAX_FIELD];
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = rest;
            let key = varint(&mut rest).ok_or_else(|| self.at(at, "truncated field key"))?;
            let skipped = match key & 7 {
                0 => varint(&mut rest).map(|_| ()),
                1 => skip(&mut rest, 8),
                5 => skip(&mut rest, 4),
                2 => {
                    let length = varint(&mut rest).and_then(|length| usize::try_from(length).ok());
                    let inner = length.and_then(|length| rest.split_at_checked(length));
                    let (inner, after) = inner.ok_or_else(|| self.at(at, "field longer than its message"))?;
                    rest = after;
                    self.field(message.field(key >> 3), inner, lengths.get_mut((key >> 3) as usize), depth)?;
                    Some(())
                }
                // Groups left the language long ago; no field of ours is one.
                wire_type => return Err(self.at(at, format_args!("wire type {wire_type} in OTLP"))),
            };
            skipped.ok_or_else(|| self.at(at, "truncated field"))?;
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: Field,
        bytes: &[u8],
        length: Option<&mut usize>,
        depth: u32,
    ) -> Result<(), Malformed> {
        let push = |size| {
            let length = length.map_or(0, |length| std::mem::replace(length, *length + 1));
            of_push(length, size)
        };
        match field {
            Field::Leaf => self.weight += of_leaf(bytes.len()),
            Field::Text => self.weight += push(size_of::<String>()) + of_leaf(bytes.len()),
            Field::One(inner) => {
                let deeper = matches!(inner, Message::ArrayValue | Message::KeyValueList);
                self.message(inner, bytes, depth + u32::from(deeper))?;
            }
            Field::List(inner, size) => {
                self.weight += push(size);
                self.message(inner, bytes, depth)?;
            }
        }
        Ok(())
    }

    fn at(&self, rest: &[u8], why: impl std::fmt::Display) -> Malformed {
        Malformed::at(Place::Byte(rest.as_ptr().addr() - self.start), why)
    }
}

fn skip(rest: &mut &[u8], bytes: usize) -> Option<()> {
    *rest = rest.get(bytes..)?;
    Some(())
}
