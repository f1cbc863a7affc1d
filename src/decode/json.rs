//! The lenient reader of OTLP/JSON: which field of which message holds what. How a value is read stands in `fields`.
//!
//! It reads straight into the types of the protobuf form, and asks for room as lists and texts grow. What is not
//! a field of OTLP is skipped.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde::de::{DeserializeSeed, MapAccess};

use super::fields::{Field, Fields, Meter, Object};
use super::{DecodeError, Malformed, Place, Room};

/// The outermost object.
#[derive(Default)]
pub(super) struct Request {
    pub(super) resource_spans: Vec<ResourceSpans>,
    /// Whether it spoke of spans at all: a file that does not is no trace, though an export may be empty.
    pub(super) has_spans: bool,
    pub(super) resource_logs: Vec<ResourceLogs>,
    /// Likewise.
    pub(super) has_logs: bool,
    /// A name that tells what it is instead.
    pub(super) foreign: Option<&'static str>,
}

pub(super) fn request(bytes: &[u8], room: Room<'_>) -> Result<Request, DecodeError> {
    let meter = Meter::new(room);
    let mut request = Request::default();
    // One look at all of it is faster than one at each text. What is no UTF-8 may yet stand where nobody reads.
    let read = match std::str::from_utf8(bytes) {
        Ok(text) => whole(&mut request, &meter, serde_json::Deserializer::from_str(text)),
        Err(_) => whole(&mut request, &meter, serde_json::Deserializer::from_slice(bytes)),
    };
    match (read, meter.settle()) {
        (_, Err(no_room)) => Err(no_room.into()),
        (Err(error), Ok(())) => Err(malformed(&error).into()),
        (Ok(()), Ok(())) => Ok(request),
    }
}

fn whole<'de, R: serde_json::de::Read<'de>>(
    request: &mut Request,
    meter: &Meter<'_>,
    mut reader: serde_json::Deserializer<R>,
) -> serde_json::Result<()> {
    Object(request, meter).deserialize(&mut reader).and_then(|_| reader.end())
}

/// `serde_json` puts the place at the end of its message; ours goes first.
fn malformed(error: &serde_json::Error) -> Malformed {
    let place = Place::Line(error.line(), error.column());
    let text = error.to_string();
    Malformed::at(place, text.strip_suffix(&format!(" at {place}")).unwrap_or(&text))
}

impl Fields for Request {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "resourceSpans" => {
                self.has_spans = true;
                field.list(&mut self.resource_spans)
            }
            "resource_spans" => self.skip("resource_spans (OTLP/JSON says resourceSpans)", field),
            "resourceLogs" => {
                self.has_logs = true;
                field.list(&mut self.resource_logs)
            }
            "resourceMetrics" => self.skip("metrics", field),
            "data" => self.skip("data, as Jaeger's export has it", field),
            _ => field.skip(),
        }
    }
}

impl Request {
    fn skip<'de, A: MapAccess<'de>>(
        &mut self,
        foreign: &'static str,
        field: Field<'_, A>,
    ) -> Result<(), A::Error> {
        self.foreign = Some(foreign);
        field.skip()
    }
}

impl Fields for ResourceSpans {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "resource" => field.message(&mut self.resource),
            "scopeSpans" => field.list(&mut self.scope_spans),
            "schemaUrl" => field.value(&mut self.schema_url),
            _ => field.skip(),
        }
    }
}

impl Fields for Resource {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "attributes" => field.list(&mut self.attributes),
            "droppedAttributesCount" => field.value(&mut self.dropped_attributes_count),
            "entityRefs" => field.list(&mut self.entity_refs),
            _ => field.skip(),
        }
    }
}

impl Fields for EntityRef {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "schemaUrl" => field.value(&mut self.schema_url),
            "type" => field.value(&mut self.r#type),
            "idKeys" => field.texts(&mut self.id_keys),
            "descriptionKeys" => field.texts(&mut self.description_keys),
            _ => field.skip(),
        }
    }
}

impl Fields for ScopeSpans {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "scope" => field.message(&mut self.scope),
            "spans" => field.list(&mut self.spans),
            "schemaUrl" => field.value(&mut self.schema_url),
            _ => field.skip(),
        }
    }
}

impl Fields for InstrumentationScope {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "name" => field.value(&mut self.name),
            "version" => field.value(&mut self.version),
            "attributes" => field.list(&mut self.attributes),
            "droppedAttributesCount" => field.value(&mut self.dropped_attributes_count),
            _ => field.skip(),
        }
    }
}

impl Fields for Span {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "traceId" => field.hex(&mut self.trace_id),
            "spanId" => field.hex(&mut self.span_id),
            "traceState" => field.value(&mut self.trace_state),
            "parentSpanId" => field.hex(&mut self.parent_span_id),
            "flags" => field.value(&mut self.flags),
            "name" => field.value(&mut self.name),
            "kind" => field.choice(&mut self.kind, |name| SpanKind::from_str_name(name).map(i32::from)),
            "startTimeUnixNano" => field.value(&mut self.start_time_unix_nano),
            "endTimeUnixNano" => field.value(&mut self.end_time_unix_nano),
            "attributes" => field.list(&mut self.attributes),
            "droppedAttributesCount" => field.value(&mut self.dropped_attributes_count),
            "events" => field.list(&mut self.events),
            "droppedEventsCount" => field.value(&mut self.dropped_events_count),
            "links" => field.list(&mut self.links),
            "droppedLinksCount" => field.value(&mut self.dropped_links_count),
            "status" => field.message(&mut self.status),
            _ => field.skip(),
        }
    }
}

impl Fields for ResourceLogs {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "scopeLogs" => field.list(&mut self.scope_logs),
            _ => field.skip(),
        }
    }
}

impl Fields for ScopeLogs {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "logRecords" => field.list(&mut self.log_records),
            _ => field.skip(),
        }
    }
}

/// What an exception needs of a record; its text, say, is passed over.
impl Fields for LogRecord {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "traceId" => field.hex(&mut self.trace_id),
            "spanId" => field.hex(&mut self.span_id),
            "timeUnixNano" => field.value(&mut self.time_unix_nano),
            "observedTimeUnixNano" => field.value(&mut self.observed_time_unix_nano),
            "eventName" => field.value(&mut self.event_name),
            "attributes" => field.list(&mut self.attributes),
            "droppedAttributesCount" => field.value(&mut self.dropped_attributes_count),
            _ => field.skip(),
        }
    }
}

impl Fields for Event {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "timeUnixNano" => field.value(&mut self.time_unix_nano),
            "name" => field.value(&mut self.name),
            "attributes" => field.list(&mut self.attributes),
            "droppedAttributesCount" => field.value(&mut self.dropped_attributes_count),
            _ => field.skip(),
        }
    }
}

impl Fields for Link {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "traceId" => field.hex(&mut self.trace_id),
            "spanId" => field.hex(&mut self.span_id),
            "traceState" => field.value(&mut self.trace_state),
            "attributes" => field.list(&mut self.attributes),
            "droppedAttributesCount" => field.value(&mut self.dropped_attributes_count),
            "flags" => field.value(&mut self.flags),
            _ => field.skip(),
        }
    }
}

impl Fields for Status {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "message" => field.value(&mut self.message),
            "code" => field.choice(&mut self.code, |name| StatusCode::from_str_name(name).map(i32::from)),
            _ => field.skip(),
        }
    }
}

impl Fields for KeyValue {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "key" => field.value(&mut self.key),
            "value" => field.message(&mut self.value),
            _ => field.skip(),
        }
    }
}

/// The last of several values counts, as with protobuf; `null` leaves the earlier one.
impl Fields for AnyValue {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        let value = match name {
            "stringValue" => field.given::<String>()?.map(Value::StringValue),
            "boolValue" => field.given::<bool>()?.map(Value::BoolValue),
            "intValue" => field.given::<i64>()?.map(Value::IntValue),
            "doubleValue" => field.given::<f64>()?.map(Value::DoubleValue),
            "bytesValue" => field.base64()?.map(Value::BytesValue),
            "arrayValue" => field.nested::<ArrayValue>()?.map(Value::ArrayValue),
            "kvlistValue" => field.nested::<KeyValueList>()?.map(Value::KvlistValue),
            _ => return field.skip(),
        };
        self.value = value.or(self.value.take());
        Ok(())
    }
}

impl Fields for ArrayValue {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "values" => field.list(&mut self.values),
            _ => field.skip(),
        }
    }
}

impl Fields for KeyValueList {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error> {
        match name {
            "values" => field.list(&mut self.values),
            _ => field.skip(),
        }
    }
}
