//! The same spans again, other spans under their ids, spans in any order, and clocks that are wrong.

use std::collections::BTreeMap;

use debunk::rules::RULES;
use debunk::sketch;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use rand::seq::SliceRandom as _;
use sqlx::PgConnection;

use super::shapes::{SETTLES, export, judged, of_received, span};
use super::{long, report};
use crate::support::process::Process;
use crate::support::transport::{Answer, Packing, TRANSPORTS, Transport};

/// Every drawing on every rule's page, each as a trace of its own.
fn drawn(first: u128) -> Vec<(u128, ExportTraceServiceRequest)> {
    let texts = RULES.iter().flat_map(|rule| sketch::drawings(&rule.page()));
    let requests = (first..).zip(texts).map(|(trace, (_, text))| {
        let spans = sketch::parse(&text).unwrap().spans;
        let mut request = of_received(spans);
        for span in spans_of(&mut request) {
            span.trace_id = trace.to_be_bytes().to_vec();
        }
        (trace, request)
    });
    requests.collect()
}

fn spans_of(request: &mut ExportTraceServiceRequest) -> impl Iterator<Item = &mut Span> {
    request.resource_spans.iter_mut().flat_map(|one| &mut one.scope_spans).flat_map(|one| &mut one.spans)
}

/// All that judging has written, as text.
async fn conclusions(connection: &mut PgConnection) -> String {
    let query = "select concat_ws(E'\\n',
            (select json_agg(to_json(f) order by to_json(f)::text)::text from findings f),
            (select json_agg(to_json(o) order by to_json(o)::text)::text from occurrences o),
            (select json_agg(to_json(h) order by to_json(h)::text)::text from finding_hours h),
            (select count(*)::text from pending))";
    sqlx::query_scalar(query).fetch_one(connection).await.unwrap()
}

async fn rows(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from spans").fetch_one(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_spans_a_thousand_times_change_nothing() {
    let mut process = Process::with(SETTLES);
    process.start().await;
    let mut connection = process.connect().await;
    let traces = drawn(1);
    for (trace, request) in &traces {
        assert_eq!(Transport::Grpc.export(&process, request).await, Answer::Accepted);
        judged(&mut connection, *trace).await;
    }
    for (trace, _) in &traces {
        judged(&mut connection, *trace).await;
    }
    let (stored, before) = (rows(&mut connection).await, conclusions(&mut connection).await);
    assert!(before.contains("retry_non_idempotent"), "{before}");

    // A thousand times within one request, which one statement inserts.
    for (trace, request) in traces.iter().step_by(5) {
        let mut request = request.clone();
        request.resource_spans = vec![request.resource_spans; 1_000].concat();
        let transport = TRANSPORTS[*trace as usize % 2];
        assert_eq!(transport.export(&process, &request).await, Answer::Accepted, "{transport:?}");
    }
    // And again and again, by turns over each transport.
    let times = if long() { 1_000 } else { 20 };
    for time in 0..times {
        let mut all = ExportTraceServiceRequest::default();
        for (_, request) in &traces {
            all.resource_spans.extend(request.resource_spans.iter().cloned());
        }
        let transport = TRANSPORTS[time % 3];
        assert_eq!(transport.export(&process, &all).await, Answer::Accepted, "{transport:?}");
    }
    let after = conclusions(&mut connection).await;
    let again = process.metric("debunk_spans_total{outcome=\"duplicate\"}").await;
    let added = rows(&mut connection).await - stored;
    report(
        7,
        &format!(
            "{stored} spans sent 1,000 times within a request and in {times} more: {again} repetitions counted, \
             {added} rows added, findings {}",
            if after == before { "as they were, byte for byte" } else { "changed" }
        ),
    );
    assert_eq!(added, 0);
    assert_eq!(after, before);
    assert!(times as u64 * stored as u64 <= again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_content_under_one_id_is_a_second_row_and_costs_its_neighbours_nothing() {
    let mut process = Process::with(SETTLES);
    process.start().await;
    let mut connection = process.connect().await;
    for (trace, transport) in (1..).zip(TRANSPORTS) {
        let first = span(trace, 7, 1);
        let second = Span { end_time_unix_nano: first.end_time_unix_nano + 1, kind: 3, ..first.clone() };
        // Both in one request, each twice, between spans that are right.
        let sent = vec![
            span(trace, 1, 0),
            first.clone(),
            second.clone(),
            first.clone(),
            span(trace, 2, 1),
            second.clone(),
        ];
        for spans in [sent, vec![first], vec![second, span(trace, 3, 1)]] {
            let answer = transport.export(&process, &export("again", spans)).await;
            assert_eq!(answer, Answer::Accepted, "{transport:?}");
        }
        judged(&mut connection, trace).await;
        let (status, body) = process.get(&format!("/api/v1/traces/{trace:032x}")).await;
        assert_eq!(status, 200, "{body}");
        assert!(body.contains("one id"), "{body}");
    }
    let query = "select count(*) filter (where span_id = 7), count(*) from spans";
    let (same, all): (i64, i64) = sqlx::query_as(query).fetch_one(&mut connection).await.unwrap();
    report(
        8,
        &format!("two contents of one id over each transport, each again: {same} rows of them, {all} in all"),
    );
    assert_eq!((same, all), (6, 15));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_in_any_order_over_many_exports_show_the_same() {
    let mut process = Process::with(SETTLES);
    process.start().await;
    let mut connection = process.connect().await;
    let (in_order, scattered) = (drawn(1), drawn(1_001));
    for (_, request) in &in_order {
        assert_eq!(Transport::Grpc.export(&process, request).await, Answer::Accepted);
    }
    // One span an export, children before parents at first, then in no order at all, by turns over all ways in.
    let mut single = Vec::new();
    for (_, request) in &scattered {
        for of_resource in request.resource_spans.iter().rev() {
            single.push(ExportTraceServiceRequest { resource_spans: vec![of_resource.clone()] });
        }
    }
    single[..].shuffle(&mut rand::rng());
    let exports = single.len();
    for (number, request) in single.iter().enumerate() {
        assert_eq!(TRANSPORTS[number % 3].export(&process, request).await, Answer::Accepted);
    }
    let mut found = 0;
    for ((one, _), (other, _)) in in_order.iter().zip(&scattered) {
        judged(&mut connection, *one).await;
        judged(&mut connection, *other).await;
        let (one, other) = (shown(&mut connection, *one).await, shown(&mut connection, *other).await);
        assert_eq!(one, other);
        found += one.len();
    }
    report(
        9,
        &format!(
            "{} traces in order and again as {exports} exports of one span, shuffled: the same {found} occurrences",
            in_order.len()
        ),
    );
    assert!(RULES.len() <= found, "{found}");
}

/// What was found in a trace, without its id and the time of receipt.
async fn shown(connection: &mut PgConnection, trace: u128) -> Vec<String> {
    let query = "select (to_jsonb(o) - 'day' - 'trace_id' - 'seen_at')::text from occurrences o \
         where trace_id = $1 order by 1";
    sqlx::query_scalar(query).bind(uuid::Uuid::from_u128(trace)).fetch_all(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_clocks_are_stored_as_they_are_and_make_no_partition() {
    const HOUR: u64 = 3_600_000_000_000;
    let mut process = Process::with(SETTLES);
    process.start().await;
    let mut connection = process.connect().await;
    let now = debunk::clock::now().unix_timestamp_nanos() as u64;
    let partitions = "select count(*) from pg_inherits where inhparent = 'spans'::regclass";
    let before: i64 = sqlx::query_scalar(partitions).fetch_one(&mut connection).await.unwrap();
    let times = [
        (0, 0),
        (0, now),
        (1, 2),
        (now, now - HOUR),
        (now - HOUR, now + HOUR),
        (now + 1_000_000_000, now + 1_000_000_001),
        (now + 24 * 365 * HOUR, now + 24 * 365 * HOUR),
        (i64::MAX as u64, u64::MAX),
        (u64::MAX, 0),
        (u64::MAX, u64::MAX),
    ];
    let mut expected = BTreeMap::new();
    for (trace, transport) in (1..).zip(TRANSPORTS) {
        let spans = (1..).zip(times).map(|(id, (start, end))| Span {
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            ..span(trace, id, id / 2)
        });
        let answer = transport.export(&process, &export("clocks", spans.collect())).await;
        assert_eq!(answer, Answer::Accepted, "{transport:?}");
        judged(&mut connection, trace).await;
        let (status, body) = process.get(&format!("/api/v1/traces/{trace:032x}")).await;
        assert_eq!(status, 200, "{body}");
        let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(shown["span_count"], times.len());
        for span in shown["spans"].as_array().unwrap() {
            assert!(0.0 <= span["duration_ms"].as_f64().unwrap(), "{span}");
        }
        assert!(body.contains("ended before it started"), "{body}");
        expected.insert(trace, times.map(|(start, end)| (start, end.wrapping_sub(start))));
    }
    for (trace, times) in expected {
        let query = "select start_ns, duration_ns from spans where trace_id = $1 order by span_id";
        let stored: Vec<(i64, i64)> = sqlx::query_as(query)
            .bind(uuid::Uuid::from_u128(trace))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        assert_eq!(stored, times.map(|(start, long)| (start as i64, long as i64)));
    }
    let negative = "select count(*) from units where duration_ns < 0";
    let negative: i64 = sqlx::query_scalar(negative).fetch_one(&mut connection).await.unwrap();
    let after: i64 = sqlx::query_scalar(partitions).fetch_one(&mut connection).await.unwrap();
    report(
        11,
        &format!(
            "{} pairs of times from 0 to the last nanosecond over each transport: stored as sent, {negative} units \
             with negative time, {} partitions made",
            times.len(),
            after - before
        ),
    );
    assert_eq!((negative, after), (0, before));
    assert_eq!(process.said("panicked"), 0);
    let gzip = TRANSPORTS[0].send(&process, Vec::new(), Packing::Gzip).await;
    assert_eq!(gzip, Answer::Accepted);
}
