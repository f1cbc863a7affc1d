//! One problem, one finding: where two rules speak of the same thing, one of them speaks for both.
//!
//! What is absorbed is kept as a relation and not counted. An occurrence that nobody would be shown (confidence
//! low) absorbs nothing that somebody would be.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::Trace;
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
const PAIRS: &[(&str, &str)] = &[("retry_non_idempotent", "timeout_partial_failure")];

/// For each claim the position of the one that speaks for it, if any.
pub(super) fn absorbed(trace: &Trace, claims: &[Claim<'_>]) -> Vec<Option<usize>> {
    let calls: Vec<BTreeSet<usize>> = claims.iter().map(|claim| calls(trace, claim.occurrence)).collect();
    let mut by: Vec<Option<usize>> = vec![None; claims.len()];
    for (own, claim) in claims.iter().enumerate() {
        by[own] = claims.iter().enumerate().position(|(other, rival)| {
            other != own
                && claim.rule != rival.rule
                && is_shown(rival) >= is_shown(claim)
                && PAIRS.contains(&(rival.rule, claim.rule))
                && !calls[own].is_disjoint(&calls[other])
        });
    }
    for (own, claim) in claims.iter().enumerate() {
        if by[own].is_some() {
            continue;
        }
        let rivals = claims.iter().enumerate().filter(|(other, rival)| {
            *other != own
                && claim.rule != rival.rule
                && claim.occurrence.at == rival.occurrence.at
                && is_shown(rival) >= is_shown(claim)
                && by[*other].is_none()
                && weight(claim) < weight(rival)
        });
        by[own] = rivals.max_by_key(|(_, rival)| weight(rival)).map(|(other, _)| other);
    }
    by
}

fn is_shown(claim: &Claim<'_>) -> bool {
    Confidence::Low < claim.occurrence.confidence
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
