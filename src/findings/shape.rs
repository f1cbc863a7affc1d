//! Findings and occurrences as JSON: one form for the API, webhooks and `scan`. Names are promises: added, never
//! renamed. What is unknown is absent; zero is known to be zero.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;

use super::life::Status;
use super::{Evidence, Judged};
use crate::model::TraceId;
use crate::rules::{self, Confidence, Fallacy, Severity};

/// What people decided about a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Handling {
    /// Nobody has looked yet.
    #[default]
    None,
    /// Somebody knows of it.
    Acknowledged,
    /// Nobody wants to hear of it.
    Muted,
}

/// What one occurrence costs, amounts with their unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[expect(missing_docs, reason = "documented at rules::Cost")]
pub struct Cost {
    pub time_ms: f64,
    pub calls: u32,
    pub bytes: u64,
    pub unknown_outcomes: u32,
    pub duplicate_effects: u32,
    pub exposed_calls: u32,
}

/// What is claimed: which rule, where, how bad, how sure. The part of a finding that needs no history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Claim {
    /// Fingerprint, 16 hex digits.
    pub id: String,
    /// Rule id.
    pub rule: String,
    /// The rule's fallacy.
    pub fallacy: Fallacy,
    /// Form of the rule's claim.
    pub variant: String,
    /// Decided by evidence.
    pub status: Status,
    /// Decided by people.
    pub handling: Handling,
    /// Worst of its occurrences.
    pub severity: Severity,
    /// Best of its occurrences.
    pub confidence: Confidence,
    /// Empty where not stated.
    pub environment: String,
    /// Whose unit.
    pub service: String,
    /// What the unit does.
    pub operation: String,
    /// Whom it asked, where the finding is about a call.
    pub callee: Option<String>,
    /// One line.
    pub headline: String,
    /// Median per occurrence.
    pub cost: Cost,
}

/// A finding as the API and webhooks show it: the claim and its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What is claimed.
    #[serde(flatten)]
    pub claim: Claim,
    /// How often it was seen.
    pub occurrences: i64,
    /// How often within the last 24 hours.
    pub occurrences_24h: i64,
    /// Receipt of the first trace that shows it.
    #[serde(with = "rfc3339")]
    pub first_seen: OffsetDateTime,
    /// Receipt of the latest trace that shows it.
    #[serde(with = "rfc3339")]
    pub last_seen: OffsetDateTime,
    /// When its gate was met.
    #[serde(with = "rfc3339::option")]
    pub opened_at: Option<OffsetDateTime>,
    /// When it went away.
    #[serde(with = "rfc3339::option")]
    pub resolved_at: Option<OffsetDateTime>,
    /// How often it came back.
    pub reopened: i32,
    /// When its mute ends by itself; absent: never, or it is not muted.
    #[serde(with = "rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<OffsetDateTime>,
    /// Its page.
    pub url: String,
}

/// One trace that shows a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Occurrence {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits: the call, or the unit's first span.
    pub span_id: String,
    /// Receipt of its trace; absent in a report on files.
    #[serde(with = "rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<OffsetDateTime>,
    /// `service.version` of the unit.
    pub version: Option<String>,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// What it cost.
    pub cost: Cost,
    /// One sentence with its numbers.
    pub why: String,
    /// The spans that show it.
    pub evidence: Vec<Evidence>,
    /// What the spans could not show.
    pub not_visible: Vec<String>,
    /// The evidence as text.
    pub drawing: String,
}

impl Handling {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Acknowledged, Self::Muted];

    /// The one spelling used everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Acknowledged => "acknowledged",
            Self::Muted => "muted",
        }
    }

    /// What is left of it when its finding comes back: whoever knew of it does not know that.
    #[must_use]
    pub fn after_return(self) -> Self {
        match self {
            Self::None | Self::Acknowledged => Self::None,
            Self::Muted => Self::Muted,
        }
    }
}

impl From<&rules::Cost> for Cost {
    fn from(cost: &rules::Cost) -> Self {
        Self {
            time_ms: millis(cost.time),
            calls: cost.calls,
            bytes: cost.bytes,
            unknown_outcomes: cost.unknown_outcomes,
            duplicate_effects: cost.duplicate_effects,
            exposed_calls: cost.exposed_calls,
        }
    }
}

impl Occurrence {
    /// The shown form of what judging found in a trace whose receipt is unknown.
    pub fn new(trace: TraceId, judged: Judged) -> Self {
        Self {
            trace_id: trace.to_string(),
            span_id: judged.span_id.to_string(),
            seen_at: None,
            version: judged.version,
            severity: judged.severity,
            confidence: judged.confidence,
            cost: Cost::from(&judged.cost),
            why: judged.why,
            evidence: judged.evidence,
            not_visible: judged.not_visible,
            drawing: judged.drawing,
        }
    }
}

/// Milliseconds to the microsecond: more digits would claim more than clocks give.
pub fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Milliseconds for people: `0.4 ms`, `34 ms`, `1.2 s`.
pub fn words_ms(ms: f64) -> String {
    if ms.abs() < 10.0 {
        format!("{ms:.1} ms")
    } else if ms.abs() < 1000.0 {
        format!("{ms:.0} ms")
    } else if ms.abs() < 10_000.0 {
        format!("{:.2} s", ms / 1e3)
    } else {
        format!("{:.1} s", ms / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_carries_its_units() {
        let cost = rules::Cost { time: Duration::from_micros(1_234_567), calls: 3, ..Default::default() };
        let json = serde_json::to_value(Cost::from(&cost)).unwrap();
        assert_eq!(json["time_ms"], 1234.567);
        assert_eq!(json["calls"], 3);
        assert_eq!(json["unknown_outcomes"], 0);
    }
}
