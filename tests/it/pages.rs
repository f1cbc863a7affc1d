//! Every drawing on every rule's page is run, as it stands and in disguise. A new rule gets these tests by existing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use debunk::model::{Assembly, Received, SpanIdx, Trace};
use debunk::rules::{Confidence, Cost, Occurrence, RULES, Rule, Thresholds};
use debunk::semconv::{self, drawn};
use debunk::sketch::{self, Drawing};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

/// Rules that conclude from what did not come after a failure. Less of a trace can make them find more.
const FROM_ABSENCE: &[&str] = &[
    "timeout_partial_failure",
    "unknown_outcome_write",
    "partial_commit",
    "masked_failure",
    "unguarded_third_party",
    "undisciplined_retry",
];

/// Rules that speak of clocks.
const OF_CLOCKS: &[&str] = &["clock_skew"];

struct Example {
    rule: &'static Rule,
    place: String,
    text: String,
    drawing: Drawing,
}

fn examples() -> Vec<Example> {
    let mut all = Vec::new();
    for rule in RULES {
        for (line, text) in sketch::drawings(&rule.page()) {
            let place = format!("{}, line {line} of its page", rule.id);
            let drawing = sketch::parse(&text).unwrap_or_else(|error| panic!("{place}: {error}\n{text}"));
            all.push(Example { rule, place, text, drawing });
        }
    }
    all
}

fn trace(spans: &[Received]) -> Trace {
    Trace::assemble(semconv::spans(spans, &BTreeMap::new()), Assembly::default())
}

fn inspect(rule: &Rule, spans: &[Received]) -> (Trace, Vec<Occurrence>) {
    let trace = trace(spans);
    let found = rule.inspect(&trace, &Thresholds::default());
    (trace, found)
}

/// Variant, (span, role) of each piece of evidence, and confidence.
type Told = (String, Vec<(String, String)>, Confidence);

/// What a rule found, told by names and roles instead of ids and times.
fn evidence(rule: &Rule, spans: &[Received]) -> BTreeSet<Told> {
    let (trace, found) = inspect(rule, spans);
    let told = |occurrence: Occurrence| {
        let rows = occurrence.evidence.iter().map(|row| {
            let span = trace.span(row.span);
            (format!("{} {:?}", span.name, span.kind), row.role.clone())
        });
        (occurrence.variant.to_owned(), rows.collect(), occurrence.confidence)
    };
    found.into_iter().map(told).collect()
}

/// Holds for every drawing of every page: in this disguise it shows the same.
fn holds_in_disguise(what: &str, disguise: impl Fn(&Example) -> Vec<Vec<Received>>) {
    for example in examples() {
        let plain = evidence(example.rule, &example.drawing.spans);
        for spans in disguise(&example) {
            let found = evidence(example.rule, &spans);
            assert_eq!(found, plain, "{what}: {}\n{}", example.place, example.text);
        }
    }
}

#[test]
fn pages_tell_the_truth() {
    let mut problems = Vec::new();
    for example in examples() {
        if let Err(mismatch) = sketch::check(example.rule.id, &example.text) {
            problems.push(format!("{}:\n{mismatch}", example.place));
        }
    }
    for rule in RULES {
        let of_rule = |marked: bool| {
            let mut drawings = sketch::drawings(&rule.page()).into_iter();
            drawings
                .any(|(_, text)| sketch::parse(&text).is_ok_and(|drawn| drawn.marked.is_empty() != marked))
        };
        if !of_rule(true) || !of_rule(false) {
            problems.push(format!("{}: its page needs a flagged and an unflagged drawing", rule.id));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n\n"));
}

#[test]
fn pages_have_their_sections() {
    let sections = ["What it detects", "Why it matters", "Example", "Not flagged", "Remedy", "Blind spots"];
    for rule in RULES {
        assert!(!rule.title().is_empty(), "{}", rule.id);
        for section in sections {
            assert!(!rule.section(section).is_empty(), "{}: no section `{section}`", rule.id);
        }
    }
}

#[test]
fn the_order_of_arrival_shows_the_same() {
    holds_in_disguise("in another order", |example| {
        let spans = &example.drawing.spans;
        let reversed = spans.iter().rev().cloned().collect();
        let dealt = (0..spans.len()).map(|at| at * 7 % spans.len().max(1));
        let seen: BTreeSet<usize> = dealt.clone().collect();
        let rest = (0..spans.len()).filter(|at| !seen.contains(at));
        let mut distinct = BTreeSet::new();
        let order: Vec<usize> = dealt.chain(rest).filter(|at| distinct.insert(*at)).collect();
        vec![reversed, order.into_iter().map(|at| spans[at].clone()).collect()]
    });
}

#[test]
fn redelivered_spans_show_the_same() {
    holds_in_disguise("delivered twice", |example| {
        let spans = &example.drawing.spans;
        vec![spans.iter().chain(spans).cloned().collect()]
    });
}

fn moved(spans: &[Received], seconds: i64, which: impl Fn(&Received) -> bool) -> Vec<Received> {
    let shift = |ns: u64| ns.saturating_add_signed(seconds * 1_000_000_000);
    let moved = |mut one: Received| {
        if which(&one) {
            one.span.start_time_unix_nano = shift(one.span.start_time_unix_nano);
            one.span.end_time_unix_nano = shift(one.span.end_time_unix_nano);
            for event in &mut one.span.events {
                event.time_unix_nano = shift(event.time_unix_nano);
            }
        }
        one
    };
    spans.iter().cloned().map(moved).collect()
}

#[test]
fn another_time_shows_the_same() {
    holds_in_disguise("an hour later", |example| vec![moved(&example.drawing.spans, 3600, |_| true)]);
}

fn service(one: &Received) -> String {
    let of_name = one.resource.attributes.iter().find(|attribute| attribute.key == drawn::SERVICE);
    match of_name.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(name)) => name.clone(),
        _ => String::new(),
    }
}

#[test]
fn a_host_whose_clock_is_off_shows_the_same() {
    holds_in_disguise("with one clock off", |example| {
        if OF_CLOCKS.contains(&example.rule.id) {
            return Vec::new();
        }
        let spans = &example.drawing.spans;
        let services: BTreeSet<String> = spans.iter().map(service).collect();
        let off =
            |seconds| services.iter().map(move |name| moved(spans, seconds, |one| service(one) == *name));
        off(10).chain(off(-10)).collect()
    });
}

#[test]
fn services_of_other_names_show_the_same() {
    holds_in_disguise("under other names", |example| {
        let rename = |mut one: Received| {
            let mut resource = (*one.resource).clone();
            for attribute in
                resource.attributes.iter_mut().filter(|attribute| attribute.key == drawn::SERVICE)
            {
                attribute.value.as_mut().unwrap().value =
                    Some(Value::StringValue(format!("zz-{}", service(&one))));
            }
            one.resource = Arc::new(resource);
            one
        };
        vec![example.drawing.spans.iter().cloned().map(rename).collect()]
    });
}

#[test]
fn other_ids_show_the_same() {
    holds_in_disguise("under other ids", |example| {
        let other = |id: &[u8]| -> Vec<u8> { id.iter().map(|byte| byte ^ 0xa5).collect() };
        let renumber = |mut one: Received| {
            one.span.span_id = other(&one.span.span_id);
            one.span.parent_span_id = other(&one.span.parent_span_id);
            one.span.trace_id = other(&one.span.trace_id);
            for link in &mut one.span.links {
                link.span_id = other(&link.span_id);
                link.trace_id = other(&link.trace_id);
            }
            one
        };
        vec![example.drawing.spans.iter().cloned().map(renumber).collect()]
    });
}

/// SDKs add and omit spans in between freely: whatever calls stand directly below, they belong to the unit.
#[test]
fn calls_wrapped_in_internal_spans_show_the_same() {
    const CLIENT: i32 = 3;
    const INTERNAL: i32 = 1;
    holds_in_disguise("wrapped", |example| {
        let spans = &example.drawing.spans;
        let by_id: BTreeMap<&[u8], &Received> =
            spans.iter().map(|one| (&one.span.span_id[..], one)).collect();
        let mut wrapped = Vec::new();
        for one in spans {
            let parent = by_id.get(&one.span.parent_span_id[..]);
            let same_service = parent.is_some_and(|parent| service(parent) == service(one));
            // Attempts that share an id would share a wrapper as well.
            let shares_id = 1 < spans.iter().filter(|other| other.span.span_id == one.span.span_id).count();
            if one.span.kind != CLIENT || !same_service || shares_id {
                wrapped.push(one.clone());
                continue;
            }
            let mut inner = one.clone();
            let mut outer = one.clone();
            outer.span.span_id = one.span.span_id.iter().map(|byte| byte ^ 0x5a).collect();
            outer.span.name = "wrapper".to_owned();
            outer.span.kind = INTERNAL;
            outer.span.attributes.clear();
            outer.span.events.clear();
            outer.span.links.clear();
            outer.span.status = None;
            inner.span.parent_span_id.clone_from(&outer.span.span_id);
            wrapped.extend([outer, inner]);
        }
        vec![wrapped]
    });
}

/// Service, kind and depth of every span, in the order in which a drawing lists them.
fn outline(trace: &Trace) -> Vec<(String, String, usize)> {
    let depth = |at| std::iter::successors(trace.parent(at), |above| trace.parent(*above)).count();
    let row = |at: &SpanIdx| {
        let span = trace.span(*at);
        (span.resource.service.clone(), format!("{:?}", span.kind), depth(*at))
    };
    let mut rows: Vec<_> = trace.depth_first().iter().map(row).collect();
    rows.sort();
    rows
}

#[test]
fn a_trace_drawn_and_read_again_has_the_same_outline() {
    for example in examples() {
        let trace = example.drawing.trace();
        let again = sketch::render(&trace, None, &[]);
        let read = sketch::parse(&again).unwrap_or_else(|error| panic!("{error}\n{again}"));
        assert_eq!(outline(&read.trace()), outline(&trace), "{}\n{}\n{again}", example.place, example.text);
    }
}

#[test]
fn the_empty_trace_shows_nothing() {
    for rule in RULES {
        assert_eq!(evidence(rule, &[]), BTreeSet::new(), "{}", rule.id);
    }
}

/// Losing a span that nothing stands below never proves more.
#[test]
fn a_lost_leaf_shows_nothing_new() {
    for example in examples().iter().filter(|example| !FROM_ABSENCE.contains(&example.rule.id)) {
        let spans = &example.drawing.spans;
        let before = places(example.rule, spans);
        for (at, leaf) in spans.iter().enumerate() {
            let is_leaf = spans.iter().all(|one| one.span.parent_span_id != leaf.span.span_id);
            let failed = leaf.span.status.as_ref().is_some_and(|status| status.code == 2);
            if !is_leaf || failed || !is_safe(leaf) {
                continue;
            }
            let left: Vec<Received> = spans
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at)
                .map(|(_, one)| one.clone())
                .collect();
            let new: Vec<_> = places(example.rule, &left).difference(&before).cloned().collect();
            assert!(
                new.is_empty(),
                "without {}: {new:?}\n{}\n{}",
                leaf.span.name,
                example.place,
                example.text
            );
        }
    }
}

/// A write that is lost takes a barrier or a proof away, so only reads and local work are dropped.
fn is_safe(leaf: &Received) -> bool {
    const INTERNAL: i32 = 1;
    let name = leaf.span.name.as_str();
    leaf.span.kind == INTERNAL || name.starts_with("GET ") || name.starts_with("SELECT ")
}

/// A trace of which the root or a server's side never came makes nobody surer.
#[test]
fn a_lost_root_or_server_makes_nobody_surer() {
    const SERVER: i32 = 2;
    for example in examples() {
        let spans = &example.drawing.spans;
        let before = surest(example.rule, spans);
        for (at, lost) in spans.iter().enumerate() {
            if lost.span.kind != SERVER && !lost.span.parent_span_id.is_empty() {
                continue;
            }
            let left: Vec<Received> = without(spans, at);
            for (place, confidence) in surest(example.rule, &left) {
                let known = before.get(&place).copied();
                assert!(
                    known.is_none_or(|known| confidence <= known),
                    "without {}: {confidence} instead of {known:?}\n{}\n{}",
                    lost.span.name,
                    example.place,
                    example.text
                );
            }
        }
    }
}

/// The best confidence of each place, by the span that it is at.
fn surest(rule: &Rule, spans: &[Received]) -> BTreeMap<String, Confidence> {
    let (trace, found) = inspect(rule, spans);
    let mut surest = BTreeMap::new();
    for occurrence in found {
        let place = trace.span(occurrence.at).id.to_string();
        let best = surest.entry(place).or_insert(occurrence.confidence);
        *best = occurrence.confidence.max(*best);
    }
    surest
}

fn without(spans: &[Received], lost: usize) -> Vec<Received> {
    spans.iter().enumerate().filter(|(at, _)| *at != lost).map(|(_, one)| one.clone()).collect()
}

/// A mesh puts a proxy's server and client span between the two sides of a call: still one call.
#[test]
fn calls_through_a_proxy_show_the_same() {
    const SERVER: i32 = 2;
    const CLIENT: i32 = 3;
    holds_in_disguise("through a proxy", |example| {
        let spans = &example.drawing.spans;
        let kinds: BTreeMap<&[u8], i32> =
            spans.iter().map(|one| (&one.span.span_id[..], one.span.kind)).collect();
        let mut meshed = Vec::new();
        for one in spans {
            let called = kinds.get(&one.span.parent_span_id[..]) == Some(&CLIENT);
            if one.span.kind != SERVER || !called {
                meshed.push(one.clone());
                continue;
            }
            let hop = |kind: i32, id: u8, parent: &[u8]| {
                let mut hop = one.clone();
                hop.span.kind = kind;
                hop.span.span_id = one.span.span_id.iter().map(|byte| byte ^ id).collect();
                hop.span.parent_span_id = parent.to_vec();
                hop.span.attributes.push(proxy());
                hop.span.events.clear();
                hop
            };
            let inward = hop(SERVER, 0x33, &one.span.parent_span_id);
            let outward = hop(CLIENT, 0x66, &inward.span.span_id);
            let mut server = one.clone();
            server.span.parent_span_id.clone_from(&outward.span.span_id);
            meshed.extend([inward, outward, server]);
        }
        vec![meshed]
    });
}

fn proxy() -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue("proxy".to_owned())) });
    KeyValue { key: "component".to_owned(), value, ..KeyValue::default() }
}

/// Where a rule found something: variant and unit. Which call stands for a unit may change with what is left.
fn places(rule: &Rule, spans: &[Received]) -> BTreeSet<(String, String)> {
    let (trace, found) = inspect(rule, spans);
    let place = |occurrence: Occurrence| {
        (occurrence.variant.to_owned(), trace.unit_of(occurrence.at).span().id.to_string())
    };
    found.into_iter().map(place).collect()
}

#[test]
fn an_occurrence_says_what_shows_it() {
    for example in examples() {
        let (trace, found) = inspect(example.rule, &example.drawing.spans);
        for occurrence in found {
            let place = &example.place;
            assert!(!occurrence.evidence.is_empty(), "{place}: no evidence");
            assert!(!occurrence.headline.is_empty() && !occurrence.why.is_empty(), "{place}: no words");
            assert!(!occurrence.headline.ends_with('.'), "{place}: {}", occurrence.headline);
            let only_misleads = OF_CLOCKS.contains(&example.rule.id);
            assert!(only_misleads || occurrence.cost != Cost::default(), "{place}: costs nothing");
            for row in &occurrence.evidence {
                assert!(row.span.at() < trace.spans().len(), "{place}: no such span");
                assert!(!row.role.is_empty(), "{place}: evidence without a role");
            }
        }
    }
}

/// What the manual draws can be drawn.
#[test]
fn the_drawing_of_the_manual_is_read() {
    let text = std::fs::read_to_string("docs/writing-a-rule.md").unwrap();
    let drawing = text.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(sketch::parse(drawing).unwrap().spans.len(), 3);
}
