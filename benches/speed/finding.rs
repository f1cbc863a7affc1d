//! How soon what was found in a trace is on record after its last span, at half of what the whole can do, and how
//! fast `/livez` answers while large traces are judged. Both of a real process on a private PostgreSQL.

use std::time::{Duration, Instant};

use debunk::model::TraceId;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use sqlx::PgConnection;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::process::Process;
use crate::{judge, traffic};

/// Spans that are sent at once, to see what the whole can do.
const RUSH: usize = 60_000;
/// How long half of that is sent.
const LONG: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_mins(10);
/// As the process is told.
const QUIET: Duration = Duration::from_secs(1);
/// Spans of a large trace, and how many of these.
const LARGE: usize = 10_000;
const TRACES: usize = 5;
const GLANCES: usize = 400;

pub(crate) async fn run() {
    let mut process = Process::new();
    process.start().await;
    let mut database = process.connect().await;
    let url = format!("http://{}/v1/traces", process.http);
    let capacity = rush(RUSH, &url, &mut database).await;
    let (p50, p99, traces) = at(capacity / 2.0, &url, &mut database).await;
    println!(
        "finding: {capacity:.0} spans/s accepted and judged; at half of it {traces} traces were judged {p50:.0} ms \
         (p50) and {p99:.0} ms (p99) after the quiet period"
    );
    let idle = glances(&process, GLANCES).await;
    let busy = while_judging(&process, &url, &mut database).await;
    println!(
        "livez: p50 {:.1} ms, p99 {:.1} ms idle; p50 {:.1} ms, p99 {:.1} ms while {TRACES} traces of {LARGE} spans are \
         judged ({} answers)",
        share(&idle, 50),
        share(&idle, 99),
        share(&busy, 50),
        share(&busy, 99),
        busy.len()
    );
}

/// Spans a second that are accepted and judged when all are sent at once.
pub(crate) async fn rush(spans: usize, url: &str, database: &mut PgConnection) -> f64 {
    let begun = Instant::now();
    let mut sent = 0;
    for stamp in traffic::protobuf().iter().cycle() {
        if spans <= sent {
            break;
        }
        post(url, stamp.fresh()).await;
        sent += stamp.spans;
    }
    judged(database).await;
    sent as f64 / begun.elapsed().saturating_sub(QUIET).as_secs_f64()
}

/// Milliseconds from the end of the quiet period to the judgement, and the number of traces.
async fn at(rate: f64, url: &str, database: &mut PgConnection) -> (f64, f64, i64) {
    let stamps = traffic::protobuf();
    let spans = stamps.iter().map(|stamp| stamp.spans).sum::<usize>() as f64 / stamps.len() as f64;
    let mut ticks = interval(Duration::from_secs_f64(spans / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let since: time::OffsetDateTime =
        sqlx::query_scalar("select now()").fetch_one(&mut *database).await.unwrap();
    let begun = Instant::now();
    for stamp in stamps.iter().cycle() {
        if LONG < begun.elapsed() {
            break;
        }
        ticks.tick().await;
        post(url, stamp.fresh()).await;
    }
    judged(database).await;
    let query = "select
            percentile_disc(0.5) within group (order by waited) * 1000.0,
            percentile_disc(0.99) within group (order by waited) * 1000.0,
            count(*)
        from (
            select extract(epoch from evaluated_at - received_at)::double precision - $2 as waited
            from traces
            where received_at >= $1
        ) w";
    sqlx::query_as(query).bind(since).bind(QUIET.as_secs_f64()).fetch_one(database).await.unwrap()
}

/// Waits until every trace had its first look.
pub(crate) async fn judged(database: &mut PgConnection) {
    let begun = Instant::now();
    let query = "select count(*) from pending where not_before = '-infinity'";
    while 0_i64 < sqlx::query_scalar(query).fetch_one(&mut *database).await.unwrap() {
        assert!(begun.elapsed() < PATIENCE, "traces are not judged");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn while_judging(process: &Process, url: &str, database: &mut PgConnection) -> Vec<Duration> {
    let recorded = traffic::recorded();
    for _ in 0..TRACES {
        let spans = judge::trace(&recorded, TraceId(rand::random::<u128>() | 1), LARGE);
        for some in spans.chunks(2_000) {
            let request = ExportTraceServiceRequest { resource_spans: traffic::nest(some.to_vec()) };
            post(url, request.encode_to_vec()).await;
        }
    }
    // They are due when the quiet period is over.
    sleep(QUIET).await;
    let mut waits = Vec::new();
    tokio::select! {
        () = judged(database) => {}
        () = async { loop { waits.extend(glances(process, 1).await); } } => {}
    }
    waits
}

async fn glances(process: &Process, count: usize) -> Vec<Duration> {
    let (client, url) = (crate::client(), format!("http://{}/livez", process.web));
    let mut waits = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
        waits.push(begun.elapsed());
    }
    waits
}

/// The wait that so many of a hundred do not exceed, in milliseconds.
pub(crate) fn share(waits: &[Duration], percent: usize) -> f64 {
    let mut waits = waits.to_vec();
    waits.sort_unstable();
    waits[(waits.len() * percent / 100).min(waits.len() - 1)].as_secs_f64() * 1e3
}

pub(crate) async fn post(url: &str, body: Vec<u8>) {
    let request = crate::client().post(url).header("content-type", "application/x-protobuf").body(body);
    assert_eq!(request.send().await.unwrap().status(), 200);
}
