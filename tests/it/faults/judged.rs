//! What is judged anew, taken over, or cannot be judged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use debunk::config::{Config, Period};
use debunk::findings::{Judgement, Settings, judge};
use debunk::loops::Evaluate;
use debunk::model::{Span, TraceId};
use debunk::store::{Claims, Days, Writer, encode};
use debunk::telemetry::Metrics;
use debunk::{alert, clock};
use sqlx::Connection as _;
use tokio::task::JoinSet;

use super::{long, report};
use crate::alert::peer::{Peer, Receivers, Seen};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::load::Exporter;
use crate::support::process::Process;
use crate::support::traffic::{charged_twice, drawn};

const CLAIMED: &str = "select count(*) from pending where claim is not null and now() < leased_until";

async fn count(process: &Process, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&mut process.connect().await).await.unwrap()
}

/// An order that timed out although it took effect; its last span undoes it.
const UNDONE: &str = "
    |========================| web  server  POST /order  {http.response.status_code=504}
    | ==========x            |   web  client  POST inventory/reserve  {exception.type=ReadTimeout}
    |  ==================    |     inventory  server  POST /reserve
    |                 ==     |       inventory  db  UPDATE stock SET qty = qty - ?
    |                     == |   web  client  POST inventory/release/42";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_span_takes_back_what_was_told_and_each_change_has_one_id() {
    let late = if long() { 4 } else { 2 };
    let peer = Peer::start([]).await;
    let receivers = Receivers::of(&[("ops", &peer.url)]);
    let settings = "[traces]\nsettle_period = \"2s\"\n[findings]\ngate_high = 1\ngate_medium = 1\n";
    let mut process = Process::with(&format!("{}{settings}", receivers.settings));
    process.start().await;
    let mut exporter = Exporter::grpc(process.grpc);
    let mut slowest = Duration::ZERO;
    for trace in 1..=late {
        let before = peer.seen().len();
        let drawing = UNDONE.replace("web", &format!("web-{trace}"));
        let mut early = drawn(trace, &drawing);
        let mut release = early.clone();
        release.resource_spans.drain(..4);
        early.resource_spans.truncate(4);
        exporter.deliver(&early).await;
        eventually("it opens", async || before < peer.seen().len()).await;
        exporter.deliver(&release).await;
        let sent = Instant::now();
        eventually("it is taken back", async || before + 1 < peer.seen().len()).await;
        slowest = slowest.max(sent.elapsed());
        // Once more the same spans: nothing changes, and nobody is told.
        exporter.deliver(&early).await;
        let seen = peer.seen();
        assert_eq!(seen[before].event(), "finding.opened");
        let taken_back = &seen[before + 1];
        assert_eq!(taken_back.event(), "finding.resolved");
        assert_eq!(taken_back.json()["data"]["reason"], "retracted");
    }
    eventually("all is judged", async || count(&process, "select count(*) from pending").await == 0).await;
    let seen = peer.seen();
    let ids: BTreeSet<&str> = seen.iter().map(Seen::id).collect();
    assert_eq!((ids.len(), seen.len()), (2 * late as usize, 2 * late as usize));
    report(
        10,
        &format!(
            "{late} traces judged, then a late span of each that undoes what was found: {late} findings opened and \
             {late} retracted within {:.1} s, duplicate deliveries = {}",
            slowest.as_secs_f64(),
            seen.len() - ids.len()
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_slept_past_its_lease_writes_nothing_and_a_dead_one_is_replaced() {
    let peer = Peer::start([]).await;
    let receivers = Receivers::of(&[("ops", &peer.url)]);
    let settings = format!("{}[traces]\nquiet_period = \"3s\"\nlease = \"2s\"\n", receivers.settings);
    let mut sleeper = Process::with(&settings);
    sleeper.start().await;
    let mut other = sleeper.replica(&settings);

    // It has claimed the trace and waits for its spans; then it sleeps.
    Exporter::grpc(sleeper.grpc).deliver(&charged_twice(1, "checkout")).await;
    let mut holder = sleeper.connect().await;
    let lock = "begin; lock table spans in access exclusive mode";
    sqlx::raw_sql(lock).execute(&mut holder).await.unwrap();
    eventually("it is claimed", async || count(&sleeper, CLAIMED).await == 1).await;
    sleeper.signal("STOP");
    let asleep = Instant::now();
    holder.close().await.unwrap();
    other.start().await;
    eventually("the other one tells", async || !peer.seen().is_empty()).await;
    let taken_over = asleep.elapsed();
    sleeper.signal("CONT");
    let fenced = "debunk_evaluations_total{outcome=\"fenced\"}";
    eventually("its look is void", async || sleeper.metric(fenced).await == 1).await;
    assert_eq!(sleeper.metric("debunk_evaluations_total{outcome=\"ok\"}").await, 0);
    let told = "select count(*) from deliveries";
    assert_eq!((count(&other, told).await, count(&other, "select count(*) from findings").await), (1, 1));

    // The other way round: one has claimed and is killed.
    other.signal("STOP");
    Exporter::grpc(sleeper.grpc).deliver(&charged_twice(2, "orders")).await;
    let mut holder = sleeper.connect().await;
    sqlx::raw_sql(lock).execute(&mut holder).await.unwrap();
    eventually("it is claimed", async || count(&sleeper, CLAIMED).await == 1).await;
    sleeper.kill();
    let killed = Instant::now();
    other.signal("CONT");
    holder.close().await.unwrap();
    eventually("the other one tells", async || 1 < peer.seen().len()).await;
    let resumed = killed.elapsed();
    assert_eq!(count(&other, told).await, 2);
    let seen = peer.seen();
    let ids: BTreeSet<&str> = seen.iter().map(Seen::id).collect();
    assert_eq!((ids.len(), seen.len()), (2, 2));
    report(
        27,
        &format!(
            "lease 2 s; one paused past it, its look taken over and told after {:.1} s, fenced = 1 when it woke; one \
             killed, its look taken over and told after {:.1} s; duplicate deliveries = 0",
            taken_over.as_secs_f64(),
            resumed.as_secs_f64()
        ),
    );
}

/// What judges, with a mistake that one trace brings to light.
fn mistaken(trace_id: TraceId, spans: Vec<Span>, settings: Settings<'_>) -> Judgement {
    assert!(spans.iter().all(|span| span.name != "poison"), "a mistake that a fault run makes");
    judge(trace_id, spans, settings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_that_cannot_be_judged_is_set_aside_and_takes_no_other_with_it() {
    let database = Database::fresh().await;
    let (writer, work) = Writer::start(database.store.clone(), Metrics::new(), 64 << 20);
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    let days = Days::new(clock::now().date(), Duration::from_hours(7 * 24));
    let send = async |trace: u128, first: &str| {
        let drawing = format!("|=====| shop  server  GET /cart\n| ==  |   shop  local  {first}\n");
        writer.write(encode(drawn(trace, &drawing).resource_spans, &days)).await.unwrap();
    };
    for trace in 1..=40 {
        send(trace, if trace == 7 { "poison" } else { "work" }).await;
    }
    let mut config = Config::default();
    config.traces.quiet_period = Period(Duration::ZERO);
    config.traces.lease = Period(Duration::from_millis(100));
    // Processes that died with their claims: all of them are doubtful, and none is judged less for it.
    let claims = Claims {
        quiet: Duration::ZERO,
        max_wait: Duration::from_mins(5),
        lease: Duration::from_millis(1),
        limit: 32,
    };
    assert_eq!(database.store.claim(&claims).await.unwrap().len(), 32);
    let receivers = alert::Receivers::open(&[], "http://127.0.0.1:4320").unwrap();
    let metrics = Metrics::new();
    let evaluate = Evaluate::new(
        database.store.clone(),
        Arc::new(config),
        Arc::new(receivers),
        metrics.clone(),
        mistaken,
    );
    let mut judged = Duration::ZERO;
    let begun = Instant::now();
    let count = async |query: &'static str| -> i64 {
        sqlx::query_scalar(query).fetch_one(&database.pool).await.unwrap()
    };
    eventually("nothing waits", async || {
        evaluate.step().await.unwrap();
        if judged.is_zero() && count("select count(*) from traces").await == 39 {
            judged = begun.elapsed();
        }
        count("select count(*) from pending").await == 0
    })
    .await;
    assert_eq!(count("select count(*) from traces").await, 39);
    let text = metrics.expose();
    let counted = |outcome: &str, count: u32| {
        text.contains(&format!("debunk_evaluations_total{{outcome=\"{outcome}\"}} {count}\n"))
    };
    // One of its five tries was lost with the process that died.
    assert!(counted("failed", 4) && counted("quarantined", 1) && counted("ok", 39), "{text}");
    // A new span of it, and it is looked at again.
    send(7, "more").await;
    assert_eq!(count("select count(*) from pending where attempts = 0").await, 1);
    report(
        26,
        &format!(
            "1 of 40 traces panics whatever judges it, after a process died with 32 of them claimed: 39 judged within \
             {:.1} s, failed looks counted 4, set aside 1, looked at again once new spans of it came",
            judged.as_secs_f64()
        ),
    );
}
