//! Traces of hostile size and shape: taken up to their bound, judged in time, and shown.

use std::time::{Duration, Instant};

use debunk::model::Received;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use sqlx::PgConnection;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{long, report};
use crate::support::process::Process;
use crate::support::traffic::{self, text};
use crate::support::transport::{Answer, Doors, PATIENCE, TRANSPORTS, Transport};

/// Settings under which a trace is looked at for the last time soon.
pub(super) const SETTLES: &str = "[traces]\nsettle_period = \"1s\"\n";

/// A span of a trace; parent 0 is none.
pub(super) fn span(trace: u128, id: u64, parent: u64) -> Span {
    let start = 1_700_000_000_000_000_000 + id % 1_000_000 * 1_000;
    Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: if parent == 0 { Vec::new() } else { parent.to_be_bytes().to_vec() },
        name: "GET /item".to_owned(),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 500_000,
        attributes: vec![text("http.request.method", "GET")],
        ..Span::default()
    }
}

/// An export of one service.
pub(super) fn export(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource { attributes: vec![text("service.name", service)], ..Resource::default() };
    ExportTraceServiceRequest { resource_spans: vec![of_resource(resource, spans)] }
}

fn of_resource(resource: Resource, spans: Vec<Span>) -> ResourceSpans {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }
}

/// Drawn spans as an export.
pub(super) fn of_received(spans: Vec<Received>) -> ExportTraceServiceRequest {
    let one = |one: Received| of_resource((*one.resource).clone(), vec![one.span]);
    ExportTraceServiceRequest { resource_spans: spans.into_iter().map(one).collect() }
}

/// Waits until nothing more is to be said about a trace.
pub(super) async fn judged(connection: &mut PgConnection, trace: u128) {
    let begun = Instant::now();
    let query = "select exists (select from traces where trace_id = $1) \
         and not exists (select from pending where trace_id = $1)";
    while !sqlx::query_scalar::<_, bool>(query)
        .bind(Uuid::from_u128(trace))
        .fetch_one(&mut *connection)
        .await
        .unwrap()
    {
        assert!(begun.elapsed() < PATIENCE, "trace {trace:032x} is not judged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn stored(connection: &mut PgConnection, trace: u128) -> u64 {
    let query = "select count(*) from spans where trace_id = $1";
    let count: i64 =
        sqlx::query_scalar(query).bind(Uuid::from_u128(trace)).fetch_one(connection).await.unwrap();
    count as u64
}

/// Asks for the page and the JSON of a trace; the slower of both, and the JSON.
async fn shown(process: &Process, trace: u128) -> (Duration, serde_json::Value) {
    let begun = Instant::now();
    let (status, page) = process.get(&format!("/traces/{trace:032x}")).await;
    let page_took = begun.elapsed();
    assert_eq!(status, 200, "{page}");
    // Paged: it does not grow with the trace.
    assert!(page.len() < 4 << 20, "{} bytes", page.len());
    let begun = Instant::now();
    let (status, body) = process.get(&format!("/api/v1/traces/{trace:032x}")).await;
    assert_eq!(status, 200, "{body}");
    (page_took.max(begun.elapsed()), serde_json::from_str(&body).unwrap())
}

fn defects(shown: &serde_json::Value) -> String {
    shown["defects"].to_string()
}

/// Spans that were accepted out of so many.
fn accepted(answer: &Answer, sent: u64) -> u64 {
    match answer {
        Answer::Accepted => sent,
        Answer::Partial { rejected, .. } => sent - *rejected as u64,
        other => panic!("{other:?}"),
    }
}

/// Seconds that judging took so far.
async fn judging(process: &Process) -> f64 {
    let (_, metrics) = process.get("/metrics").await;
    let sum = metrics.lines().find_map(|line| line.strip_prefix("debunk_evaluation_duration_seconds_sum "));
    sum.unwrap().parse().unwrap()
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_without_end_is_taken_to_its_bound_judged_and_shown() {
    const TRACE: u128 = 0xb16;
    const EACH: u64 = 5_000;
    let (sent, most) = if long() { (1_000_000, 50_000) } else { (20_000, 12_000) };
    let mut process = Process::with(&format!("[otlp]\nmax_spans_per_trace = {most}\n"));
    process.start().await;
    let mut connection = process.connect().await;
    let before = process.peak_memory();
    let mut taken = 0;
    for (number, first) in (0..sent).step_by(EACH as usize).enumerate() {
        let spans = (first + 1..=first + EACH).map(|id| span(TRACE, id, u64::from(1 < id))).collect();
        let answer = TRANSPORTS[number % 2].export(&process, &export("endless", spans)).await;
        taken += accepted(&answer, EACH);
    }
    assert_eq!((taken, stored(&mut connection, TRACE).await), (most, most));
    judged(&mut connection, TRACE).await;
    let evaluated = judging(&process).await;
    let (took, trace) = shown(&process, TRACE).await;
    let peak = process.peak_memory();
    report(
        17,
        &format!(
            "a trace of {sent} spans: {taken} taken, the others rejected; judged in {evaluated:.2} s, page in {:.2} s, \
             RSS {} MiB before, {} MiB at most",
            took.as_secs_f64(),
            mib(before),
            mib(peak)
        ),
    );
    let defects = defects(&trace);
    assert!(
        defects.contains("full: ") && defects.contains(&format!("{} spans above", most - 10_000)),
        "{defects}"
    );
    assert_eq!((&trace["complete"], &trace["span_count"]), (&false.into(), &10_000.into()));
    let rejected = process.metric("debunk_rejections_total{reason=\"trace_too_large\"}").await;
    assert_eq!(rejected, sent - most);
    assert!(peak < before + (256 << 20), "{} MiB", mib(peak));
}

/// (what it is, the parent of each span)
type Shape = (&'static str, fn(u64) -> u64);

const SHAPES: &[Shape] = &[
    ("a chain", |id| id - 1),
    // Of a thousand spans each, so that whole ones are among the spans that are judged.
    ("cycles", |id| if id % 1_000 == 1 { id + 999 } else { id - 1 }),
    ("self-parents", |id| id),
    ("roots", |_| 0),
    ("orphans", |id| id + 1_000_000),
    ("a star", |id| u64::from(1 < id)),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_of_every_shape_are_judged_and_shown() {
    let count = if long() { 100_000 } else { 3_000 };
    let mut process = Process::with(SETTLES);
    process.start().await;
    let mut connection = process.connect().await;
    let mut told = Vec::new();
    for (trace, (what, parent)) in (1..).zip(SHAPES) {
        let before = judging(&process).await;
        let mut taken = 0;
        for first in (0..count).step_by(1_000) {
            let ids = first + 1..=first + 1_000;
            let spans = ids.map(|id| span(trace, id, parent(id))).collect();
            let answer = TRANSPORTS[first as usize / 1_000 % 2].export(&process, &export("odd", spans)).await;
            taken += accepted(&answer, 1_000);
        }
        assert_eq!(taken, count.min(50_000));
        judged(&mut connection, trace).await;
        let took = judging(&process).await - before;
        let (page, shown) = shown(&process, trace).await;
        assert_eq!(shown["span_count"], taken.min(10_000), "{what}");
        told.push(format!("{what} {took:.2} s, page {:.2} s", page.as_secs_f64()));
    }
    report(17, &format!("{count} spans each, judged and shown: {}", told.join("; ")));
    for (trace, defect) in [(2, "cycle"), (3, "cycle"), (5, "orphan")] {
        let (_, shown) = shown(&process, trace).await;
        assert!(defects(&shown).contains(defect), "{}", defects(&shown));
    }
    assert_eq!(process.said("panicked"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_id_for_everything_is_bounded_and_spares_other_traces() {
    const TRACE: u128 = 0x00dd_ba11;
    let (most, rounds) = if long() { (50_000, 200) } else { (2_000, 10) };
    let mut process = Process::with(&format!("[otlp]\nmax_spans_per_trace = {most}\n"));
    process.start().await;
    let mut connection = process.connect().await;
    let doors = Doors::from(&process);
    let mut tasks = JoinSet::new();
    for sender in 0..4 {
        tasks.spawn(async move {
            let (mut taken, mut others) = (0, 0);
            for round in 0..rounds {
                let spans = (0..200).map(|_| span(TRACE, rand::random::<u64>() | 1, 0)).collect();
                let transport = TRANSPORTS[(sender + round) % 3];
                taken += accepted(&transport.export(doors, &export("everything", spans)).await, 200);
                let (own, keys) = traffic::request(50);
                assert_eq!(Transport::Grpc.export(doors, &own).await, Answer::Accepted);
                others += keys.len() as u64;
            }
            (taken, others)
        });
    }
    let (mut taken, mut others) = (0, 0);
    for (of_trace, of_others) in tasks.join_all().await {
        taken += of_trace;
        others += of_others;
    }
    let kept = stored(&mut connection, TRACE).await;
    let all: i64 = sqlx::query_scalar("select count(*) from spans").fetch_one(&mut connection).await.unwrap();
    judged(&mut connection, TRACE).await;
    let (_, shown) = shown(&process, TRACE).await;
    report(
        18,
        &format!(
            "{} spans of one trace by 4 senders: {kept} stored where {most} are allowed, {} of {others} of other traces",
            4 * rounds * 200,
            all as u64 - kept
        ),
    );
    assert_eq!(kept, taken);
    // Never less than it may have; more by what was in flight at once.
    assert!((most..=most + 4 * 200).contains(&kept), "{kept}");
    assert_eq!(all as u64 - kept, others);
    assert!(defects(&shown).contains("full: "), "{}", defects(&shown));
    let (_, status) = process.get("/api/v1/status").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let clients = status["clients"].as_array().unwrap();
    assert_eq!(clients.len(), 1, "{status}");
    assert_eq!(clients[0]["stored_spans"].as_i64(), Some(all));
    assert_eq!(clients[0]["rejected_spans"].as_u64(), Some(4 * rounds as u64 * 200 - taken));
}
