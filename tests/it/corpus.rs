//! Rules against recorded traffic whose truth is known.
//!
//! A case is met when every rule that it expects is found in its traces (absorbed or not) and none that it
//! forbids; `*` forbids whatever it neither expects nor allows. Each scenario is judged by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use debunk::config::profile;
use debunk::findings::{Judged, Judgement, Settings, judge};
use debunk::model::{Assembly, SpanId, Trace, TraceId};
use debunk::rules::{self, Confidence, Thresholds};
use debunk::semconv;

use crate::support::recorded::{Case, Traces, cases, elsewhere, read};

/// Corpora of traffic without faults: whatever is found there is false.
const CLEAN: &[&str] = &["dsb-hotel", "dsb-media", "kieker-bookstore"];

fn judged(traces: &Traces, id: TraceId) -> Judgement {
    let spans = semconv::spans(&traces[&id], &BTreeMap::new());
    let thresholds = Thresholds::default();
    judge(
        id,
        spans,
        Settings {
            thresholds: &thresholds,
            min_confidence: Confidence::Medium,
            assembly: Assembly::default(),
        },
    )
}

/// What would be shown of one trace, absorbed or not.
fn shown(judgement: &Judgement) -> impl Iterator<Item = &Judged> {
    judgement.occurrences.iter().filter(|judged| Confidence::Medium <= judged.confidence)
}

/// What was found in a case's traces, within its unit where it names one.
struct Found {
    judged: Vec<(TraceId, Judged)>,
    traces: usize,
}

impl Case {
    fn ids(&self, traces: &Traces) -> Vec<TraceId> {
        let named: Vec<&String> = self.trace_id.iter().chain(&self.trace_ids).collect();
        if named.is_empty() {
            return traces.keys().copied().collect();
        }
        named.into_iter().map(|id| id.parse().unwrap()).collect()
    }

    fn found(&self, traces: &Traces) -> Found {
        let mut found = Vec::new();
        let ids = self.ids(traces);
        for id in &ids {
            let judgement = judged(traces, *id);
            assert_eq!(judgement.panicked, Vec::<&str>::new(), "{}", self.id);
            let unit =
                self.parent_span_id.as_ref().map(|span| unit_spans(traces, *id, span.parse().unwrap()));
            let here = |judged: &&Judged| unit.as_ref().is_none_or(|unit| unit.contains(&judged.span_id));
            found.extend(shown(&judgement).filter(here).map(|judged| (*id, judged.clone())));
        }
        Found { judged: found, traces: ids.len() }
    }

    fn forbids(&self, rule: &str) -> bool {
        self.forbid.contains(rule)
            || (self.forbid.contains("*") && !self.expect.contains(rule) && !self.allowed.contains(rule))
    }

    /// What is wrong with what was found; empty where the case is met.
    fn problems(&self, found: &Found) -> Vec<String> {
        let mut problems = Vec::new();
        for rule in self.expect.iter().filter(|rule| rules::find(rule).is_some()) {
            let faulty: BTreeSet<TraceId> =
                self.faulty_trace_ids.iter().map(|id| id.parse().unwrap()).collect();
            let hit = found.judged.iter().any(|(trace, judged)| {
                judged.rule == rule && (faulty.is_empty() || faulty.contains(trace)) && self.is_at(judged)
            });
            if !hit {
                problems.push(format!("{rule} not found"));
            }
        }
        let reported = found.judged.iter().filter(|(_, judged)| judged.absorbed_by.is_none());
        let wrong: BTreeSet<String> = reported
            .filter(|(_, judged)| self.forbids(judged.rule))
            .map(|(trace, judged)| {
                format!("{} must not be found: trace {trace}, {}", judged.rule, judged.why)
            })
            .collect();
        problems.extend(wrong);
        problems
    }

    /// Where the case says whose unit it is, the rule that it is about must say so as well.
    fn is_at(&self, judged: &Judged) -> bool {
        self.rule.as_deref() != Some(judged.rule)
            || (self.service.as_ref().is_none_or(|service| *service == judged.service)
                && self.operation.as_ref().is_none_or(|named| bare(named) == bare(&judged.operation))
                && self.variant.as_ref().is_none_or(|variant| variant == judged.variant))
    }
}

/// Parameters of a route as `{}`, in any spelling.
fn bare(operation: &str) -> String {
    let segment = |segment: &str| {
        let parameter = segment.starts_with(['{', ':', '<']);
        if parameter { "{}".to_owned() } else { segment.to_owned() }
    };
    operation.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// All spans of the unit that a span belongs to.
fn unit_spans(traces: &Traces, id: TraceId, span: SpanId) -> BTreeSet<SpanId> {
    let trace = Trace::assemble(semconv::spans(&traces[&id], &BTreeMap::new()), Assembly::default());
    let Some(at) = trace.find(span) else { return BTreeSet::new() };
    trace.unit_of(at).spans().iter().map(|at| trace.span(*at).id).collect()
}

/// Judges every case of a file, prints the table, and fails with what is not as it should be.
fn judge_cases(folder: &Path, file: &str) {
    let mut corpora: BTreeMap<String, Traces> = BTreeMap::new();
    let mut table = String::new();
    let mut problems = Vec::new();
    for case in cases(&folder.join(file)) {
        let traces = corpora.entry(case.corpus.clone()).or_insert_with(|| read(folder, &case.corpus));
        let found = case.found(traces);
        let wrong = case.problems(&found);
        let verdict = if wrong.is_empty() { "ok" } else { "WRONG" };
        let (count, rules) = (found.traces, by_rule(&found.judged));
        writeln!(table, "{verdict:<6} {:<28} {count:>3} traces  {rules}", case.id).unwrap();
        problems.extend(wrong.into_iter().map(|problem| format!("{}: {problem}", case.id)));
    }
    println!("{table}");
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// `n_plus_one db ×3 (high)`.
fn by_rule(found: &[(TraceId, Judged)]) -> String {
    let mut kinds: BTreeMap<(&str, &str, Confidence, bool), usize> = BTreeMap::new();
    for (_, judged) in found {
        let kind = (judged.rule, judged.variant, judged.confidence, judged.absorbed_by.is_some());
        *kinds.entry(kind).or_default() += 1;
    }
    let words = |((rule, variant, confidence, absorbed), count): ((&str, &str, Confidence, bool), usize)| {
        let absorbed = if absorbed { ", absorbed" } else { "" };
        format!("{rule} {variant} ×{count} ({confidence}{absorbed})")
    };
    kinds.into_iter().map(words).collect::<Vec<_>>().join(", ")
}

#[test]
fn our_own_recordings_are_judged_rightly() {
    judge_cases(Path::new("tests/data"), "lab_cases.json");
}

/// The arena is canonical: what arrives late, twice or in another order is the same trace.
#[test]
fn order_and_repetition_change_no_judgement() {
    let thresholds = Thresholds::default();
    let settings = Settings {
        thresholds: &thresholds,
        min_confidence: Confidence::Medium,
        assembly: Assembly::default(),
    };
    for name in ["lab-python", "lab-node"] {
        for (id, received) in read(Path::new("tests/data"), name) {
            let spans = semconv::spans(&received, &BTreeMap::new());
            let mut again: Vec<_> = received.iter().rev().cloned().collect();
            again.extend(received.iter().step_by(2).cloned());
            let again = semconv::spans(&again, &BTreeMap::new());
            assert_eq!(judge(id, spans, settings), judge(id, again, settings), "{name} {id}");
        }
    }
}

/// A profile that wants more finds no less; what is absorbed or too unsure to be shown counts here too.
#[test]
fn every_profile_finds_what_a_stricter_one_finds() {
    let found = |profile, id, received: &[_]| {
        let thresholds = profile::defaults(profile).rules;
        let spans = semconv::spans(received, &BTreeMap::new());
        let settings = Settings {
            thresholds: &thresholds,
            min_confidence: Confidence::Low,
            assembly: Assembly::default(),
        };
        let occurrences = judge(id, spans, settings).occurrences.into_iter();
        occurrences.map(|one| (one.rule, one.span_id)).collect::<BTreeSet<_>>()
    };
    let mut totals = [0; 3];
    for name in ["lab-python", "lab-node"] {
        for (id, received) in read(Path::new("tests/data"), name) {
            let each = rules::Profile::ALL.map(|profile| found(profile, id, &received));
            for pair in each.windows(2) {
                assert!(pair[0].is_subset(&pair[1]), "{name} {id}: {:?}", pair[0].difference(&pair[1]));
            }
            totals.iter_mut().zip(&each).for_each(|(total, found)| *total += found.len());
        }
    }
    assert!(totals.is_sorted() && totals[0] < totals[1] && totals[1] < totals[2], "{totals:?}");
}

#[test]
fn known_cases_are_judged_rightly() {
    if let Some(folder) = elsewhere() {
        judge_cases(&folder, "known_cases.json");
    }
}

#[test]
fn all_recorded_scenarios_are_judged_rightly() {
    if let Some(folder) = elsewhere() {
        judge_cases(&folder, "lab_cases.json");
    }
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let Some(folder) = elsewhere() else { return };
    let mut problems = Vec::new();
    for name in CLEAN {
        let traces = read(&folder, name);
        for id in traces.keys() {
            let judgement = judged(&traces, *id);
            problems.extend(
                shown(&judgement).map(|judged| format!("{name} {id}: {} {}", judged.rule, judged.why)),
            );
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Findings of whole corpora, by place in the code: each line has been looked at. A new one is a claim that
/// somebody has to check before it is accepted.
#[test]
fn findings_in_recorded_traffic_are_the_reviewed_ones() {
    let Some(folder) = elsewhere() else { return };
    let mut lines = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some((name, _)) = file.split_once(".jsonl") else { continue };
        let traces = read(&folder, name);
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for id in traces.keys() {
            for found in shown(&judged(&traces, *id)).filter(|found| found.absorbed_by.is_none()) {
                *places.entry(place(found)).or_default() += 1;
            }
        }
        lines.extend(places.into_iter().map(|(place, count)| format!("{name}: {place} ×{count}")));
    }
    insta::assert_snapshot!(lines.into_iter().collect::<Vec<_>>().join("\n"));
}

fn place(found: &Judged) -> String {
    let callee = found.callee.as_ref().map(|callee| format!(" → {callee}")).unwrap_or_default();
    let (rule, variant, confidence) = (found.rule, found.variant, found.confidence);
    format!(
        "{rule} {variant} ({confidence}) {} {}{callee}: {}",
        found.service, found.operation, found.headline
    )
}
