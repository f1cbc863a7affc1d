//! Spans as real SDKs send them: the recordings beside the tests, under new trace ids.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use debunk::clock;
use debunk::decode::{check, file};
use debunk::model::Received;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message as _;

/// Spans of one export, at the least; traces stay whole.
const SPANS: usize = 100;

/// An export that is encoded once and given new trace ids by copying them to where the old ones stand.
pub(crate) struct Stamp {
    bytes: Vec<u8>,
    /// For each trace, where its id stands.
    places: Vec<Vec<usize>>,
    /// How an id is written, and how long it then is.
    write: fn(u128, &mut [u8]),
    length: usize,
    pub(crate) spans: usize,
}

impl Stamp {
    /// The same spans in traces nobody has seen.
    pub(crate) fn fresh(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let mut id = [0; 32];
        for places in &self.places {
            (self.write)(rand::random::<u128>() | 1, &mut id);
            for place in places {
                bytes[*place..place + self.length].copy_from_slice(&id[..self.length]);
            }
        }
        bytes
    }
}

/// Exports in protobuf.
pub(crate) fn protobuf() -> Vec<Stamp> {
    let write = |id: u128, into: &mut [u8]| into[..16].copy_from_slice(&id.to_be_bytes());
    stamps(ExportTraceServiceRequest::encode_to_vec, write, 16)
}

/// Exports as lines of JSON.
pub(crate) fn json() -> Vec<Stamp> {
    let write = |id: u128, into: &mut [u8]| into.copy_from_slice(format!("{id:032x}").as_bytes());
    let encode = |request: &ExportTraceServiceRequest| {
        let mut line = serde_json::to_vec(request).unwrap();
        line.push(b'\n');
        line
    };
    stamps(encode, write, 32)
}

fn stamps(
    encode: impl Fn(&ExportTraceServiceRequest) -> Vec<u8>,
    write: fn(u128, &mut [u8]),
    length: usize,
) -> Vec<Stamp> {
    let stamp = |traces: Vec<Vec<Received>>| {
        let ids: Vec<u128> = traces.iter().map(|_| rand::random::<u128>() | 1).collect();
        let spans: Vec<Received> = traces
            .into_iter()
            .zip(&ids)
            .flat_map(|(mut trace, id)| {
                for one in &mut trace {
                    one.span.trace_id = id.to_be_bytes().to_vec();
                }
                trace
            })
            .collect();
        let count = spans.len();
        let bytes = encode(&ExportTraceServiceRequest { resource_spans: nest(spans) });
        let place = |id: &u128| {
            let mut written = [0; 32];
            write(*id, &mut written);
            let all = bytes.windows(length).enumerate();
            all.filter(|(_, window)| *window == &written[..length]).map(|(at, _)| at).collect()
        };
        Stamp { places: ids.iter().map(place).collect(), bytes, write, length, spans: count }
    };
    let mut stamps = Vec::new();
    let mut open = Vec::new();
    for trace in recorded() {
        open.push(trace);
        if SPANS <= open.iter().map(Vec::len).sum() {
            stamps.push(stamp(std::mem::take(&mut open)));
        }
    }
    stamps
}

/// Recorded traces, moved to the present.
pub(crate) fn recorded() -> Vec<Vec<Received>> {
    let mut traces: BTreeMap<Vec<u8>, Vec<Received>> = BTreeMap::new();
    for name in ["lab-node", "lab-python"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.jsonl.gz"));
        for request in file::Requests::open(&path).unwrap() {
            let mut exports = request.unwrap().resource_spans;
            check::check(&mut exports);
            for received in Received::flatten(exports) {
                traces.entry(received.span.trace_id.clone()).or_default().push(received);
            }
        }
    }
    let now = clock::now().unix_timestamp_nanos() as u64;
    let moved = |mut trace: Vec<Received>| {
        let start = trace.iter().map(|one| one.span.start_time_unix_nano).min().unwrap_or(0);
        for one in &mut trace {
            one.span.start_time_unix_nano += now - start;
            one.span.end_time_unix_nano += now - start;
        }
        trace
    };
    traces.into_values().map(moved).collect()
}

/// The nested form of an export: one entry per resource, one per scope in it.
pub(crate) fn nest(spans: Vec<Received>) -> Vec<ResourceSpans> {
    let mut nested: Vec<ResourceSpans> = Vec::new();
    let mut known: BTreeMap<usize, (usize, BTreeMap<usize, usize>)> = BTreeMap::new();
    for one in spans {
        let (at, scopes) = known.entry(Arc::as_ptr(&one.resource).addr()).or_insert_with(|| {
            let resource = Some((*one.resource).clone());
            nested.push(ResourceSpans { resource, ..ResourceSpans::default() });
            (nested.len() - 1, BTreeMap::new())
        });
        let of_scopes = &mut nested[*at].scope_spans;
        let scope = scopes.entry(Arc::as_ptr(&one.scope).addr()).or_insert_with(|| {
            of_scopes.push(ScopeSpans { scope: Some((*one.scope).clone()), ..ScopeSpans::default() });
            of_scopes.len() - 1
        });
        of_scopes[*scope].spans.push(one.span);
    }
    nested
}
