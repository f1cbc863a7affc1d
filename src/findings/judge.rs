//! Judges one trace whole: every rule over it, then identity, severity, and what speaks for what.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::absorb::{Claim, absorbed};
use super::severity::{Circumstances, severity};
use super::{Evidence, Fingerprint, Inspection, Judged, Judgement, rows, shape};
use crate::model::{Assembly, Call, Span, Trace, TraceId};
use crate::rules::{Confidence, Occurrence, RULES, Rule, Severity, Thresholds};
use crate::sketch::{Drawer, Mark};

/// Longest remark beside a drawn span, in letters.
const MOST_LETTERS: usize = 80;

/// How a trace is judged.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Of every rule.
    pub thresholds: &'a Thresholds,
    /// What is less sure is nobody's business, and speaks for nothing that is.
    pub min_confidence: Confidence,
    /// What is known of the trace besides its spans, and how many of them are judged.
    pub assembly: Assembly,
}

/// Judges one trace. Pure: the same spans, in any order and repetition, give the same judgement. A rule that
/// panics is named in the judgement and spares the others.
pub fn judge(trace_id: TraceId, spans: Vec<Span>, settings: Settings<'_>) -> Judgement {
    let trace = Trace::assemble(spans, settings.assembly);
    let Inspection { occurrences, panicked, .. } = look(trace_id, &trace, settings);
    Judgement {
        trace_id,
        summary: rows::summary(&trace),
        units: rows::units(&trace),
        calls: rows::calls(&trace),
        occurrences,
        unsettled: !settings.assembly.settled && could_change(&trace),
        panicked,
    }
}

/// The part of a judgement that rules make; nothing is kept of the trace itself.
pub fn inspect(trace_id: TraceId, spans: Vec<Span>, settings: Settings<'_>) -> Inspection {
    look(trace_id, &Trace::assemble(spans, settings.assembly), settings)
}

fn look(trace_id: TraceId, trace: &Trace, settings: Settings<'_>) -> Inspection {
    let (found, panicked) = run(RULES, trace, settings.thresholds);
    Inspection { trace_id, occurrences: identified(trace, &found, settings.min_confidence), panicked }
}

/// An occurrence under its rule and the rule's position.
struct Found {
    number: usize,
    rule: &'static Rule,
    occurrence: Occurrence,
    severity: Severity,
}

fn run(rules: &'static [Rule], trace: &Trace, thresholds: &Thresholds) -> (Vec<Found>, Vec<&'static str>) {
    let mut found = Vec::new();
    let mut panicked = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let Ok(occurrences) = catch_unwind(AssertUnwindSafe(|| rule.inspect(trace, thresholds))) else {
            panicked.push(rule.id);
            continue;
        };
        for occurrence in occurrences.into_iter().filter(|occurrence| is_traffic(trace, occurrence)) {
            let severity = severity(rule.id, &occurrence, circumstances(trace, &occurrence));
            found.push(Found { number, rule, occurrence, severity });
        }
    }
    (found, panicked)
}

/// Health checks and telemetry are not judged, whatever a rule says.
fn is_traffic(trace: &Trace, occurrence: &Occurrence) -> bool {
    !trace.unit_of(occurrence.at).is_self_defence() && !trace.span(occurrence.at).facts.self_defence
}

fn circumstances(trace: &Trace, occurrence: &Occurrence) -> Circumstances {
    Circumstances {
        batch: trace.unit_of(occurrence.at).is_batch(),
        synthetic_test: trace.root().is_some_and(|root| trace.span(root).facts.synthetic_test),
    }
}

/// A write failed, or something whose effect is unknown, or a unit: what is still on its way may tell more.
fn could_change(trace: &Trace) -> bool {
    use crate::model::{Effect, EffectClass, Outcome};
    let open = |call: Call<'_>| call.effect() == Effect::Unknown || call.class() != EffectClass::Safe;
    trace.calls().any(|call| call.failed() && open(call))
        || trace.units().any(|unit| !matches!(unit.outcome(), Outcome::Ok | Outcome::Unknown))
}

fn identified(trace: &Trace, found: &[Found], min_confidence: Confidence) -> Vec<Judged> {
    let claims: Vec<Claim<'_>> = found
        .iter()
        .map(|one| Claim {
            number: one.number,
            rule: one.rule.id,
            occurrence: &one.occurrence,
            severity: one.severity,
        })
        .collect();
    let by = absorbed(trace, &claims, min_confidence);
    let fingerprints: Vec<Fingerprint> = found.iter().map(|one| fingerprint(trace, one)).collect();
    let mut known = BTreeSet::new();
    let mut judged = Vec::with_capacity(found.len());
    let mut drawer = Drawer::new(trace);
    for (own, one) in found.iter().enumerate() {
        // One span shows one finding once, whatever the evidence a rule could list for it.
        if known.insert((fingerprints[own], one.occurrence.at)) {
            let absorbed_by = by[own].map(|other| fingerprints[other]);
            let marks = marks(trace, &one.occurrence);
            let around = trace.unit_of(one.occurrence.at).owner();
            let drawing = drawer.draw(Some(around), &marks);
            judged.push(one.judged(trace, fingerprints[own], absorbed_by, drawing));
        }
    }
    judged
}

impl Found {
    fn judged(
        &self,
        trace: &Trace,
        fingerprint: Fingerprint,
        absorbed_by: Option<Fingerprint>,
        drawing: String,
    ) -> Judged {
        let occurrence = &self.occurrence;
        let unit = trace.unit_of(occurrence.at);
        let resource = unit.resource();
        Judged {
            fingerprint,
            rule: self.rule.id,
            fallacy: self.rule.fallacy,
            variant: occurrence.variant,
            environment: resource.environment.clone(),
            service: resource.service.clone(),
            operation: unit.operation().to_owned(),
            callee: callee(trace, occurrence).map(ToOwned::to_owned),
            headline: occurrence.headline.clone(),
            why: occurrence.why.clone(),
            severity: self.severity,
            confidence: occurrence.confidence,
            cost: occurrence.cost,
            span_id: trace.span(occurrence.at).id,
            version: resource.version.clone(),
            evidence: evidence(trace, occurrence),
            not_visible: not_visible(trace, occurrence),
            drawing,
            absorbed_by,
        }
    }
}

/// What the rule did not see, and what nobody did.
fn not_visible(trace: &Trace, occurrence: &Occurrence) -> Vec<String> {
    let mut lines = occurrence.not_visible.clone();
    if trace.is_truncated() {
        let judged = trace.spans().len();
        lines.push(format!("what this trace did beyond the {judged} spans that were judged: it has more"));
    }
    lines
}

/// Whom the call asked; `None` where the occurrence is at a unit.
fn callee<'t>(trace: &'t Trace, occurrence: &Occurrence) -> Option<&'t str> {
    let attempt = trace.attempt_of(occurrence.at).filter(|attempt| attempt.at() == occurrence.at)?;
    attempt.callee()
}

fn evidence(trace: &Trace, occurrence: &Occurrence) -> Vec<Evidence> {
    let begin_ns = trace.spans().first().map_or(0, |span| span.start_ns);
    let row = |evidence: &crate::rules::Evidence| {
        let span = trace.span(evidence.span);
        Evidence {
            span_id: span.id.to_string(),
            role: evidence.role.clone(),
            service: span.resource.service.clone(),
            operation: span.facts.operation.clone(),
            offset_ms: rows::ms(span.start_ns.saturating_sub(begin_ns)),
            duration_ms: rows::ms(span.duration_ns),
            note: evidence.note.clone(),
        }
    };
    occurrence.evidence.iter().map(row).collect()
}

fn marks(trace: &Trace, occurrence: &Occurrence) -> Vec<Mark> {
    let mark = |evidence: &crate::rules::Evidence| {
        let time = shape::words_ms(rows::ms(trace.span(evidence.span).duration_ns));
        let note: String = evidence.note.chars().take(MOST_LETTERS).collect();
        let parted = if note.is_empty() { "" } else { ", " };
        Mark { span: evidence.span, text: format!("{} {time}{parted}{note}", evidence.role) }
    };
    occurrence.evidence.iter().map(mark).collect()
}

/// Hash of what identifies a finding. Never an id, a time, an instance or a version: one place in the code is one
/// finding, however many traces show it.
fn fingerprint(trace: &Trace, found: &Found) -> Fingerprint {
    let occurrence = &found.occurrence;
    let unit = trace.unit_of(occurrence.at);
    let callee = callee(trace, occurrence);
    let template = callee.map_or("", |_| trace.span(occurrence.at).facts.template.as_str());
    let parts = [
        "v1",
        found.rule.id,
        occurrence.family,
        &unit.resource().environment,
        unit.service(),
        unit.operation(),
        callee.unwrap_or_default(),
        template,
        &occurrence.group,
    ];
    // A bar within a part must not look like the end of it.
    let text = parts.map(|part| part.replace('\\', "\\\\").replace('|', "\\|")).join("|");
    let hash = blake3::hash(text.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    Fingerprint(u64::from_be_bytes(first))
}

/// Judges spans of many traces, one after another, in the order of their ids.
pub fn judge_all(spans: Vec<Span>, settings: Settings<'_>) -> Vec<Judgement> {
    let mut traces: BTreeMap<TraceId, Vec<Span>> = BTreeMap::new();
    for span in spans {
        traces.entry(span.trace).or_default().push(span);
    }
    traces.into_iter().map(|(id, spans)| judge(id, spans, settings)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_panics_is_named_and_spares_the_others() {
        static RULES: [Rule; 2] = [Rule::broken("first"), Rule::broken("second")];
        let trace = Trace::assemble(Vec::new(), Assembly::default());
        let (found, panicked) = run(&RULES, &trace, &Thresholds::default());
        assert!(found.is_empty());
        assert_eq!(panicked, ["first", "second"]);
    }

    #[test]
    fn no_spans_are_no_findings() {
        let thresholds = Thresholds::default();
        let settings = Settings {
            thresholds: &thresholds,
            min_confidence: Confidence::Medium,
            assembly: Assembly::default(),
        };
        let judgement = judge(TraceId(1), Vec::new(), settings);
        assert_eq!(judgement.occurrences, Vec::new());
        assert_eq!((judgement.summary.spans, judgement.unsettled), (0, false));
    }
}
