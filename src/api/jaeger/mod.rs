//! The query APIs of Jaeger (version 1 here, version 3 in `v3`) and what Tempo's clients ask by id (`tempo`), at the
//! root of the port, as Grafana's data sources and Jaeger's own pages ask them. What was found stands as warnings at
//! the spans that show it.
//!
//! Times that are asked for are compared with the time of receipt, as everywhere: clocks of senders lie.

mod ask;
mod shape;
mod tempo;
mod v3;

use axum::Json;
use axum::Router;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderMap;
use http::request::Parts;
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use crate::clock;
use crate::model::TraceId;
use crate::view::{Clocks, Failure, Parameters, Part, Place, Shown};

/// Most spans of each trace of a search: enough to name it. One trace by its id comes whole.
const SEARCH_SPANS: usize = 200;
/// How far back services are looked for.
const SERVICES_SINCE: Duration = Duration::days(7);

/// The routes, at the root of the port.
pub(super) fn router() -> Router<Shown> {
    Router::new()
        .route("/api/services", get(services))
        .route("/api/services/{service}/operations", get(operations))
        .route("/api/traces", get(search))
        .route("/api/traces/{id}", get(trace))
        .route("/api/dependencies", get(dependencies))
        .merge(v3::router())
        .merge(tempo::router())
}

/// Jaeger's envelope: `total`, `limit` and `offset` are those of a list that is always whole.
#[derive(Serialize)]
struct Envelope<T> {
    data: Vec<T>,
    total: usize,
    limit: usize,
    offset: usize,
    errors: Option<Vec<Fault>>,
}

#[derive(Serialize)]
struct Fault {
    code: u16,
    msg: String,
}

/// A failure in Jaeger's form.
struct JaegerError(Failure);

impl<E: Into<Failure>> From<E> for JaegerError {
    fn from(failure: E) -> Self {
        Self(failure.into())
    }
}

impl IntoResponse for JaegerError {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let fault = Fault { code: status.as_u16(), msg: self.0.detail() };
        let body =
            Envelope::<()> { data: Vec::new(), total: 0, limit: 0, offset: 0, errors: Some(vec![fault]) };
        (status, Json(body)).into_response()
    }
}

type Answer<T> = Result<Json<Envelope<T>>, JaegerError>;

fn all<T>(data: Vec<T>) -> Json<Envelope<T>> {
    Json(Envelope { total: data.len(), data, limit: 0, offset: 0, errors: None })
}

/// The query string, every parameter of it still to be taken.
struct Asked(Parameters);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = JaegerError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, JaegerError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Failure::parameter("", "the query string cannot be read"))?;
        Ok(Self(Parameters::of_form(pairs)?))
    }
}

fn lately(now: OffsetDateTime) -> Place {
    Place { environments: Vec::new(), since: now - SERVICES_SINCE }
}

/// Answers `GET /api/services`.
async fn services(State(shown): State<Shown>, Asked(parameters): Asked) -> Answer<String> {
    parameters.finish()?;
    let (services, _) = shown.map(&lately(clock::now())).await?;
    Ok(all(services.into_iter().map(|service| service.name).collect()))
}

/// Answers `GET /api/services/{service}/operations`.
async fn operations(
    State(shown): State<Shown>,
    Path(service): Path<String>,
    Asked(parameters): Asked,
) -> Answer<String> {
    parameters.finish()?;
    let found = shown.service(&service, &lately(clock::now())).await?;
    let operations = found.map(|found| found.operations).unwrap_or_default();
    Ok(all(operations.into_iter().map(|operation| operation.name).collect()))
}

/// Answers `GET /api/traces`: newest first.
async fn search(State(shown): State<Shown>, Asked(parameters): Asked) -> Answer<shape::Trace> {
    let filter = ask::search(parameters)?;
    let listed = shown.traces(&filter).await?;
    let mut traces = Vec::new();
    for row in listed.items {
        let id = TraceId(row.trace_id.as_u128());
        // It may have been dropped meanwhile.
        if let Some(view) = shown.trace(id, Part::Page(0, SEARCH_SPANS), Clocks::AsSent).await? {
            traces.push(shape::trace(&view, &shown.config.server.public_url));
        }
    }
    Ok(all(traces))
}

/// Answers `GET /api/traces/{id}`. An unknown trace is 404: clients take the first of an empty list.
async fn trace(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Asked(mut parameters): Asked,
) -> Result<Response, JaegerError> {
    // A hint where to look; we find it without.
    ask::ignore(&mut parameters, &["start", "end", "prettyPrint", "raw"])?;
    parameters.finish()?;
    let id = ask::trace_id(&id).ok_or_else(|| Failure::missing("such trace"))?;
    if tempo::is_wanted(&headers) {
        return tempo::by_id(&shown, id).await;
    }
    let most = shown.config.traces.max_spans_evaluated;
    let view = shown.trace(id, Part::Page(0, most as usize), Clocks::AsSent).await?;
    let view = view.ok_or_else(|| Failure::missing("such trace"))?;
    Ok(all(vec![shape::trace(&view, &shown.config.server.public_url)]).into_response())
}

/// Who asked whom, how often.
#[derive(Serialize)]
struct Dependency {
    parent: String,
    child: String,
    #[serde(rename = "callCount")]
    call_count: i64,
}

/// Answers `GET /api/dependencies`.
async fn dependencies(State(shown): State<Shown>, Asked(parameters): Asked) -> Answer<Dependency> {
    let place = ask::dependencies(parameters, clock::now())?;
    let (_, edges) = shown.map(&place).await?;
    let edges = edges.into_iter().map(|edge| Dependency {
        parent: edge.caller,
        child: edge.callee,
        call_count: edge.pace.count,
    });
    Ok(all(edges.collect()))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn a_failure_is_never_an_empty_success() {
        let response = JaegerError(Failure::missing("such trace")).into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
}
