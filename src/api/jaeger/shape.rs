//! A trace in the form that Jaeger's pages read (`internal/uimodel` of Jaeger).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::store::occurrences::Sighting;
use crate::view::{SpanView, TraceView};

/// A trace: its spans, and the processes that they name.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are those of Jaeger")]
pub(super) struct Trace {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<Span>,
    processes: BTreeMap<String, Process>,
    warnings: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are those of Jaeger")]
struct Span {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    operation_name: String,
    references: Vec<Reference>,
    /// Microseconds since 1970, by the span's own clock.
    start_time: i64,
    /// Microseconds.
    duration: i64,
    flags: u32,
    tags: Vec<Tag>,
    logs: Vec<Log>,
    #[serde(rename = "processID")]
    process_id: String,
    warnings: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: &'static str,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Serialize)]
struct Tag {
    key: String,
    r#type: &'static str,
    value: Value,
}

#[derive(Serialize)]
struct Log {
    /// Microseconds since 1970.
    timestamp: i64,
    fields: Vec<Tag>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    tags: Vec<Tag>,
}

/// `site` is the address that links to findings start with.
pub(super) fn trace(view: &TraceView, site: &str) -> Trace {
    let mut names: Vec<&str> = view.spans.iter().map(|span| span.service.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let process_of = |service: &str| format!("p{}", names.partition_point(|name| *name < service) + 1);
    let processes = names
        .iter()
        .map(|name| (process_of(name), Process { service_name: (*name).to_owned(), tags: Vec::new() }));
    let mut warnings = view.defects.clone();
    if view.spans.len() < view.total {
        warnings.push(format!("{} of {} spans are shown", view.spans.len(), view.total));
    }
    Trace {
        trace_id: view.id.to_string(),
        spans: view.spans.iter().map(|span| shape(view, span, process_of(&span.service), site)).collect(),
        processes: processes.collect(),
        warnings: (!warnings.is_empty()).then_some(warnings),
    }
}

fn shape(view: &TraceView, span: &SpanView, process_id: String, site: &str) -> Span {
    let trace_id = view.id.to_string();
    let parent = span.parent_id.map(|parent| Reference {
        ref_type: "CHILD_OF",
        trace_id: trace_id.clone(),
        span_id: parent.to_string(),
    });
    let links = span.links.iter().map(|link| Reference {
        ref_type: "FOLLOWS_FROM",
        trace_id: link.trace_id.clone(),
        span_id: link.span_id.clone(),
    });
    let at = |offset_ms: f64| view.start_ns / 1_000 + (offset_ms * 1e3) as i64;
    let logs = span.events.iter().map(|event| {
        let name = Tag { key: "event".to_owned(), r#type: "string", value: event.name.clone().into() };
        let fields = std::iter::once(name).chain(tags(&event.attributes)).collect();
        Log { timestamp: at(event.offset_ms), fields }
    });
    Span {
        span_id: span.span_id.to_string(),
        operation_name: span.name.clone(),
        references: parent.into_iter().chain(links).collect(),
        start_time: at(span.offset_ms),
        duration: (span.duration_ms * 1e3) as i64,
        flags: 1,
        tags: known(span).chain(tags(&span.attributes)).collect(),
        logs: logs.collect(),
        process_id,
        warnings: warnings(view, span, site),
        trace_id,
    }
}

/// What OTLP has fields for and Jaeger tags.
fn known(span: &SpanView) -> impl Iterator<Item = Tag> {
    let text = |key: &str, value: &str| Tag { key: key.to_owned(), r#type: "string", value: value.into() };
    let mut tags = vec![text("span.kind", span.kind)];
    if !span.scope.is_empty() {
        tags.push(text("otel.scope.name", &span.scope));
    }
    if span.status != "unset" {
        tags.push(text("otel.status_code", &span.status.to_ascii_uppercase()));
    }
    if !span.status_message.is_empty() {
        tags.push(text("otel.status_description", &span.status_message));
    }
    if span.status == "error" {
        tags.push(Tag { key: "error".to_owned(), r#type: "bool", value: true.into() });
    }
    tags.into_iter()
}

fn tags(attributes: &Map<String, Value>) -> impl Iterator<Item = Tag> {
    attributes.iter().map(|(key, value)| {
        let (r#type, value) = match value {
            Value::Bool(_) => ("bool", value.clone()),
            Value::Number(number) if number.is_f64() => ("float64", value.clone()),
            Value::Number(_) => ("int64", value.clone()),
            Value::String(_) => ("string", value.clone()),
            // Jaeger has no nested values: they stand as their JSON.
            Value::Null | Value::Array(_) | Value::Object(_) => ("string", value.to_string().into()),
        };
        Tag { key: key.clone(), r#type, value }
    })
}

/// What a finding says at a span that shows it, with the way to its page.
pub(super) fn warning(found: &Sighting, site: &str) -> String {
    let site = site.trim_end_matches('/');
    format!("{}: {} — {site}/findings/{}", found.rule, found.occurrence.why, found.finding)
}

/// One line for each finding that the span is evidence of.
fn warnings(view: &TraceView, span: &SpanView, site: &str) -> Option<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    for (index, _) in &span.evidence_of {
        let Some(found) = view.occurrences.get(*index) else { continue };
        let line = warning(found, site);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    (!lines.is_empty()).then_some(lines)
}
