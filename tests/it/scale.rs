//! Traces of unreasonable size and shape are judged in reasonable time: no recursion, nothing quadratic.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use debunk::findings::{Judgement, Settings, judge};
use debunk::model::{Assembly, Received, TraceId};
use debunk::rules::{Confidence, Thresholds};
use debunk::semconv;
use debunk::sketch;

/// Generous, since builds without optimisation on busy machines are slow; a quadratic step takes minutes.
const LONGEST: Duration = Duration::from_secs(20);
const SPANS: usize = 10_000;
const MILLI_NS: u64 = 1_000_000;

/// The spans of a small drawing, whose last line is repeated `times` with one id, place and time each.
fn repeated(drawing: &str, times: usize, place: impl Fn(usize, &mut Received)) -> Vec<Received> {
    let mut spans = sketch::parse(drawing).unwrap().spans;
    let last = spans.pop().unwrap();
    spans.extend((0..times).map(|at| {
        let mut one = last.clone();
        one.span.span_id = (at as u64 + 1000).to_be_bytes().to_vec();
        place(at, &mut one);
        one
    }));
    spans
}

fn at_ms(one: &mut Received, offset_ms: u64, long_ms: u64) {
    one.span.start_time_unix_nano += offset_ms * MILLI_NS;
    one.span.end_time_unix_nano = one.span.start_time_unix_nano + long_ms * MILLI_NS;
}

fn judged_in_time(what: &str, received: &[Received]) -> Judgement {
    let thresholds = Thresholds::default();
    let settings = Settings {
        thresholds: &thresholds,
        min_confidence: Confidence::Medium,
        assembly: Assembly::default(),
    };
    let begin = Instant::now();
    let spans = semconv::spans(received, &BTreeMap::new());
    let judgement = judge(TraceId(7), spans, settings);
    let took = begin.elapsed();
    println!("{what}: {} spans in {took:?}", judgement.summary.spans);
    assert_eq!(judgement.panicked, Vec::<&str>::new(), "{what}");
    assert!(took < LONGEST, "{what}: {took:?}");
    for found in &judgement.occurrences {
        assert!(found.drawing.lines().count() < 50, "{what}: {}", found.drawing);
    }
    judgement
}

#[test]
fn ten_thousand_calls_of_one_unit() {
    let drawing = "|===| a  server  GET /\n| = |   a  client  GET b/items\n";
    let one_after_another = repeated(drawing, SPANS - 1, |at, one| at_ms(one, at as u64 * 2, 1));
    judged_in_time("one after another", &one_after_another);
    let at_once = repeated(drawing, SPANS - 1, |_, one| at_ms(one, 0, 1));
    judged_in_time("at once", &at_once);
    let different = repeated(drawing, SPANS - 1, |at, one| {
        at_ms(one, at as u64 * 2, 1);
        rename(one, &format!("GET b/items/{at}/of/{}", at % 97));
    });
    judged_in_time("all different", &different);
}

/// Another name, and what an SDK would write with it.
fn rename(one: &mut Received, name: &str) {
    let drawn = sketch::parse(&format!("|=| a  client  {name}\n")).unwrap().spans.remove(0);
    one.span.name = drawn.span.name;
    one.span.attributes = drawn.span.attributes;
}

#[test]
fn a_chain_as_deep_as_a_trace_may_be() {
    for kind in ["local", "client", "server"] {
        let drawing = format!("|===| a  server  GET /\n| = |   a  {kind}  GET b/\n");
        let chain = repeated(&drawing, SPANS - 1, |at, one| {
            at_ms(one, 0, 1);
            if 0 < at {
                one.span.parent_span_id = (at as u64 + 999).to_be_bytes().to_vec();
            }
        });
        judged_in_time(&format!("chain of {kind}"), &chain);
    }
}

#[test]
fn a_thousand_attempts() {
    let drawing = "|===| a  server  POST /\n| =x|   a  client  POST b/pay/71423\n";
    let numbered = repeated(drawing, 1000, |at, one| {
        at_ms(one, at as u64 * 200, 100);
        let name = format!(
            "|=x| a  client  POST b/pay/71423  {{http.request.resend_count={at}, exception.type=ReadTimeout}}\n"
        );
        let drawn = sketch::parse(&name).unwrap().spans.remove(0);
        one.span.attributes = drawn.span.attributes;
        one.span.events = drawn.span.events;
    });
    judged_in_time("numbered attempts", &numbered);
    let plain = repeated(drawing, 1000, |at, one| at_ms(one, at as u64 * 200, 100));
    judged_in_time("plain attempts", &plain);
}

#[test]
fn every_span_of_the_same_id() {
    let drawing = "|===| a  server  GET /\n| = |   a  client  GET b/items\n";
    let same = repeated(drawing, SPANS - 1, |at, one| {
        at_ms(one, at as u64, 1);
        one.span.span_id = vec![1; 8];
    });
    judged_in_time("one id", &same);
}

#[test]
fn more_spans_than_are_judged_are_counted() {
    let drawing = "|===| a  server  GET /\n| = |   a  db  SELECT * FROM items WHERE order_id = ?\n";
    let mut many = repeated(drawing, SPANS + 500, |at, one| at_ms(one, at as u64 * 2, 1));
    many[0].span.end_time_unix_nano += 60_000 * MILLI_NS;
    let judgement = judged_in_time("too many", &many);
    assert_eq!(judgement.summary.spans as usize, SPANS);
    assert!(!judgement.summary.complete);
    assert!(judgement.summary.defects.iter().any(|defect| defect.contains("501")), "{:?}", judgement.summary);
    let unseen = "what this trace did beyond the 10000 spans that were judged: it has more";
    assert!(!judgement.occurrences.is_empty());
    for found in &judgement.occurrences {
        assert!(found.not_visible.iter().any(|line| line == unseen), "{:?}", found.not_visible);
    }
}
