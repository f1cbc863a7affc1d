//! Words that reports for people share. Everything from spans comes out of here made visible.

use super::{Found, Report};
use crate::findings::shape::{Cost, words_ms};
use crate::rules::Severity;
use crate::sketch::visible;

/// Where it is: service, operation, whom it asks, in which environment.
pub(super) fn place(found: &Found) -> String {
    let claim = &found.claim;
    let callee = claim.callee.as_ref().map(|callee| format!(" → {}", visible(callee))).unwrap_or_default();
    let environment = if claim.environment.is_empty() {
        String::new()
    } else {
        format!(" [{}]", visible(&claim.environment))
    };
    format!("{} {}{callee}{environment}", visible(&claim.service), visible(&claim.operation))
}

/// How sure, how often, at what cost.
pub(super) fn seen(found: &Found) -> String {
    let traces = u64::from(found.counts.traces().max(1));
    let mut parts = vec![format!("confidence {}", found.claim.confidence), count(traces, "trace")];
    let occurrences = found.occurrences.len() as u64;
    if traces < occurrences {
        parts.push(count(occurrences, "occurrence"));
    }
    parts.extend(cost(&found.claim.cost));
    if !found.gate.met {
        parts.push(format!("opens at {}", count(u64::from(found.gate.needed), "trace")));
    }
    parts.join(" · ")
}

fn cost(cost: &Cost) -> Vec<String> {
    let mut parts = Vec::new();
    if 0.0 < cost.time_ms {
        parts.push(format!("{} each", words_ms(cost.time_ms)));
    }
    let amounts = [
        (cost.duplicate_effects, "duplicate effect"),
        (cost.unknown_outcomes, "unknown outcome"),
        (cost.exposed_calls, "exposed call"),
        (cost.calls, "call"),
    ];
    parts
        .extend(amounts.iter().filter(|(amount, _)| 0 < *amount).map(|(n, what)| count(u64::from(*n), what)));
    parts
}

/// All in one line, part by part.
pub(super) fn summary(report: &Report) -> Vec<String> {
    let mut parts = Vec::new();
    if report.findings.is_empty() {
        parts.push("no finding".to_owned());
    } else {
        let by_severity: Vec<String> = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low]
            .into_iter()
            .map(|severity| {
                (report.findings.iter().filter(|found| found.claim.severity == severity).count(), severity)
            })
            .filter(|(count, _)| 0 < *count)
            .map(|(count, severity)| format!("{count} {severity}"))
            .collect();
        parts.push(format!(
            "{} ({}) in {} of {}",
            count(report.findings.len() as u64, "finding"),
            by_severity.join(", "),
            report.traces_affected,
            count(report.read.traces, "trace"),
        ));
    }
    let known = report.findings.iter().filter(|found| found.is_known()).count();
    if 0 < known {
        let new = report.findings.iter().filter(|found| !found.is_expected()).count();
        parts.push(format!("{new} new, {known} known"));
    }
    let suppressed = report.findings.iter().filter(|found| found.suppressed.is_some()).count();
    if 0 < suppressed {
        parts.push(format!("{suppressed} suppressed"));
    }
    if !report.gone.is_empty() {
        parts.push(format!("{} of the baseline not seen", report.gone.len()));
    }
    if 0 < report.below {
        let occurrences = count(report.below, "occurrence");
        parts.push(format!("{occurrences} below {} confidence not shown", report.asked.min_confidence));
    }
    parts
}

/// A rule that panicked, and what that means for the report.
pub(super) fn broken(rule: &str, traces: u64) -> String {
    format!("{rule} broke down on {}: the report lacks what it would have found", count(traces, "trace"))
}

pub(super) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
