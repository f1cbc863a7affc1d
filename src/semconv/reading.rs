//! One span: identity, times, and the facts that its attributes add up to.

use std::sync::Arc;

use opentelemetry_proto::tonic::trace::v1 as otlp;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use xxhash_rust::xxh3::Xxh3;

use super::{facts, library::Library};
use crate::model::{Kind, Link, Resource, Scope, Span, SpanId, Status, TraceId};

/// Most links kept of one span.
const MOST_LINKS: usize = 128;

/// Reads one span. Ids have been checked on arrival; one that was not reads as all ones.
pub(super) fn read(sent: &otlp::Span, resource: Arc<Resource>, scope: Arc<Scope>, library: Library) -> Span {
    let kind = kind(sent);
    let status = status(sent);
    let start_ns = i64::try_from(sent.start_time_unix_nano).unwrap_or(i64::MAX);
    let end_ns = i64::try_from(sent.end_time_unix_nano).unwrap_or(i64::MAX);
    Span {
        trace: TraceId::from_bytes(&sent.trace_id).unwrap_or(TraceId(u128::MAX)),
        id: SpanId::from_bytes(&sent.span_id).unwrap_or(SpanId(u64::MAX)),
        parent: SpanId::from_bytes(&sent.parent_span_id),
        start_ns,
        duration_ns: (end_ns - start_ns).max(0),
        ended_before_start: end_ns < start_ns,
        kind,
        status,
        links: sent.links.iter().take(MOST_LINKS).filter_map(link).collect(),
        incomplete: sent.dropped_attributes_count != 0
            || sent.dropped_events_count != 0
            || sent.dropped_links_count != 0,
        digest: digest(sent),
        facts: facts::of(sent, kind, status, library),
        name: sent.name.clone(),
        scope,
        resource,
    }
}

fn kind(sent: &otlp::Span) -> Kind {
    match SpanKind::try_from(sent.kind) {
        Ok(SpanKind::Server) => Kind::Server,
        Ok(SpanKind::Client) => Kind::Client,
        Ok(SpanKind::Producer) => Kind::Producer,
        Ok(SpanKind::Consumer) => Kind::Consumer,
        Ok(SpanKind::Internal | SpanKind::Unspecified) | Err(_) => Kind::Internal,
    }
}

fn status(sent: &otlp::Span) -> Status {
    match sent.status.as_ref().map(|status| StatusCode::try_from(status.code)) {
        Some(Ok(StatusCode::Ok)) => Status::Ok,
        Some(Ok(StatusCode::Error)) => Status::Error,
        _ => Status::Unset,
    }
}

fn link(sent: &otlp::span::Link) -> Option<Link> {
    Some(Link { trace: TraceId::from_bytes(&sent.trace_id)?, span: SpanId::from_bytes(&sent.span_id)? })
}

/// Two spans of one id are one span received twice if and only if these agree.
fn digest(sent: &otlp::Span) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&sent.start_time_unix_nano.to_le_bytes());
    hash.update(&sent.end_time_unix_nano.to_le_bytes());
    hash.update(&sent.kind.to_le_bytes());
    hash.update(&sent.status.as_ref().map_or(0, |status| status.code).to_le_bytes());
    hash.update(sent.name.as_bytes());
    hash.digest()
}
