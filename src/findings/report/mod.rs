//! A report on files: occurrences of many traces put together into findings, without a database and without
//! time. The gate is shown, not applied: whoever scans a file wants to see what is in it.

mod baseline;
mod json;
mod junit;
mod markdown;
mod sarif;
mod text;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use time::OffsetDateTime;

use super::life::{Counts, Gate, Observed, Status, next};
use super::shape::{Claim, Cost, Handling, Occurrence};
use super::{Fingerprint, Inspection, Judged};
use crate::config::Suppression;
use crate::model::TraceId;
use crate::rules::{self, Confidence, Severity};

pub use baseline::{Baseline, Novelty};
pub use json::json;
pub use junit::junit;
pub use markdown::markdown;
pub use sarif::sarif;
pub use text::text;

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The files, as they were named.
    pub files: Vec<String>,
    /// Ids of the rules that looked.
    pub rules: Vec<&'static str>,
    /// Occurrences below it are counted, not reported.
    pub min_confidence: Confidence,
    /// How many traces open a finding.
    pub gate: Gate,
    /// A finding at least so severe fails the scan; `None`: nothing does.
    pub fail_on: Option<Severity>,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Read {
    /// Files.
    pub files: u64,
    /// Distinct traces.
    pub traces: u64,
    /// Spans, each sending counted.
    pub spans: u64,
    /// Spans that could not be kept.
    pub rejected: u64,
}

/// One finding in the files.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What is claimed.
    pub claim: Claim,
    /// Traces that show it.
    pub counts: Counts,
    /// The gate of the settings, for these counts.
    pub gate: GateState,
    /// Whether it was known before; `None` where nobody said what was.
    pub novelty: Option<Novelty>,
    /// Why the settings suppress it, where they do.
    pub suppressed: Option<String>,
    /// The occurrence that shows it best stands first.
    pub occurrences: Vec<Occurrence>,
}

/// Whether the finding would open if these traces came within the gate's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct GateState {
    /// It would.
    pub met: bool,
    /// Distinct traces that count.
    pub traces: u32,
    /// How many it takes at the confidence seen.
    pub needed: u32,
}

/// Findings in files, worst first.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What was asked for.
    pub asked: Asked,
    /// What was read.
    pub read: Read,
    /// Worst first.
    pub findings: Vec<Found>,
    /// Traces that show any of them.
    pub traces_affected: u64,
    /// Occurrences below the confidence asked for, not in `findings`.
    pub below: u64,
    /// Rules that panicked, with the number of traces.
    pub panicked: BTreeMap<&'static str, u64>,
    /// Findings that were known before and are not in the files.
    pub gone: Vec<Fingerprint>,
}

/// Puts together what was found in traces. What another occurrence speaks for is left out.
pub fn report(asked: Asked, read: Read, inspections: impl IntoIterator<Item = Inspection>) -> Report {
    let mut kinds: BTreeMap<Fingerprint, Vec<(TraceId, Judged)>> = BTreeMap::new();
    let mut below = 0;
    let mut affected = BTreeSet::new();
    let mut panicked = BTreeMap::new();
    for inspection in inspections {
        for rule in inspection.panicked {
            *panicked.entry(rule).or_default() += 1;
        }
        for judged in inspection.occurrences.into_iter().filter(|judged| judged.absorbed_by.is_none()) {
            if judged.confidence < asked.min_confidence {
                below += 1;
                continue;
            }
            affected.insert(inspection.trace_id);
            kinds.entry(judged.fingerprint).or_default().push((inspection.trace_id, judged));
        }
    }
    let mut findings: Vec<Found> = kinds.into_values().map(|seen| found(seen, asked.gate)).collect();
    findings.sort_by_cached_key(|found| {
        let worst = (found.claim.severity, found.claim.confidence, found.occurrences.len());
        (std::cmp::Reverse(worst), found.claim.id.clone())
    });
    let traces_affected = affected.len() as u64;
    Report { asked, read, findings, traces_affected, below, panicked, gone: Vec::new() }
}

impl Report {
    /// Says of each finding whether it was known before.
    #[must_use]
    pub fn against(mut self, baseline: &Baseline) -> Self {
        for found in &mut self.findings {
            found.novelty = Some(baseline.novelty(&found.claim.id));
        }
        self.gone = baseline.without(self.findings.iter().map(|found| found.claim.id.as_str()));
        self
    }

    /// Says of each finding whether the settings suppress it.
    #[must_use]
    pub fn but_for(mut self, suppressions: &[Suppression], now: OffsetDateTime) -> Self {
        for found in &mut self.findings {
            let Claim { rule, service, operation, .. } = &found.claim;
            let by = suppressions.iter().find(|one| one.covers(rule, service, operation, now));
            found.suppressed = by.map(|one| one.reason.clone());
        }
        self
    }

    /// Some finding is as bad as was asked for, was not known before and is not suppressed.
    pub fn fails(&self) -> bool {
        self.findings.iter().any(|found| self.is_failure(found))
    }

    /// This one is.
    fn is_failure(&self, found: &Found) -> bool {
        !found.is_expected() && self.asked.fail_on.is_some_and(|severity| severity <= found.claim.severity)
    }
}

impl Found {
    /// It was known before, or is suppressed: it fails nothing, and its reader knows the rest.
    pub fn is_expected(&self) -> bool {
        self.is_known() || self.suppressed.is_some()
    }

    /// It was known before.
    pub fn is_known(&self) -> bool {
        self.novelty == Some(Novelty::Known)
    }

    /// How it stands against what was expected, in one word; `None` where nobody said what was.
    pub fn standing(&self) -> Option<&'static str> {
        if self.suppressed.is_some() { Some("suppressed") } else { self.novelty.map(Novelty::id) }
    }
}

fn found(mut seen: Vec<(TraceId, Judged)>, gate: Gate) -> Found {
    seen.sort_by_key(|(trace, judged)| {
        let best = (judged.confidence, judged.severity, judged.cost.time, judged.cost.calls);
        (std::cmp::Reverse(best), *trace, judged.span_id)
    });
    let mut counts = Counts::default();
    let mut counted = BTreeSet::new();
    // The most confident stands first, so a trace is counted under the best that it shows.
    for (trace, judged) in &seen {
        if counted.insert(*trace) {
            counts.add(judged.confidence);
        }
    }
    let (best, severity) = (&seen[0].1, seen.iter().map(|(_, judged)| judged.severity).max());
    let costs: Vec<rules::Cost> = seen.iter().map(|(_, judged)| judged.cost).collect();
    let claim = Claim {
        id: best.fingerprint.to_string(),
        rule: best.rule.to_owned(),
        fallacy: best.fallacy,
        variant: best.variant.to_owned(),
        status: next(None, &Observed { counts, ..Observed::default() }, &gate).0,
        handling: Handling::None,
        severity: severity.unwrap_or(best.severity),
        confidence: best.confidence,
        environment: best.environment.clone(),
        service: best.service.clone(),
        operation: best.operation.clone(),
        callee: best.callee.clone(),
        headline: best.headline.clone(),
        cost: Cost::from(&median(&costs)),
    };
    let gate = GateState {
        met: claim.status == Status::Open,
        traces: counts.traces(),
        needed: gate.needed(&counts),
    };
    let occurrences = seen.into_iter().map(|(trace, judged)| Occurrence::new(trace, judged)).collect();
    Found { claim, counts, gate, novelty: None, suppressed: None, occurrences }
}

/// The middle of each amount on its own; of an even number the lower middle, so that every amount was seen.
pub fn median(costs: &[rules::Cost]) -> rules::Cost {
    fn middle<T: Ord + Copy + Default>(costs: &[rules::Cost], amount: impl Fn(&rules::Cost) -> T) -> T {
        let mut amounts: Vec<T> = costs.iter().map(amount).collect();
        amounts.sort_unstable();
        amounts.get(amounts.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }
    rules::Cost {
        time: middle::<Duration>(costs, |cost| cost.time),
        calls: middle(costs, |cost| cost.calls),
        bytes: middle(costs, |cost| cost.bytes),
        unknown_outcomes: middle(costs, |cost| cost.unknown_outcomes),
        duplicate_effects: middle(costs, |cost| cost.duplicate_effects),
        exposed_calls: middle(costs, |cost| cost.exposed_calls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_each_amount_was_seen() {
        let cost = |millis, calls| rules::Cost {
            time: Duration::from_millis(millis),
            calls,
            ..rules::Cost::default()
        };
        assert_eq!(median(&[cost(30, 1), cost(10, 3), cost(20, 2)]), cost(20, 2));
        assert_eq!(median(&[cost(30, 1), cost(10, 3)]), cost(10, 1));
        assert_eq!(median(&[]), rules::Cost::default());
    }
}
