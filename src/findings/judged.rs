//! What judging one trace yields: everything that `store` replaces for that trace, and what `scan` reports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Effect, EffectClass, Outcome, Role, SpanId, TraceId};
use crate::rules::{Confidence, Cost, Fallacy, Severity};

/// Identity of a finding: hash of `v1|rule|variant|environment|service|operation|callee|template|group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = crate::model::InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let whole = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = whole.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        value.map(Self).ok_or(crate::model::InvalidId)
    }
}

/// A span that shows an occurrence, in a form that outlives the trace. Serialised as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// 16 hex digits.
    pub span_id: String,
    /// `unit`, `call`, `attempt:1`, `server`, `write`, …
    pub role: String,
    /// Whose span.
    pub service: String,
    /// What it did.
    pub operation: String,
    /// Milliseconds since the start of the trace's first span.
    pub offset_ms: f64,
    /// Milliseconds.
    pub duration_ms: f64,
    /// The values that were compared, in words.
    pub note: String,
}

/// An occurrence with the identity that the engine adds.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Which finding it belongs to.
    pub fingerprint: Fingerprint,
    /// Rule id.
    pub rule: &'static str,
    /// The rule's fallacy.
    pub fallacy: Fallacy,
    /// Form of the claim.
    pub variant: &'static str,
    /// Environment of the unit; empty where not stated.
    pub environment: String,
    /// Service of the unit.
    pub service: String,
    /// Operation of the unit.
    pub operation: String,
    /// Whom the call at `span_id` asked; `None` where `at` is a unit.
    pub callee: Option<String>,
    /// One line, the same for all occurrences of the finding.
    pub headline: String,
    /// One sentence with this trace's numbers.
    pub why: String,
    /// From cost and class of effect.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// What it costs.
    pub cost: Cost,
    /// The span it is at.
    pub span_id: SpanId,
    /// `service.version` of the unit: a label.
    pub version: Option<String>,
    /// What shows it.
    pub evidence: Vec<Evidence>,
    /// What could not be seen.
    pub not_visible: Vec<String>,
    /// The evidence drawn as text.
    pub drawing: String,
    /// Set when another occurrence of the same trace says the same and more: it is kept as a relation, not counted.
    pub absorbed_by: Option<Fingerprint>,
}

/// One row of `units`: what a service did for someone.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Owner span.
    pub span_id: SpanId,
    /// Environment, empty where not stated.
    pub environment: String,
    /// Service.
    pub service: String,
    /// Instance, where known.
    pub instance: Option<String>,
    /// Version, where known.
    pub version: Option<String>,
    /// Operation.
    pub operation: String,
    /// Owner's kind in lower case: `server`, `consumer`, `internal`, …
    pub kind: &'static str,
    /// No parent at all.
    pub root: bool,
    /// Its parent was never received.
    pub orphan: bool,
    /// Nanoseconds.
    pub duration_ns: i64,
    /// Outcome of the unit.
    pub outcome: Outcome,
}

/// One row of `calls`: what a unit asked of someone, attempts merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The call's span.
    pub span_id: SpanId,
    /// Owner span of its unit.
    pub unit_span_id: SpanId,
    /// Environment of the caller.
    pub environment: String,
    /// Calling service.
    pub caller: String,
    /// Called service, host or system; empty where unknown.
    pub callee: String,
    /// Instance of the server that answered, where seen.
    pub callee_instance: Option<String>,
    /// Kind of interaction.
    pub role: Role,
    /// Operation.
    pub operation: String,
    /// Class of effect.
    pub class: EffectClass,
    /// Outcome.
    pub outcome: Outcome,
    /// Effect.
    pub effect: Effect,
    /// Status as the protocol says it (`503`, `UNAVAILABLE`), where known.
    pub code: Option<String>,
    /// Nanoseconds.
    pub duration_ns: i64,
    /// Nanoseconds at the server, where seen.
    pub server_duration_ns: Option<i64>,
    /// 1 without retries.
    pub attempts: u32,
}

/// One row of `traces`.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Service of the root, or of the earliest orphan.
    pub service: String,
    /// Operation of the root, or of the earliest orphan.
    pub operation: String,
    /// Environment of the root.
    pub environment: String,
    /// Start of the earliest span, nanoseconds since 1970 by its own clock.
    pub start_ns: i64,
    /// From the earliest start to the latest end, nanoseconds.
    pub duration_ns: i64,
    /// Spans judged.
    pub spans: u32,
    /// Distinct services.
    pub services: u32,
    /// Spans with status error.
    pub errors: u32,
    /// No orphan, not truncated, nothing dropped.
    pub complete: bool,
    /// Oddities, one line each.
    pub defects: Vec<String>,
}

/// What rules found in one trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// Which trace.
    pub trace_id: TraceId,
    /// What rules found, absorbed ones included.
    pub occurrences: Vec<Judged>,
    /// Rules that panicked on this trace.
    pub panicked: Vec<&'static str>,
}

/// All that judging one trace yields.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Which trace.
    pub trace_id: TraceId,
    /// Its summary.
    pub summary: Summary,
    /// What services did.
    pub units: Vec<Unit>,
    /// What they asked of each other.
    pub calls: Vec<Call>,
    /// What rules found, absorbed ones included.
    pub occurrences: Vec<Judged>,
    /// Another look after the settle period could say more (an effect is unknown, or a unit failed).
    pub unsettled: bool,
    /// Rules that panicked on this trace.
    pub panicked: Vec<&'static str>,
}
