//! The query API of Jaeger, version 3: the same questions, answered in OTLP/JSON. What was found stands where Jaeger
//! itself puts warnings, in an attribute of the spans that show it.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Sent;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, TracesData};
use serde::Serialize;

use super::shape::warning;
use super::{JaegerError, SEARCH_SPANS, ask, lately};
use crate::clock;
use crate::model::{SpanId, TraceId};
use crate::view::{Failure, SentTrace, Shown};

/// As Jaeger's `internal/jptrace` names it: an array of texts.
const WARNINGS: &str = "@jaeger@warnings";

/// The routes, at the root of the port.
pub(super) fn router() -> Router<Shown> {
    Router::new()
        .route("/api/v3/services", get(services))
        .route("/api/v3/operations", get(operations))
        .route("/api/v3/traces", get(search))
        .route("/api/v3/traces/{id}", get(trace))
}

/// As Jaeger's gateway wraps what its service streams.
#[derive(Serialize)]
struct Wrapper<T> {
    result: T,
}

#[derive(Serialize)]
struct Services {
    services: Vec<String>,
}

#[derive(Serialize)]
struct Operations {
    operations: Vec<Operation>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    name: String,
    /// Operations are those of units, whatever began them.
    span_kind: &'static str,
}

#[derive(Serialize)]
struct Fault {
    error: Inner,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inner {
    http_code: u16,
    message: String,
}

/// A failure in the form of version 3.
struct V3Error(Failure);

impl<E: Into<Failure>> From<E> for V3Error {
    fn from(failure: E) -> Self {
        Self(failure.into())
    }
}

impl From<JaegerError> for V3Error {
    fn from(failure: JaegerError) -> Self {
        Self(failure.0)
    }
}

impl IntoResponse for V3Error {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let error = Inner { http_code: status.as_u16(), message: self.0.detail() };
        (status, Json(Fault { error })).into_response()
    }
}

type Asked = Result<super::Asked, JaegerError>;

/// Answers `GET /api/v3/services`.
async fn services(State(shown): State<Shown>, asked: Asked) -> Result<Json<Services>, V3Error> {
    asked?.0.finish()?;
    let (services, _) = shown.map(&lately(clock::now())).await?;
    Ok(Json(Services { services: services.into_iter().map(|service| service.name).collect() }))
}

/// Answers `GET /api/v3/operations`.
async fn operations(State(shown): State<Shown>, asked: Asked) -> Result<Json<Operations>, V3Error> {
    let mut parameters = asked?.0;
    let service = parameters.text("service")?;
    let service = service.ok_or_else(|| Failure::parameter("service", "say whose operations"))?;
    ask::ignore(&mut parameters, &["spanKind", "span_kind"])?;
    parameters.finish()?;
    let found = shown.service(&service, &lately(clock::now())).await?;
    let operations = found.map(|found| found.operations).unwrap_or_default().into_iter();
    let operations = operations.map(|operation| Operation { name: operation.name, span_kind: "" });
    Ok(Json(Operations { operations: operations.collect() }))
}

/// Answers `GET /api/v3/traces`: newest first.
async fn search(State(shown): State<Shown>, asked: Asked) -> Result<Json<Wrapper<TracesData>>, V3Error> {
    let filter = ask::search_v3(asked?.0)?;
    let mut resource_spans = Vec::new();
    for row in shown.traces(&filter).await?.items {
        // It may have been dropped meanwhile.
        if let Some(sent) = shown.first_sent(TraceId(row.trace_id.as_u128()), SEARCH_SPANS as u32).await? {
            resource_spans.extend(warned(sent, &shown.config.server.public_url));
        }
    }
    Ok(Json(Wrapper { result: TracesData { resource_spans } }))
}

/// Answers `GET /api/v3/traces/{id}`.
async fn trace(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Json<Wrapper<TracesData>>, V3Error> {
    let mut parameters = asked?.0;
    // Hints where to look; we find it without.
    let hints = ["startTime", "endTime", "start_time", "end_time", "rawTraces", "raw_traces"];
    ask::ignore(&mut parameters, &hints)?;
    parameters.finish()?;
    let missing = || Failure::missing("such trace");
    let id = ask::trace_id(&id).ok_or_else(missing)?;
    let sent = shown.sent(id).await?.ok_or_else(missing)?;
    let resource_spans = warned(sent, &shown.config.server.public_url);
    Ok(Json(Wrapper { result: TracesData { resource_spans } }))
}

/// The spans, those that show a finding with what it says.
fn warned(sent: SentTrace, site: &str) -> Vec<ResourceSpans> {
    let mut lines: BTreeMap<SpanId, Vec<String>> = BTreeMap::new();
    for found in &sent.occurrences {
        let line = warning(found, site);
        for id in found.occurrence.evidence.iter().filter_map(|evidence| evidence.span_id.parse().ok()) {
            let of_span = lines.entry(id).or_default();
            if !of_span.contains(&line) {
                of_span.push(line.clone());
            }
        }
    }
    let mut resource_spans = sent.data.resource_spans;
    let scopes = resource_spans.iter_mut().flat_map(|one| &mut one.scope_spans);
    for span in scopes.flat_map(|one| &mut one.spans) {
        let found = SpanId::from_bytes(&span.span_id).and_then(|id| lines.get(&id));
        let Some(lines) = found else { continue };
        // One that came by way of Jaeger may have some already.
        let at = span.attributes.iter().position(|known| known.key == WARNINGS);
        let own = at.map(|at| span.attributes.remove(at));
        span.attributes.push(attribute(own, lines));
    }
    resource_spans
}

fn attribute(own: Option<KeyValue>, lines: &[String]) -> KeyValue {
    let text = |line: &String| AnyValue { value: Some(Sent::StringValue(line.clone())) };
    let mut values = match own.and_then(|own| own.value?.value) {
        Some(Sent::ArrayValue(array)) => array.values,
        Some(other) => vec![AnyValue { value: Some(other) }],
        None => Vec::new(),
    };
    values.extend(lines.iter().map(text));
    let array = ArrayValue { values };
    let value = AnyValue { value: Some(Sent::ArrayValue(array)) };
    KeyValue { key: WARNINGS.to_owned(), value: Some(value), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_that_a_span_came_with_stay() {
        let first = attribute(None, &["ours".to_owned()]);
        let both = attribute(Some(first.clone()), &["new".to_owned()]);
        let Some(Sent::ArrayValue(array)) = both.value.and_then(|value| value.value) else {
            panic!("an array of texts")
        };
        let texts: Vec<_> = array.values.into_iter().filter_map(|one| one.value).collect();
        assert_eq!(texts, ["ours", "new"].map(|text| Sent::StringValue(text.to_owned())));
        assert_eq!((first.key.as_str(), both.key.as_str()), (WARNINGS, WARNINGS));
    }
}
