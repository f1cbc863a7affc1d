//! Our own spans: what a request, a background step or a question to PostgreSQL was, in the words of the semantic
//! conventions. They give log lines their context, and go out over OTLP where the settings say so.

use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::semconv::GRPC_CODES;

/// A call that was received over gRPC (semantic conventions for RPC).
pub fn grpc(method: &'static str) -> Span {
    info_span!(
        "request",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = Empty
    )
}

/// A request that was received over HTTP (semantic conventions for HTTP). `route` holds no value of a parameter.
pub fn http(method: &str, route: &str) -> Span {
    info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty
    )
}

/// Work that nobody waits for.
pub fn work(name: &'static str) -> Span {
    info_span!("work", otel.name = name, otel.status_code = Empty)
}

/// A question to PostgreSQL (semantic conventions for databases). `summary` is one of a few texts, never a statement.
pub fn question(summary: &'static str) -> Span {
    info_span!(
        "question",
        otel.name = summary,
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = "postgresql",
        db.query.summary = summary
    )
}

/// A request to a receiver. Its address may be a secret beyond the host.
pub fn post(host: &str) -> Span {
    info_span!(
        "post",
        otel.name = "POST",
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = "POST",
        server.address = host,
        http.response.status_code = Empty
    )
}

/// Writes down how a gRPC call ended. Codes that say the caller is wrong are no errors of ours.
pub fn end_grpc(span: &Span, code: tonic::Code) {
    use tonic::Code;
    span.record("rpc.response.status_code", GRPC_CODES[code as usize]);
    let ours = [
        Code::Unknown,
        Code::DeadlineExceeded,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
    ];
    if ours.contains(&code) {
        failed(span);
    }
}

/// Writes down how a request that was received over HTTP ended: only 5xx are errors of ours.
pub fn end_http(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if 500 <= status {
        failed(span);
    }
}

/// Writes down how a request that was sent over HTTP ended; `None`: without an answer.
pub fn end_post(span: &Span, status: Option<u16>) {
    if let Some(status) = status {
        span.record("http.response.status_code", status);
    }
    if status.is_none_or(|status| 400 <= status) {
        failed(span);
    }
}

/// Marks it as failed.
pub fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}
