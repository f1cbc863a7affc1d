//! Load, read, assemble, run all rules: spans a second on one core, and how the cost of a span grows with its trace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use debunk::clock;
use debunk::findings::{Settings, judge};
use debunk::model::{Assembly, Received, Span, TraceId};
use debunk::rules::{Confidence, RULES, Thresholds};
use debunk::semconv;
use debunk::store::{Days, TraceDays, Writer, encode};
use debunk::telemetry::Metrics;

use crate::database::Database;
use crate::traffic;

/// Spans of a trace, each ten times the one before.
const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];
/// Spans judged at each size.
const SPANS: usize = 100_000;

pub(crate) async fn run() {
    let database = Database::fresh().await;
    let (writer, work) = Writer::start(database.store.clone(), Metrics::new(), 1 << 30);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(work);
    println!("judge: one core; growth is the cost of a span against that in a trace of {} spans", SIZES[0]);
    println!("  spans/trace   load/s   read/s  rules/s   all/s  growth");
    let recorded = traffic::recorded();
    let mut least = None;
    for size in SIZES {
        let count = (SPANS / size).min(100);
        let mut wanted = Vec::new();
        let today = clock::now().date();
        let days = Days::new(today, Duration::from_hours(7 * 24));
        for _ in 0..count {
            let id = TraceId(rand::random::<u128>() | 1);
            writer.write(encode(traffic::nest(trace(&recorded, id, size)), &days)).await.unwrap();
            wanted.push(TraceDays { trace_id: id, first_day: days.first(), last_day: days.last() });
        }
        let [load, read, rules] = measure(&database, &wanted, size).await;
        let all = load + read + rules;
        let rate = |time: Duration| (count * size) as f64 / time.as_secs_f64();
        let least = *least.get_or_insert(rate(all));
        println!(
            "  {size:>11} {:>8.0} {:>8.0} {:>8.0} {:>7.0} {:>7.2}",
            rate(load),
            rate(read),
            rate(rules),
            rate(all),
            least / rate(all)
        );
    }
    drop(writer);
    tasks.join_all().await;
    database.store.close().await;
    all_against_four(&recorded);
}

/// The first rules that there were: what all others add is measured against them.
const FOUR: [&str; 4] =
    ["chatty_sequential_calls", "n_plus_one", "retry_non_idempotent", "timeout_partial_failure"];
/// The largest ratio that is fine.
const MOST: f64 = 2.0;
/// How often either is measured, in turns.
const TURNS: usize = 9;

/// Judging recorded traces by all rules against judging them by four, in turns. Attributes are read beforehand.
fn all_against_four(recorded: &[Vec<Received>]) {
    let all = Thresholds::default();
    let mut four = all.clone();
    four.only(&FOUR);
    let read: Vec<Vec<Span>> = recorded.iter().map(|trace| semconv::spans(trace, &BTreeMap::new())).collect();
    let spans: usize = read.iter().map(Vec::len).sum();
    let once = |thresholds: &Thresholds| {
        let settings =
            Settings { thresholds, min_confidence: Confidence::Medium, assembly: Assembly::default() };
        let traces = read.clone();
        let begun = Instant::now();
        for (number, trace) in traces.into_iter().enumerate() {
            assert!(judge(TraceId(number as u128 + 1), trace, settings).panicked.is_empty());
        }
        begun.elapsed().as_secs_f64()
    };
    let (mut ratios, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (by_four, by_all) = (once(&four), once(&all));
        ratios.push(by_all / by_four);
        costs.push(by_all * 1e6 / spans as f64);
    }
    ratios.sort_by(f64::total_cmp);
    costs.sort_by(f64::total_cmp);
    println!(
        "  {} rules cost {:.2} times what four cost (at most {MOST:.1}), {:.1} µs a span of recorded traces",
        RULES.len(),
        ratios[TURNS / 2],
        costs[TURNS / 2]
    );
}

/// Time to load, to read attributes, and to assemble and run the rules.
async fn measure(database: &Database, wanted: &[TraceDays], size: usize) -> [Duration; 3] {
    let thresholds = Thresholds::default();
    let settings = Settings {
        thresholds: &thresholds,
        min_confidence: Confidence::Medium,
        assembly: Assembly { max_spans: size, ..Assembly::default() },
    };
    let mut times = [Duration::ZERO; 3];
    // As many at once as the server takes at once.
    for some in wanted.chunks(32) {
        let begun = Instant::now();
        let loaded = database.store.load(some, size as u32 + 1).await.unwrap();
        times[0] += begun.elapsed();
        for one in loaded {
            let begun = Instant::now();
            let spans = semconv::spans(&one.spans, &BTreeMap::new());
            times[1] += begun.elapsed();
            let begun = Instant::now();
            let judgement = judge(one.trace_id, spans, settings);
            times[2] += begun.elapsed();
            assert_eq!(judgement.summary.spans as usize, size);
            assert!(judgement.panicked.is_empty());
        }
    }
    times
}

/// Recorded traces under one root, repeated until there are enough spans.
pub(crate) fn trace(recorded: &[Vec<Received>], id: TraceId, size: usize) -> Vec<Received> {
    let mut spans: Vec<Received> = Vec::with_capacity(size);
    let root = 1_u64.to_be_bytes().to_vec();
    'full: for (copy, trace) in recorded.iter().cycle().enumerate() {
        for one in trace {
            if spans.len() == size {
                break 'full;
            }
            let renamed = |id: &[u8]| match <[u8; 8]>::try_from(id) {
                Ok(bytes) => (u64::from_be_bytes(bytes) ^ (copy as u64) << 20).to_be_bytes().to_vec(),
                Err(_) => root.clone(),
            };
            let mut span = one.span.clone();
            span.trace_id = id.0.to_be_bytes().to_vec();
            span.span_id = renamed(&span.span_id);
            span.parent_span_id = renamed(&span.parent_span_id);
            if spans.is_empty() {
                (span.span_id, span.parent_span_id) = (root.clone(), Vec::new());
            }
            spans.push(Received { resource: Arc::clone(&one.resource), scope: Arc::clone(&one.scope), span });
        }
    }
    spans
}
