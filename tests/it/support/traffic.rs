//! Traffic for tests that count: exports of random spans, and which of them were acknowledged.

use std::collections::BTreeSet;

use debunk::sketch;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// (trace, span) as the database has them.
pub(crate) type Key = (u128, u64);

/// An export of `count` new spans in a few traces, and their keys.
pub(crate) fn request(count: usize) -> (ExportTraceServiceRequest, BTreeSet<Key>) {
    let started: u64 = 1_700_000_000_000_000_000;
    let mut keys = BTreeSet::new();
    let mut spans = Vec::with_capacity(count);
    let mut trace = rand::random::<u128>();
    for number in 0..count {
        if number % 8 == 0 {
            trace = rand::random::<u128>() | 1;
        }
        let id = rand::random::<u64>() | 1;
        keys.insert((trace, id));
        spans.push(Span {
            trace_id: trace.to_be_bytes().to_vec(),
            span_id: id.to_be_bytes().to_vec(),
            name: format!("GET /item/{}", number % 7),
            kind: 2,
            start_time_unix_nano: started + number as u64 * 1_000_000,
            end_time_unix_nano: started + number as u64 * 1_000_000 + 500_000,
            attributes: vec![text("http.request.method", "GET"), text("url.path", "/item/7")],
            ..Span::default()
        });
    }
    let resource = Resource { attributes: vec![text("service.name", "load")], ..Resource::default() };
    let of_scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let of_resource =
        ResourceSpans { resource: Some(resource), scope_spans: vec![of_scope], ..ResourceSpans::default() };
    (ExportTraceServiceRequest { resource_spans: vec![of_resource] }, keys)
}

/// A payment that was charged twice: one trace opens a finding of `service`.
pub(crate) fn charged_twice(trace: u128, service: &str) -> ExportTraceServiceRequest {
    const DRAWING: &str = "
        |==============================| checkout  server  POST /order
        | =========x                   |   checkout  client  POST pay/charge  {exception.type=ReadTimeout}
        |  ==============              |     pay  server  POST /charge
        |             ==               |       pay  db  INSERT INTO charges VALUES (?)
        |                 =====        |   checkout  client  POST pay/charge  {http.request.resend_count=1}
        |                  ===         |     pay  server  POST /charge
        |                  ==          |       pay  db  INSERT INTO charges VALUES (?)";
    drawn(trace, &DRAWING.replace("checkout", service))
}

/// What a drawing shows, as spans of `trace`, one resource a span.
pub(crate) fn drawn(trace: u128, drawing: &str) -> ExportTraceServiceRequest {
    let spans = sketch::parse(drawing).unwrap().spans.into_iter();
    let resource_spans = spans.map(|one| {
        let spans = vec![Span { trace_id: trace.to_be_bytes().to_vec(), ..one.span }];
        let scope = Some(one.scope.as_ref().clone());
        let scope_spans = vec![ScopeSpans { scope, spans, ..ScopeSpans::default() }];
        let resource = Some(one.resource.as_ref().clone());
        ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

/// The keys of an export.
pub(crate) fn keys(export: &ExportTraceServiceRequest) -> BTreeSet<Key> {
    let scopes = export.resource_spans.iter().flat_map(|one| &one.scope_spans);
    let spans = scopes.flat_map(|one| &one.spans);
    let id = |span: &Span| {
        let trace = u128::from_be_bytes(span.trace_id.as_slice().try_into().unwrap());
        (trace, u64::from_be_bytes(span.span_id.as_slice().try_into().unwrap()))
    };
    spans.map(id).collect()
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}
