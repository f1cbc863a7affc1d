//! A change for the tests of this module.

use time::macros::datetime;

use crate::findings::life::{Event, Status};
use crate::findings::shape::{Claim, Cost, Finding, Handling};
use crate::model::TraceId;
use crate::rules::{Confidence, Fallacy, Severity};
use crate::store::{Change, Example};

/// A critical finding of `checkout` in production that has just opened.
pub(super) fn opened() -> Change {
    let at = datetime!(2026-01-02 03:04:05 UTC);
    Change {
        event: Event::Opened,
        at,
        finding: Finding {
            claim: Claim {
                id: "9f2c41d07a3be655".to_owned(),
                rule: "retry_non_idempotent".to_owned(),
                fallacy: Fallacy::NetworkIsReliable,
                variant: "confirmed_duplicate".to_owned(),
                status: Status::Open,
                handling: Handling::None,
                severity: Severity::Critical,
                confidence: Confidence::Confirmed,
                environment: "production".to_owned(),
                service: "checkout".to_owned(),
                operation: "POST /checkout".to_owned(),
                callee: Some("payment".to_owned()),
                headline: "POST /charge was sent twice and both attempts took effect".to_owned(),
                cost: Cost { calls: 1, duplicate_effects: 1, ..Cost::default() },
            },
            occurrences: 1,
            occurrences_24h: 1,
            first_seen: at,
            last_seen: at,
            opened_at: Some(at),
            resolved_at: None,
            reopened: 0,
            muted_until: None,
            url: String::new(),
        },
        told: Severity::Critical,
        previous: Some((Status::Candidate, Severity::Medium)),
        example: Some(Example { trace_id: TraceId(7), why: "2 attempts, both committed".to_owned() }),
    }
}

/// The same, with `text` wherever spans have a say.
pub(super) fn with_text(text: &str) -> Change {
    let mut change = opened();
    let claim = &mut change.finding.claim;
    for field in [&mut claim.headline, &mut claim.operation, &mut claim.service, &mut claim.environment] {
        text.clone_into(field);
    }
    claim.callee = Some(text.to_owned());
    if let Some(example) = &mut change.example {
        text.clone_into(&mut example.why);
    }
    change
}
