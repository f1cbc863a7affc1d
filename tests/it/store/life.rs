//! Time and new evidence move findings. Hours and days are data here: rows are made older, and the store is told what
//! time it is.

use std::time::Duration;

use debunk::clock;
use debunk::findings::Judged;
use debunk::rules::{Confidence, Severity};
use time::OffsetDateTime;

use super::judge::{Judging, found, tell};

const DAY: Duration = Duration::from_hours(24);
const KEPT: Duration = Duration::from_hours(90 * 24);

const STORY: &str = "select status || ' ' || reopened || ' ' || (resolved_at is not null) from findings";
const TOLD: &str = "select transition || ' ' || event from deliveries order by transition";

/// A finding that is open, confirmed by one trace.
async fn open(trace: u8) -> Judging {
    let judging = Judging::start().await;
    judging.store(&[trace], 1).await;
    judging.judge(|_| vec![found(1, Confidence::Confirmed)]).await;
    judging
}

fn later(by: Duration) -> OffsetDateTime {
    clock::now() + by
}

async fn serve(judging: &Judging, units: i64, operation: &str, environment: &str) {
    let add = "insert into units (day, trace_id, span_id, received_at, duration_ns, root, orphan, kind, outcome, \
               environment, service, operation) \
               select current_date, gen_random_uuid(), n, now(), 1, true, false, 'server', 'ok', $2, 'shop', $3 \
               from generate_series(1, $1::bigint) n";
    let add = sqlx::query(add).bind(units).bind(environment).bind(operation);
    add.execute(&judging.database.pool).await.unwrap();
}

async fn resolve(judging: &Judging, now: OffsetDateTime) -> usize {
    judging.database.store.resolve_quiet_findings(now, DAY, &tell).await.unwrap()
}

#[tokio::test]
async fn silence_resolves_only_what_was_at_work() {
    let judging = open(1).await;
    serve(&judging, 19, "GET /cart", "production").await;
    serve(&judging, 50, "GET /home", "production").await;
    serve(&judging, 50, "GET /cart", "staging").await;
    assert_eq!(resolve(&judging, later(DAY)).await, 0, "no traffic proves nothing");
    serve(&judging, 1, "GET /cart", "production").await;
    assert_eq!(resolve(&judging, later(Duration::from_hours(23))).await, 0, "not quiet for long enough");
    assert_eq!(resolve(&judging, later(DAY)).await, 1);
    assert_eq!(resolve(&judging, later(DAY)).await, 0);
    assert_eq!(judging.text(STORY).await, ["resolved 0 true"]);
    let told = judging.text("select payload from deliveries order by transition").await;
    assert_eq!(told, ["finding.opened 1 example=6 calls", "finding.resolved 1 example=6 calls"]);
}

#[tokio::test]
async fn several_replicas_resolve_once() {
    let judging = open(1).await;
    serve(&judging, 20, "GET /cart", "production").await;
    let now = later(DAY);
    let passes = futures::future::join_all((0..4).map(|_| resolve(&judging, now))).await;
    assert_eq!(passes.iter().sum::<usize>(), 1, "{passes:?}");
    assert_eq!(judging.text(TOLD).await, ["1 finding.opened", "2 finding.resolved"]);
}

#[tokio::test]
async fn only_a_trace_received_afterwards_reopens() {
    let judging = open(1).await;
    judging.store(&[2], 1).await;
    serve(&judging, 20, "GET /cart", "production").await;
    assert_eq!(resolve(&judging, later(DAY)).await, 1);
    // Received before it was resolved, judged after.
    judging.judge(|_| vec![found(1, Confidence::Confirmed)]).await;
    assert_eq!(judging.text(STORY).await, ["resolved 0 true"]);

    sqlx::query("update findings set resolved_at = now()").execute(&judging.database.pool).await.unwrap();
    judging.store(&[3], 1).await;
    judging.judge(|_| vec![found(1, Confidence::Medium)]).await;
    assert_eq!(judging.text(STORY).await, ["open 1 false"]);
    let rows = judging.findings().await;
    judging.again().await;
    judging.judge(|_| vec![found(1, Confidence::Medium)]).await;
    assert_eq!(judging.text(TOLD).await, ["1 finding.opened", "2 finding.resolved", "3 finding.reopened"]);
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn what_two_traces_show_to_be_worse_is_told_once() {
    let judging = open(1).await;
    let worse = |trace: u8| {
        let severity = if trace == 1 { Severity::High } else { Severity::Critical };
        vec![Judged { severity, ..found(1, Confidence::Confirmed) }]
    };
    judging.store(&[2], 1).await;
    for _ in 0..3 {
        judging.judge(worse).await;
        judging.again().await;
    }
    assert_eq!(judging.text(TOLD).await, ["1 finding.opened"], "one trace, however often it is judged");
    judging.store(&[3], 1).await;
    judging.judge(worse).await;
    let rows = judging.findings().await;
    for _ in 0..2 {
        judging.again().await;
        judging.judge(worse).await;
        assert_eq!(judging.findings().await, rows);
    }
    assert_eq!(judging.text(TOLD).await, ["1 finding.opened", "2 finding.escalated"]);
}

#[tokio::test]
async fn candidates_and_resolved_findings_are_forgotten_and_open_ones_stay() {
    let judging = open(1).await;
    judging.store(&[2], 1).await;
    judging.judge(|_| vec![found(2, Confidence::Medium)]).await;
    judging.store(&[3], 1).await;
    judging.judge(|_| vec![found(3, Confidence::Confirmed)]).await;
    let resolve = "update findings set status = 'resolved', resolved_at = now() where fingerprint = 3";
    sqlx::query(resolve).execute(&judging.database.pool).await.unwrap();

    let store = &judging.database.store;
    assert_eq!(store.forget_findings(later(6 * DAY), KEPT).await.unwrap(), 0);
    assert_eq!(store.forget_findings(later(7 * DAY), KEPT).await.unwrap(), 1);
    assert_eq!(store.forget_findings(later(90 * DAY), KEPT).await.unwrap(), 1);
    assert_eq!(store.forget_findings(later(900 * DAY), KEPT).await.unwrap(), 0);
    let left = "select fingerprint || ' ' || status from findings";
    assert_eq!(judging.text(left).await, ["1 open"]);
    assert_eq!(judging.count("select count(*) from finding_hours").await, 1);
}

#[tokio::test]
async fn a_forgotten_finding_that_comes_back_starts_anew_and_is_told_again() {
    let judging = open(1).await;
    judging.again().await;
    judging.judge(|_| vec![found(1, Confidence::Medium)]).await;
    assert_eq!(judging.text(TOLD).await, ["1 finding.opened", "2 finding.resolved"]);
    assert_eq!(judging.database.store.forget_findings(later(7 * DAY), KEPT).await.unwrap(), 1);

    judging.again().await;
    judging.judge(|_| vec![found(1, Confidence::Confirmed)]).await;
    assert_eq!(judging.status().await, "open 1");
    let told = ["1 finding.opened", "2 finding.resolved", "3 finding.opened"];
    assert_eq!(judging.text(TOLD).await, told);
}
