//! Traces by their id as Grafana's Tempo data source asks for them, in protobuf, and what it asks to see whether anybody
//! is there. Searches in its language are not answered.

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde::Serialize;

use super::{Asked, JaegerError, ask};
use crate::model::TraceId;
use crate::view::{Failure, Shown};

const PROTOBUF: &str = "application/protobuf";

/// The routes that Jaeger does not have.
pub(super) fn router() -> Router<Shown> {
    Router::new()
        .route("/api/echo", get(async || "echo"))
        .route("/api/status/buildinfo", get(build))
        .route("/api/v2/traces/{id}", get(trace))
}

/// Of Tempo's `TraceByIDResponse`: its `Trace` is OTLP's `TracesData` under another name.
#[derive(Clone, PartialEq, Message)]
struct TraceById {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
}

/// Of Tempo's, what clients read.
#[derive(Serialize)]
struct Build {
    version: &'static str,
}

/// Answers `GET /api/status/buildinfo`.
async fn build() -> Json<Build> {
    Json(Build { version: env!("CARGO_PKG_VERSION") })
}

/// Answers `GET /api/v2/traces/{id}`.
async fn trace(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    Asked(mut parameters): Asked,
) -> Result<Response, JaegerError> {
    // Hints where to look; we find it without.
    ask::ignore(&mut parameters, &["start", "end"])?;
    parameters.finish()?;
    let id = ask::trace_id(&id).ok_or_else(|| Failure::missing("such trace"))?;
    let trace = Some(sent(&shown, id).await?);
    Ok(protobuf(&TraceById { trace }))
}

/// Answers `GET /api/traces/{id}` to whoever asks for protobuf.
pub(super) async fn by_id(shown: &Shown, id: TraceId) -> Result<Response, JaegerError> {
    Ok(protobuf(&sent(shown, id).await?))
}

/// It asks for protobuf: Tempo's clients do, Jaeger's do not.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|wanted| wanted.contains(PROTOBUF))
}

async fn sent(shown: &Shown, id: TraceId) -> Result<TracesData, Failure> {
    Ok(shown.sent(id).await?.ok_or_else(|| Failure::missing("such trace"))?.data)
}

fn protobuf(message: &impl Message) -> Response {
    let mut response = message.encode_to_vec().into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    response
}
