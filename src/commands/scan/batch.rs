//! The spans of one document in the form in which they wait: encoded, each with what it is sorted by.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use prost::Message;

use super::heap::fixed;
use crate::model::{Received, SpanId, TraceId};

/// Tells resources and scopes apart: input may be hostile, so it is one that nobody can make collide.
pub(super) type Digest = [u8; 32];

/// The spans of one document.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) resources: Vec<(Digest, Vec<u8>)>,
    pub(super) scopes: Vec<(Digest, Vec<u8>)>,
    pub(super) spans: Vec<Encoded>,
    /// How many of them are events that came by themselves.
    pub(super) events: u64,
    pub(super) bytes: Vec<u8>,
}

/// Where a span stands in its batch.
pub(super) struct Encoded {
    pub(super) head: Head,
    pub(super) resource: u32,
    pub(super) scope: u32,
    pub(super) range: Range<usize>,
}

/// What spans are grouped and ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Head {
    pub(super) trace: TraceId,
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) span: SpanId,
}

impl Head {
    pub(super) const SIZE: usize = 32;

    pub(super) fn write(self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.trace.0.to_le_bytes());
        into.extend_from_slice(&self.start.to_le_bytes());
        into.extend_from_slice(&self.span.0.to_le_bytes());
    }

    pub(super) fn read(rest: &mut &[u8]) -> Self {
        Self {
            trace: TraceId(u128::from_le_bytes(fixed(rest))),
            start: u64::from_le_bytes(fixed(rest)),
            span: SpanId(u64::from_le_bytes(fixed(rest))),
        }
    }
}

/// Encodes checked spans.
pub(super) fn encode(spans: &[Received]) -> Batch {
    let mut batch = Batch::default();
    let (mut resources, mut scopes) = (HashMap::new(), HashMap::new());
    for one in spans {
        // `check` has taken out every span without valid ids.
        let (Some(trace), Some(span)) =
            (TraceId::from_bytes(&one.span.trace_id), SpanId::from_bytes(&one.span.span_id))
        else {
            continue;
        };
        let resource = number(&mut resources, &mut batch.resources, &one.resource);
        let scope = number(&mut scopes, &mut batch.scopes, &one.scope);
        batch.events += u64::from(one.is_event());
        let from = batch.bytes.len();
        one.span.encode(&mut batch.bytes).expect("a vector has room");
        batch.spans.push(Encoded {
            head: Head { trace, start: one.span.start_time_unix_nano, span },
            resource,
            scope,
            range: from..batch.bytes.len(),
        });
    }
    batch
}

/// The number of a resource or scope that many spans share.
fn number<T: Message>(
    known: &mut HashMap<usize, u32>,
    all: &mut Vec<(Digest, Vec<u8>)>,
    shared: &Arc<T>,
) -> u32 {
    *known.entry(Arc::as_ptr(shared).addr()).or_insert_with(|| {
        let encoded = shared.encode_to_vec();
        all.push((*blake3::hash(&encoded).as_bytes(), encoded));
        all.len() as u32 - 1
    })
}
