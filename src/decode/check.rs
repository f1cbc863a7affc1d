//! Which spans of a request can be kept. One bad span never costs its neighbours.
//!
//! It looks at identifiers and enums alone; what attributes say is not its business.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};

use crate::model::{SpanId, TraceId};

/// Why a span cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not 16 bytes, or all zero.
    TraceId,
    /// Not 8 bytes, or all zero.
    SpanId,
    /// Given, but not 8 bytes.
    ParentId,
    /// Its trace has as many spans as one may have.
    TraceSize,
    /// Our own, and nobody asked for them.
    OwnService,
}

/// The spans that were taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    counts: [u64; 5],
    first: Option<String>,
}

impl Reason {
    /// All of them, in the order of [`Rejections`].
    pub const ALL: [Self; 5] =
        [Self::TraceId, Self::SpanId, Self::ParentId, Self::TraceSize, Self::OwnService];

    /// Its name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::TraceId => "invalid_trace_id",
            Self::SpanId => "invalid_span_id",
            Self::ParentId => "invalid_parent_span_id",
            Self::TraceSize => "trace_too_large",
            Self::OwnService => "own_service",
        }
    }
}

impl Rejections {
    /// How many spans.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many for each reason that occurred.
    pub fn by_reason(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.counts).filter(|(_, count)| *count > 0)
    }

    /// For whoever sent them: how many, why, and the first of them so that it can be found.
    pub fn message(&self) -> String {
        let reasons: Vec<_> =
            self.by_reason().map(|(reason, count)| format!("{count} {}", reason.name())).collect();
        let first = self.first.as_deref().unwrap_or_default();
        let total = self.total();
        let spans = if total == 1 { "span" } else { "spans" };
        format!("{total} {spans} rejected ({}); the first: {first}", reasons.join(", "))
    }

    /// Counts a span that is taken out, by its name and by the identifier that was looked at.
    pub fn add(&mut self, reason: Reason, name: &str, id: &[u8]) {
        self.counts[reason as usize] += 1;
        self.first.get_or_insert_with(|| describe(reason, name, id));
    }
}

/// Takes out the spans that cannot be kept and sets right what has a right default: an unknown kind or status is
/// the unspecified one, and a parent of zeros, as some senders write it, is no parent.
pub fn check(exports: &mut [ResourceSpans]) -> Rejections {
    let mut rejections = Rejections::default();
    for scope_spans in exports.iter_mut().flat_map(|resource_spans| &mut resource_spans.scope_spans) {
        scope_spans.spans.retain_mut(|span| check_span(span, &mut rejections));
    }
    rejections
}

/// The same for one span: whether it can be kept.
pub fn check_span(span: &mut Span, rejections: &mut Rejections) -> bool {
    settle(span);
    let reason = wrong(span);
    if let Some(reason) = reason {
        let id = match reason {
            Reason::SpanId => &span.span_id,
            Reason::ParentId => &span.parent_span_id,
            _ => &span.trace_id,
        };
        rejections.add(reason, &span.name, id);
    }
    reason.is_none()
}

fn settle(span: &mut Span) {
    if SpanKind::try_from(span.kind).is_err() {
        span.kind = SpanKind::Unspecified.into();
    }
    if let Some(status) = span.status.as_mut().filter(|status| StatusCode::try_from(status.code).is_err()) {
        status.code = StatusCode::Unset.into();
    }
    if span.parent_span_id == [0; 8] {
        span.parent_span_id.clear();
    }
}

fn wrong(span: &Span) -> Option<Reason> {
    if TraceId::from_bytes(&span.trace_id).is_none() {
        return Some(Reason::TraceId);
    }
    if SpanId::from_bytes(&span.span_id).is_none() {
        return Some(Reason::SpanId);
    }
    let orphaned = !span.parent_span_id.is_empty() && SpanId::from_bytes(&span.parent_span_id).is_none();
    orphaned.then_some(Reason::ParentId)
}

fn describe(reason: Reason, name: &str, id: &[u8]) -> String {
    // The name is the sender's own and may be anything: quoted, escaped and short.
    let name: String = name.chars().take(64).collect();
    let (field, expected) = match reason {
        Reason::OwnService => {
            return format!(
                "span {name:?} is of this service itself; telemetry.otlp_endpoint asks for those"
            );
        }
        Reason::TraceId => ("trace_id", 16),
        Reason::SpanId => ("span_id", 8),
        Reason::ParentId => ("parent_span_id", 8),
        Reason::TraceSize => {
            let trace = TraceId::from_bytes(id).map(|id| id.to_string()).unwrap_or_default();
            return format!("span {name:?} is one too many of trace {trace}");
        }
    };
    let found = if id.len() == expected { "all zeros".to_owned() } else { format!("{} bytes", id.len()) };
    format!("span {name:?} has a {field} of {found}, expected {expected} bytes that are not all zero")
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Status};

    use super::*;

    fn span(trace_id: &[u8], span_id: &[u8], parent: &[u8]) -> Span {
        Span {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            parent_span_id: parent.to_vec(),
            name: "GET /".to_owned(),
            ..Span::default()
        }
    }

    fn export(spans: Vec<Span>) -> Vec<ResourceSpans> {
        vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }]
    }

    #[test]
    fn a_bad_span_is_rejected_alone_and_its_reason_counted() {
        let mut exports = export(vec![
            span(&[1; 16], &[1; 8], &[]),
            span(&[0; 16], &[1; 8], &[]),
            span(&[1; 15], &[1; 8], &[]),
            span(&[1; 16], &[0; 8], &[]),
            span(&[1; 16], &[1; 9], &[]),
            span(&[1; 16], &[2; 8], &[1; 7]),
            span(&[1; 16], &[3; 8], &[1; 8]),
        ]);
        let rejections = check(&mut exports);
        assert_eq!(exports[0].scope_spans[0].spans.len(), 2);
        let counts: Vec<_> = rejections.by_reason().map(|(reason, count)| (reason.name(), count)).collect();
        assert_eq!(counts, [("invalid_trace_id", 2), ("invalid_span_id", 2), ("invalid_parent_span_id", 1)]);
        assert_eq!(
            rejections.message(),
            "5 spans rejected (2 invalid_trace_id, 2 invalid_span_id, 1 invalid_parent_span_id); the first: \
             span \"GET /\" has a trace_id of all zeros, expected 16 bytes that are not all zero"
        );
    }

    #[test]
    fn what_has_a_right_default_gets_it() {
        let mut odd = span(&[1; 16], &[1; 8], &[0; 8]);
        odd.kind = 77;
        odd.status = Some(Status { code: -3, message: "kept".to_owned() });
        let mut exports = export(vec![odd]);
        assert_eq!(check(&mut exports), Rejections::default());
        let span = &exports[0].scope_spans[0].spans[0];
        assert_eq!((span.kind, span.parent_span_id.len()), (0, 0));
        assert_eq!(span.status, Some(Status { code: 0, message: "kept".to_owned() }));
    }
}
