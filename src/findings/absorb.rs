//! One problem, one finding: where two rules speak of the same thing, one of them speaks for both.
//!
//! What is absorbed is kept as a relation and not counted. An occurrence that nobody would be shown (less sure than
//! the settings ask for) absorbs nothing that somebody would be.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{SpanIdx, Trace};
use crate::rules::{Confidence, Occurrence, Severity};

/// An occurrence under the rule that made it.
pub(super) struct Claim<'a> {
    /// Position of the rule in the registry.
    pub(super) number: usize,
    pub(super) rule: &'static str,
    pub(super) occurrence: &'a Occurrence,
    pub(super) severity: Severity,
}

/// (absorbs, is absorbed), where their evidence shares a call: a write done twice explains the timeout before it.
const PAIRS: &[(&str, &str)] = &[
    ("retry_non_idempotent", "timeout_partial_failure"),
    ("timeout_partial_failure", "orphaned_work"),
    ("partial_commit", "unknown_outcome_write"),
];

/// For each claim the position of the one that speaks for it, if any.
pub(super) fn absorbed(
    trace: &Trace,
    claims: &[Claim<'_>],
    min_confidence: Confidence,
) -> Vec<Option<usize>> {
    let is_shown = |claim: &Claim<'_>| min_confidence <= claim.occurrence.confidence;
    let mut by = absorbed_through_calls(trace, claims, is_shown);
    let mut at_span: BTreeMap<SpanIdx, Vec<usize>> = BTreeMap::new();
    for (own, claim) in claims.iter().enumerate().filter(|(own, _)| by[*own].is_none()) {
        at_span.entry(claim.occurrence.at).or_default().push(own);
    }
    for rivals in at_span.into_values() {
        for own in &rivals {
            let claim = &claims[*own];
            let heavier = rivals.iter().filter(|other| {
                let rival = &claims[**other];
                rival.rule != claim.rule
                    && is_shown(claim) <= is_shown(rival)
                    && weight(claim) < weight(rival)
            });
            by[*own] = heavier.max_by_key(|other| weight(&claims[**other])).copied();
        }
    }
    (0..claims.len()).map(|own| last_of(&by, own)).collect()
}

/// Who speaks in the end: what is absorbed speaks for nothing.
fn last_of(by: &[Option<usize>], own: usize) -> Option<usize> {
    std::iter::successors(by[own], |speaker| by[*speaker]).take(PAIRS.len() + 1).last()
}

fn absorbed_through_calls(
    trace: &Trace,
    claims: &[Claim<'_>],
    is_shown: impl Fn(&Claim<'_>) -> bool,
) -> Vec<Option<usize>> {
    let mut by_call: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
    for (own, claim) in claims.iter().enumerate() {
        if PAIRS.iter().any(|(absorbs, _)| *absorbs == claim.rule) {
            for call in calls(trace, claim.occurrence) {
                by_call.entry((claim.rule, call)).or_default().push(own);
            }
        }
    }
    let speaker = |claim: &Claim<'_>| {
        let mut absorbing = PAIRS.iter().filter(|(_, absorbed)| *absorbed == claim.rule).peekable();
        absorbing.peek()?;
        let sharing = calls(trace, claim.occurrence);
        let mut rivals = absorbing
            .flat_map(|(absorbs, _)| sharing.iter().filter_map(|call| by_call.get(&(*absorbs, *call))))
            .flatten()
            .copied();
        rivals.find(|rival| is_shown(claim) <= is_shown(&claims[*rival]))
    };
    claims.iter().map(speaker).collect()
}

type Weight = (Severity, u32, u32, Duration, u32, Reverse<usize>);

/// Worse first, then dearer, then the rule that comes first.
fn weight(claim: &Claim<'_>) -> Weight {
    let cost = &claim.occurrence.cost;
    let number = Reverse(claim.number);
    (claim.severity, cost.duplicate_effects, cost.unknown_outcomes, cost.time, cost.calls, number)
}

/// Calls that the evidence stands in.
fn calls(trace: &Trace, occurrence: &Occurrence) -> BTreeSet<usize> {
    let spans = occurrence.evidence.iter().map(|evidence| evidence.span).chain([occurrence.at]);
    spans.filter_map(|at| trace.attempt_of(at)).map(|attempt| attempt.call().index()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Cost, Duplicated, Evidence, Harm};
    use crate::sketch;

    const PAYMENT: &str = "\
|====================| shop  server  POST /order
| =====x             |   shop  client  POST bank/pay
|  ========          |     bank  server  POST /pay
|        ===         |   shop  client  GET stock/7
";

    fn occurrence(at: u32, evidence: &[u32], confidence: Confidence, millis: u64) -> Occurrence {
        let row =
            |span: &u32| Evidence { span: SpanIdx(*span), role: "call".to_owned(), note: String::new() };
        Occurrence {
            at: SpanIdx(at),
            variant: "v",
            family: "v",
            group: String::new(),
            headline: String::new(),
            why: String::new(),
            evidence: evidence.iter().map(row).collect(),
            cost: Cost { time: Duration::from_millis(millis), ..Cost::default() },
            harm: Harm::Duplicated(Duplicated::Blind),
            confidence,
            not_visible: Vec::new(),
        }
    }

    /// (rule, occurrence, severity) in the order of the registry.
    fn absorbed_among(claims: &[(&'static str, Occurrence, Severity)]) -> Vec<Option<usize>> {
        let trace = sketch::parse(PAYMENT).unwrap().trace();
        let claims: Vec<Claim<'_>> = claims
            .iter()
            .enumerate()
            .map(|(number, (rule, occurrence, severity))| Claim {
                number,
                rule,
                occurrence,
                severity: *severity,
            })
            .collect();
        absorbed(&trace, &claims, Confidence::Medium)
    }

    #[test]
    fn a_write_done_twice_speaks_for_the_timeout_before_it() {
        let twice = occurrence(0, &[1], Confidence::Confirmed, 0);
        let timeout = occurrence(1, &[1, 2], Confidence::Confirmed, 900);
        let by = absorbed_among(&[
            ("retry_non_idempotent", twice, Severity::Medium),
            ("timeout_partial_failure", timeout, Severity::Critical),
        ]);
        assert_eq!(by, [None, Some(0)]);
    }

    #[test]
    fn one_speaks_for_all_that_it_explains() {
        let of_payment = || occurrence(1, &[1, 2], Confidence::Confirmed, 0);
        let by = absorbed_among(&[
            ("retry_non_idempotent", occurrence(0, &[1], Confidence::Confirmed, 0), Severity::Critical),
            ("timeout_partial_failure", of_payment(), Severity::Critical),
            ("orphaned_work", of_payment(), Severity::Low),
        ]);
        assert_eq!(by, [None, Some(0), Some(0)]);
    }

    #[test]
    fn every_pair_is_of_rules() {
        let names = PAIRS.iter().flat_map(|(absorbs, absorbed)| [absorbs, absorbed]);
        let unknown: Vec<_> = names.filter(|name| crate::rules::find(name).is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn of_another_call_it_says_nothing() {
        let twice = occurrence(3, &[3], Confidence::Confirmed, 0);
        let timeout = occurrence(1, &[1, 2], Confidence::Confirmed, 0);
        let by = absorbed_among(&[
            ("retry_non_idempotent", twice, Severity::Critical),
            ("timeout_partial_failure", timeout, Severity::Critical),
        ]);
        assert_eq!(by, [None, None]);
    }

    #[test]
    fn at_one_span_the_worse_then_the_dearer_then_the_first_speaks() {
        let at = |millis| occurrence(1, &[1], Confidence::High, millis);
        let worse = [("a", at(0), Severity::Low), ("b", at(0), Severity::High)];
        assert_eq!(absorbed_among(&worse), [Some(1), None]);
        let dearer = [("a", at(1), Severity::Low), ("b", at(2), Severity::Low)];
        assert_eq!(absorbed_among(&dearer), [Some(1), None]);
        let first = [("a", at(1), Severity::Low), ("b", at(1), Severity::Low)];
        assert_eq!(absorbed_among(&first), [None, Some(0)]);
        let same_rule = [("a", at(1), Severity::Low), ("a", at(1), Severity::High)];
        assert_eq!(absorbed_among(&same_rule), [None, None]);
    }

    #[test]
    fn what_nobody_is_shown_speaks_for_nothing_that_is() {
        let hidden = occurrence(1, &[1], Confidence::Low, 0);
        let shown = occurrence(1, &[1], Confidence::Medium, 0);
        let by = absorbed_among(&[
            ("retry_non_idempotent", hidden, Severity::Critical),
            ("timeout_partial_failure", shown, Severity::Low),
        ]);
        assert_eq!(by, [None, None]);
    }
}
