//! OTLP requests: protobuf through `prost`, JSON through a lenient reader of our own, into the same types.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;

use super::{DecodeError, Malformed, Place, Room, json, weight};

/// Reads an `ExportTraceServiceRequest` (or `TracesData`, which is the same on the wire).
pub fn protobuf(bytes: &[u8], room: Room<'_>) -> Result<Vec<ResourceSpans>, DecodeError> {
    room(weight::of_request(bytes)?)?;
    let request = ExportTraceServiceRequest::decode(bytes)
        .map_err(|error| Malformed::at(Place::Within(bytes.len()), error))?;
    Ok(request.resource_spans)
}

/// Reads the JSON form. It takes what senders send rather than what they should: enums by name, number or numeric
/// text, `null` for "not given", numbers as text and the reverse, identifiers in either case. Unknown fields are
/// skipped at every level; an identifier that is no hexadecimal, say, is malformed.
pub fn json(bytes: &[u8], room: Room<'_>) -> Result<Vec<ResourceSpans>, DecodeError> {
    json::request(bytes, room).map(|request| request.resource_spans)
}

#[cfg(test)]
#[path = "otlp_tests.rs"]
mod tests;
