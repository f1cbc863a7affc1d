//! `/api/v1/traces`: which there are; one of them, its spans in pages.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;

use super::error::ApiError;
use super::openapi::{Missing, OfService, Paged, Refused, WhichTraces, Within};
use super::{Asked, List};
use crate::clock;
use crate::findings::shape::Occurrence;
use crate::model::TraceId;
use crate::store::ListedTrace;
use crate::view::{Clocks, Failure, Part, Shown, SpanView, TraceFilter, TraceView, json};

/// A trace: what is known of the whole, and one page of its spans in order of start.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names are promises of the API")]
pub(super) struct Trace {
    trace_id: String,
    service: String,
    operation: String,
    /// By the clock of its first span.
    #[serde(with = "rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    /// Receipt of the first of its spans; absent before it is judged.
    #[serde(with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    received_at: Option<OffsetDateTime>,
    duration_ms: f64,
    span_count: usize,
    services: usize,
    errors: usize,
    /// Nothing of it is known to be missing; absent before it is judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    /// When it was judged.
    #[serde(with = "rfc3339::option")]
    evaluated_at: Option<OffsetDateTime>,
    /// It will be looked at, for the first time or again.
    pending: bool,
    defects: Vec<String>,
    occurrences: Vec<Found>,
    spans: Vec<Span>,
    next: Option<String>,
}

/// What a rule found in the trace.
#[derive(Serialize, ToSchema)]
#[schema(as = OccurrenceOfFinding)]
struct Found {
    finding: String,
    rule: String,
    #[serde(flatten)]
    occurrence: Occurrence,
}

/// One span. `effect` stands at calls only.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names are promises of the API")]
struct Span {
    span_id: String,
    parent_id: Option<String>,
    name: String,
    service: String,
    operation: String,
    kind: &'static str,
    offset_ms: f64,
    duration_ms: f64,
    status: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'static str>,
    on_critical_path: bool,
    scope: String,
    attributes: Map<String, Value>,
    events: Vec<json::Event>,
    links: Vec<json::Link>,
    /// Findings that it is evidence of.
    occurrences: Vec<String>,
}

/// A trace in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = TraceSummary)]
pub(super) struct Summary {
    trace_id: String,
    environment: String,
    service: String,
    operation: String,
    /// By the clock of its first span.
    #[serde(with = "rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339")]
    received_at: OffsetDateTime,
    duration_ms: f64,
    spans: i32,
    services: i32,
    errors: i32,
    occurrences: i32,
    complete: bool,
}

/// Answers `GET /traces`: judged ones, newest first.
#[utoipa::path(
    get, path = "/traces", tag = "traces",
    params(OfService, WhichTraces, Within, Paged),
    responses(
        (status = 200, description = "Judged traces, newest first", body = List<Summary>),
        Refused,
    ),
)]
pub(super) async fn list(
    State(shown): State<Shown>,
    Asked(parameters): Asked,
) -> Result<Json<List<Summary>>, ApiError> {
    let filter = TraceFilter::read(parameters, clock::now())?;
    Ok(Json(List::of(shown.traces(&filter).await?, summary)))
}

fn summary(row: ListedTrace) -> Summary {
    Summary {
        trace_id: row.trace_id.simple().to_string(),
        environment: row.environment,
        service: row.service,
        operation: row.operation,
        started_at: OffsetDateTime::from_unix_timestamp_nanos(row.start_ns.into()).ok(),
        received_at: row.received_at,
        duration_ms: row.duration_ns as f64 / 1e6,
        spans: row.spans,
        services: row.services,
        errors: row.errors,
        occurrences: row.occurrences,
        complete: row.complete,
    }
}

/// Answers `GET /traces/{id}`.
#[utoipa::path(
    get, path = "/traces/{id}", tag = "traces",
    params(("id" = String, Path, description = "32 hex digits"), Paged),
    responses(
        (status = 200, description = "The trace, its spans in order of start", body = Trace),
        Missing,
        Refused,
    ),
)]
pub(super) async fn show(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    Asked(mut parameters): Asked,
) -> Result<Json<Trace>, ApiError> {
    let limit = parameters.limit()?;
    let after = parameters.text("after")?;
    parameters.finish()?;
    let missing = || Failure::missing("such trace");
    let id: TraceId = id.parse().map_err(|_| missing())?;
    let found = shown.trace(id, Part::ByStart(after, limit), Clocks::AsSent).await?;
    Ok(Json(trace(found.ok_or_else(missing)?)))
}

/// Answers `GET /traces/{id}/otlp`.
#[utoipa::path(
    get, path = "/traces/{id}/otlp", tag = "traces",
    params(("id" = String, Path, description = "32 hex digits")),
    responses(
        (
            status = 200, content_type = "application/json", body = Value,
            description = "The trace as OTLP/JSON, as it was received but for secrets, with the exceptions that came as \
                log records. Of a trace that has more spans, the earliest `traces.max_spans_evaluated`, of at most \
                `traces.max_bytes_evaluated` as they are stored",
        ),
        Missing, Refused,
    ),
)]
pub(super) async fn otlp(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    asked.nothing()?;
    let missing = || Failure::missing("such trace");
    let id: TraceId = id.parse().map_err(|_| missing())?;
    let sent = shown.sent(id).await?.ok_or_else(missing)?;
    let name = HeaderValue::from_str(&format!("attachment; filename=\"{id}.json\""));
    let mut response = Json(sent.data).into_response();
    if let Ok(name) = name {
        response.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

fn trace(view: TraceView) -> Trace {
    let findings: Vec<String> = view.occurrences.iter().map(|found| found.finding.to_string()).collect();
    let spans = view.spans.into_iter().map(|shown| span(shown, &findings)).collect();
    let (service, operation) = view.name;
    let occurrences = view.occurrences.into_iter().map(|found| Found {
        finding: found.finding.to_string(),
        rule: found.rule,
        occurrence: found.occurrence,
    });
    Trace {
        trace_id: view.id.to_string(),
        service,
        operation,
        started_at: OffsetDateTime::from_unix_timestamp_nanos(view.start_ns.into()).ok(),
        received_at: view.summary.as_ref().map(|summary| summary.received_at),
        duration_ms: view.duration_ms,
        span_count: view.total,
        services: view.services,
        errors: view.errors,
        complete: view.summary.as_ref().map(|summary| summary.complete),
        evaluated_at: view.summary.as_ref().map(|summary| summary.evaluated_at),
        pending: view.pending,
        defects: view.defects,
        occurrences: occurrences.collect(),
        spans,
        next: view.next,
    }
}

fn span(shown: SpanView, findings: &[String]) -> Span {
    let mut occurrences: Vec<String> =
        shown.evidence_of.iter().filter_map(|(index, _)| findings.get(*index).cloned()).collect();
    occurrences.dedup();
    Span {
        span_id: shown.span_id.to_string(),
        parent_id: shown.parent_id.map(|id| id.to_string()),
        name: shown.name,
        service: shown.service,
        operation: shown.operation,
        kind: shown.kind,
        offset_ms: shown.offset_ms,
        duration_ms: shown.duration_ms,
        status: shown.status,
        outcome: shown.outcome,
        effect: shown.effect,
        on_critical_path: shown.on_critical_path,
        scope: shown.scope,
        attributes: shown.attributes,
        events: shown.events,
        links: shown.links,
        occurrences,
    }
}
