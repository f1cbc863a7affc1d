//! One span after its attributes have been read. Built by `semconv::read`; nothing here looks at an attribute.

use std::sync::Arc;

use super::{Facts, SpanId, TraceId};

/// What the span was in the interaction (OTLP `SpanKind`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `SPAN_KIND_UNSPECIFIED` reads as this too, as the specification says.
    #[default]
    Internal,
    /// Handled a request from outside its service.
    Server,
    /// Asked something of another service and waited.
    Client,
    /// Sent a message.
    Producer,
    /// Received or processed a message.
    Consumer,
}

/// `Status.code` of OTLP. `Unset` says nothing: it is not success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Nobody said.
    #[default]
    Unset,
    /// Somebody marked it as succeeded.
    Ok,
    /// It failed.
    Error,
}

/// A pointer to another span, possibly of another trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The trace of the span it points to.
    pub trace: TraceId,
    /// The span it points to.
    pub span: SpanId,
}

/// The instrumentation library that made a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// E.g. `opentelemetry.instrumentation.requests`.
    pub name: String,
    /// Empty where not stated.
    pub version: String,
}

/// Who emitted a span: the resource's meaning, shared by all its spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// `service.name`; `unknown_service` where missing.
    pub service: String,
    /// `service.namespace`.
    pub namespace: Option<String>,
    /// `service.version`: a label of findings, never part of their identity.
    pub version: Option<String>,
    /// Deployment environment, lower-cased and aliased (`prod` → `production`); empty where not stated.
    pub environment: String,
    /// Instance: see RULES `inst` in ARCHITECTURE's glossary.
    pub instance: Option<String>,
    /// Spans of one clock domain share a clock.
    pub clock_domain: String,
    /// `telemetry.sdk.language`, e.g. `go`, `nodejs`.
    pub language: Option<String>,
    /// Addresses of the host or pod, for comparison with literal addresses in URLs.
    pub addresses: Vec<std::net::IpAddr>,
    /// `cloud.availability_zone`.
    pub zone: Option<String>,
    /// `cloud.region`.
    pub region: Option<String>,
}

/// One span: identity, time, and what its attributes mean.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace it belongs to.
    pub trace: TraceId,
    /// Its own id; unique within its trace except for attempts that share one.
    pub id: SpanId,
    /// The span that caused it; `None` at a root.
    pub parent: Option<SpanId>,
    /// Nanoseconds since 1970 as its host's clock said; only subtracted and drawn, never compared with ours.
    pub start_ns: i64,
    /// Nanoseconds; negative in the wire becomes zero here and a defect of the trace.
    pub duration_ns: i64,
    /// The end lay before the start on the wire.
    pub ended_before_start: bool,
    /// Role in the interaction.
    pub kind: Kind,
    /// As sent.
    pub status: Status,
    /// As sent.
    pub name: String,
    /// Who made it.
    pub scope: Arc<Scope>,
    /// Who emitted it.
    pub resource: Arc<Resource>,
    /// Its links.
    pub links: Vec<Link>,
    /// The SDK dropped attributes, events or links of this span: absence in it proves nothing.
    pub incomplete: bool,
    /// Hash over start, end, kind, name and status: tells attempts that share an id from redeliveries.
    pub digest: u64,
    /// What its attributes mean.
    pub facts: Facts,
}

impl Span {
    /// Nanoseconds since 1970.
    pub fn end_ns(&self) -> i64 {
        self.start_ns.saturating_add(self.duration_ns)
    }
}

impl Kind {
    /// The one spelling used in SQL, API and reports.
    pub fn id(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

impl Status {
    /// The one spelling used in SQL, API and reports.
    pub fn id(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}
