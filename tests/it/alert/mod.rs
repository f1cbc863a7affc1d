//! From a change to a receiver that has heard of it: signed, in order, at least once, and never inwards.

mod alertmanager;
mod formats;
mod pace;
mod page;
pub(crate) mod peer;
mod told;

use std::io::Write as _;
use std::time::{Duration, Instant};

use debunk::alert::{Receiver, Receivers};
use debunk::config;
use debunk::findings::life::{Event, Gate, Status};
use debunk::findings::shape::{Claim, Cost, Finding, Handling};
use debunk::findings::{Fingerprint, Judged, Judgement, Summary};
use debunk::loops::{Deliver, Progress, Schedule};
use debunk::model::{SpanId, TraceId};
use debunk::rules::{Confidence, Fallacy, Severity};
use debunk::store::{Allowance, Change, Claims, Example, Finished, Policy, Tried};
use debunk::telemetry::Metrics;
use time::OffsetDateTime;
use uuid::Uuid;

use self::peer::{Peer, Reply, SECRET, Seen};
use crate::support::database::Database;

fn settings(url: &str, more: &str) -> (config::Receiver, tempfile::NamedTempFile) {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    writeln!(secret, "{SECRET}").unwrap();
    let path = secret.path();
    let text = format!("name = \"ops\"\nurl = \"{url}\"\nsecret_file = \"{}\"\n{more}", path.display());
    (toml::from_str(&text).unwrap(), secret)
}

fn receivers(url: &str) -> Receivers {
    let more = "allow_private = true\ntimeout = \"500ms\"\nmax_per_minute = 1000";
    let (settings, _secret) = settings(url, more);
    Receivers::open(&[settings], "http://127.0.0.1:4320").unwrap()
}

fn only(receivers: &Receivers) -> Receiver {
    receivers.iter().next().unwrap().clone()
}

const PACE: Allowance = Allowance { at_once: 4, per_minute: 1_000 };

/// Real pauses, but short.
fn quick() -> Schedule {
    Schedule { waits: vec![Duration::from_millis(20); 4], jitter: 0.2 }
}

fn change(fingerprint: i64, event: Event) -> Change {
    let at = OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
    let status = if event == Event::Opened { Status::Open } else { Status::Candidate };
    let claim = Claim {
        id: format!("{fingerprint:016x}"),
        rule: "n_plus_one".to_owned(),
        fallacy: Fallacy::TransportCostIsZero,
        variant: "sequential".to_owned(),
        status,
        handling: Handling::None,
        severity: Severity::High,
        confidence: Confidence::High,
        environment: "production".to_owned(),
        service: "shop".to_owned(),
        operation: "GET /cart".to_owned(),
        callee: Some("redis".to_owned()),
        headline: "one call per item".to_owned(),
        cost: Cost::default(),
    };
    Change {
        event,
        at,
        finding: Finding {
            claim,
            occurrences: 2,
            occurrences_24h: 2,
            first_seen: at,
            last_seen: at,
            opened_at: Some(at),
            resolved_at: None,
            reopened: 0,
            muted_until: None,
            url: String::new(),
        },
        told: Severity::High,
        previous: Some((Status::Candidate, Severity::High)),
        example: Some(Example { trace_id: TraceId(7), why: "10 items, one call each".to_owned() }),
    }
}

/// Puts a change into the outbox, as the transaction that makes the change does.
async fn enqueue(database: &Database, receivers: &Receivers, change: &Change, transition: i32) -> Uuid {
    let [delivery] = receivers.deliveries(change).try_into().unwrap();
    let id = Uuid::now_v7();
    let fingerprint = i64::from_str_radix(&change.finding.claim.id, 16).unwrap();
    sqlx::query(
        "insert into deliveries (id, receiver, event, fingerprint, transition, payload, next_attempt_at, created_at)
         values ($1, $2, $3, $4, $5, $6, now(), now())",
    )
    .bind(id)
    .bind(delivery.receiver)
    .bind(change.event.id())
    .bind(fingerprint)
    .bind(transition)
    .bind(delivery.payload)
    .execute(&database.pool)
    .await
    .unwrap();
    id
}

#[derive(sqlx::FromRow, Debug, PartialEq)]
struct Row {
    state: String,
    attempts: i32,
    last_status: Option<i32>,
    last_error: Option<String>,
    wait_seconds: f64,
}

async fn row(database: &Database, id: Uuid) -> Row {
    sqlx::query_as(
        "select state, attempts, last_status, last_error,
                extract(epoch from next_attempt_at - now())::float8 as wait_seconds
         from deliveries where id = $1",
    )
    .bind(id)
    .fetch_one(&database.pool)
    .await
    .unwrap()
}

/// Steps until nothing waits.
async fn deliver_all(deliver: &Deliver, database: &Database) {
    let started = Instant::now();
    while database.store.waiting_deliveries("ops").await.unwrap().0 > 0 {
        if deliver.step().await.unwrap() == Progress::Idle {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "deliveries still wait");
    }
}

#[tokio::test]
async fn a_receiver_that_fails_throttles_and_hangs_is_told_once_in_order_under_one_id() {
    let database = Database::fresh().await;
    let script = [Reply::Status(500), Reply::With(429, "retry-after", "0".to_owned()), Reply::Hang];
    let peer = Peer::start(script).await;
    let receivers = receivers(&peer.url);
    let opened = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    let retracted = enqueue(&database, &receivers, &change(1, Event::Retracted), 2).await;
    let metrics = Metrics::new();
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), metrics.clone());
    deliver_all(&deliver, &database).await;

    let seen = peer.seen();
    let ids: Vec<_> = seen.iter().map(Seen::id).collect();
    let (first, second) = (opened.to_string(), retracted.to_string());
    assert_eq!(ids, [&first, &first, &first, &first, &second]);
    let events: Vec<_> = seen.iter().map(Seen::event).collect();
    assert_eq!(events[3..], ["finding.opened", "finding.resolved"]);
    // Whoever implements the standard can check every one of them, and sees the same body each time.
    let verifier = standardwebhooks::Webhook::new(SECRET).unwrap();
    for request in &seen {
        verifier.verify(&request.body, &request.headers).unwrap();
    }
    assert!(seen[..4].iter().all(|request| request.body == seen[0].body));
    assert_eq!(seen[0].headers["content-type"], "application/json");

    let delivered = row(&database, opened).await;
    assert_eq!(
        (delivered.state.as_str(), delivered.attempts, delivered.last_status),
        ("delivered", 4, Some(200))
    );
    assert_eq!(row(&database, retracted).await.attempts, 1);
    assert_eq!(deliver.step().await.unwrap(), Progress::Idle);
    assert_eq!(peer.seen().len(), 5, "delivered is delivered");
    let text = metrics.expose();
    assert!(text.contains("debunk_deliveries_total{receiver=\"ops\",outcome=\"retry\"} 3"), "{text}");
    assert!(text.contains("debunk_deliveries_total{receiver=\"ops\",outcome=\"delivered\"} 2"), "{text}");
    assert!(text.contains("debunk_deliveries_pending{receiver=\"ops\"} 0"), "{text}");
}

#[tokio::test]
async fn a_failing_change_holds_back_later_ones_of_its_finding_only() {
    let database = Database::fresh().await;
    let peer = Peer::start([Reply::Status(503)]).await;
    let receivers = receivers(&peer.url);
    let held = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    let behind = enqueue(&database, &receivers, &change(1, Event::Retracted), 2).await;
    let schedule = Schedule { waits: vec![Duration::from_mins(1)], jitter: 0.0 };
    let deliver = Deliver::new(database.store.clone(), only(&receivers), schedule, Metrics::new());
    deliver.step().await.unwrap();
    let other = enqueue(&database, &receivers, &change(2, Event::Opened), 1).await;
    assert_eq!(deliver.step().await.unwrap(), Progress::Worked);
    assert_eq!(deliver.step().await.unwrap(), Progress::Idle);

    assert_eq!(row(&database, held).await.state, "pending");
    assert_eq!(row(&database, behind).await.attempts, 0);
    assert_eq!(row(&database, other).await.state, "delivered");
}

#[tokio::test]
async fn dying_between_sending_and_writing_it_down_sends_again_under_the_same_id() {
    let database = Database::fresh().await;
    let peer = Peer::start([Reply::Hang]).await;
    let receivers = receivers(&peer.url);
    let id = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    // The peer has the request; we are gone before its answer.
    tokio::select! {
        _ = deliver.step() => panic!("the peer hangs"),
        () = async {
            while peer.seen().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } => {}
    }
    assert_eq!(deliver.step().await.unwrap(), Progress::Idle, "the lease still holds");
    sqlx::query("update deliveries set leased_until = now()").execute(&database.pool).await.unwrap();
    deliver_all(&deliver, &database).await;

    let ids: Vec<_> = peer.seen().iter().map(|seen| seen.id().to_owned()).collect();
    assert_eq!(ids, [id.to_string(), id.to_string()]);
    assert_eq!(row(&database, id).await.state, "delivered");
}

#[tokio::test]
async fn who_lost_the_lease_writes_nothing() {
    let database = Database::fresh().await;
    let receivers = receivers("http://127.0.0.1:9/");
    let id = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    let claim = || database.store.claim_deliveries("ops", Duration::from_millis(1), PACE);
    let [slow] = claim().await.unwrap().try_into().unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let [quick] = claim().await.unwrap().try_into().unwrap();
    let dead = Tried::Dead { status: None, why: "too late".to_owned() };
    assert!(!database.store.end_delivery(&slow, &dead).await.unwrap());
    assert_eq!(row(&database, id).await.state, "pending");
    assert!(database.store.end_delivery(&quick, &Tried::Delivered { status: 204 }).await.unwrap());
    assert_eq!(row(&database, id).await.state, "delivered");
}

#[tokio::test]
async fn several_replicas_send_each_delivery_once() {
    let database = Database::fresh().await;
    let peer = Peer::start([]).await;
    let receivers = receivers(&peer.url);
    for fingerprint in 1..=12 {
        enqueue(&database, &receivers, &change(fingerprint, Event::Opened), 1).await;
        enqueue(&database, &receivers, &change(fingerprint, Event::Retracted), 2).await;
    }
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    let replicas = std::iter::repeat_n(deliver, 3);
    futures::future::join_all(replicas.map(|deliver| {
        let database = &database;
        async move { deliver_all(&deliver, database).await }
    }))
    .await;
    let seen = peer.seen();
    let mut ids: Vec<_> = seen.iter().map(Seen::id).collect();
    assert_eq!(ids.len(), 24);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 24);
    for fingerprint in 1..=12 {
        let id = format!("{fingerprint:016x}");
        let events: Vec<_> =
            seen.iter().filter(|seen| seen.json()["data"]["finding"]["id"] == *id).map(Seen::event).collect();
        assert_eq!(events, ["finding.opened", "finding.resolved"], "{id}");
    }
}

#[tokio::test]
async fn what_a_receiver_will_never_take_is_dead_at_once() {
    let database = Database::fresh().await;
    let elsewhere = Peer::start([]).await;
    let redirect = Reply::With(307, "location", elsewhere.url.clone());
    let peer = Peer::start([redirect, Reply::Status(400)]).await;
    let receivers = receivers(&peer.url);
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    for (fingerprint, status) in [(1, 307), (2, 400)] {
        let id = enqueue(&database, &receivers, &change(fingerprint, Event::Opened), 1).await;
        deliver.step().await.unwrap();
        let row = row(&database, id).await;
        assert_eq!((row.state.as_str(), row.attempts, row.last_status), ("dead", 1, Some(status)));
        assert!(row.last_error.unwrap().contains(&status.to_string()));
    }
    assert!(elsewhere.seen().is_empty(), "a redirect was followed");
}

#[tokio::test]
async fn when_all_tries_failed_a_delivery_is_dead_and_the_next_one_goes() {
    let database = Database::fresh().await;
    let peer = Peer::start(vec![Reply::Status(502); 5]).await;
    let receivers = receivers(&peer.url);
    let failed = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    let next = enqueue(&database, &receivers, &change(1, Event::Retracted), 2).await;
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    deliver_all(&deliver, &database).await;
    let failed = row(&database, failed).await;
    assert_eq!((failed.state.as_str(), failed.attempts, failed.last_status), ("dead", 5, Some(502)));
    assert_eq!(failed.last_error.unwrap(), "answered 502 Bad Gateway; tried 5 times");
    assert_eq!(row(&database, next).await.state, "delivered");
}

#[tokio::test]
async fn a_pause_that_the_receiver_asks_for_is_kept() {
    let database = Database::fresh().await;
    let peer = Peer::start([Reply::With(429, "retry-after", "120".to_owned())]).await;
    let receivers = receivers(&peer.url);
    let id = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    deliver.step().await.unwrap();
    let row = row(&database, id).await;
    assert_eq!((row.state.as_str(), row.last_status), ("pending", Some(429)));
    assert!((100.0..=120.0).contains(&row.wait_seconds), "{row:?}");
}

#[tokio::test]
async fn an_endless_reply_is_cut_off() {
    let peer = Peer::start([Reply::Endless]).await;
    let answer = only(&receivers(&peer.url)).post(Uuid::now_v7(), "{}".to_owned()).await;
    assert_eq!(answer, debunk::alert::Answer::Delivered { status: 200 });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let streamed = peer.streamed();
    // 64 KiB are read; the rest is what the sockets between us hold.
    assert!(streamed < 32 << 20, "{streamed} bytes were sent");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(peer.streamed(), streamed, "the connection is still open");
}

#[tokio::test]
async fn a_name_that_leads_inwards_is_not_posted_to() {
    let database = Database::fresh().await;
    let peer = Peer::start([]).await;
    let (settings, _secret) = settings(&peer.url.replace("127.0.0.1", "localhost"), "");
    let receivers = Receivers::open(&[settings], "http://127.0.0.1:4320").unwrap();
    let id = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    deliver.step().await.unwrap();
    let row = row(&database, id).await;
    assert!(row.last_error.unwrap().contains("allow_private"));
    assert!(peer.seen().is_empty());
}

#[tokio::test]
async fn a_literal_inward_address_is_refused_at_the_start() {
    let (settings, _secret) = settings("http://169.254.169.254/latest/meta-data", "");
    let error = Receivers::open(&[settings], "http://127.0.0.1:4320").unwrap_err().to_string();
    assert!(error.starts_with("receiver \"ops\": ") && error.contains("allow_private"), "{error}");
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_tried_again() {
    let peer = Peer::start([]).await;
    let receivers = receivers(&peer.url.replace("http://", "https://"));
    let answer = only(&receivers).post(Uuid::now_v7(), "{}".to_owned()).await;
    assert!(matches!(answer, debunk::alert::Answer::Later { status: None, .. }), "{answer:?}");
    assert!(peer.seen().is_empty());
}

#[tokio::test]
async fn deliveries_to_a_receiver_that_is_gone_from_the_settings_end() {
    let database = Database::fresh().await;
    let receivers = receivers("http://127.0.0.1:9/");
    let id = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    assert_eq!(database.store.give_up_deliveries(&["ops".to_owned()]).await.unwrap(), 0);
    assert_eq!(database.store.give_up_deliveries(&["dev".to_owned()]).await.unwrap(), 1);
    assert_eq!(row(&database, id).await.state, "dead");
}

/// What judging yields for a trace that proves one finding, or nothing.
fn judgement(trace_id: TraceId, proves: bool) -> Judgement {
    let occurrence = Judged {
        fingerprint: Fingerprint(0xfeed_face_cafe_beef),
        rule: "n_plus_one",
        fallacy: Fallacy::TransportCostIsZero,
        variant: "sequential",
        environment: "production".to_owned(),
        service: "shop".to_owned(),
        operation: "GET /cart".to_owned(),
        callee: Some("redis".to_owned()),
        headline: "one call per item".to_owned(),
        why: "10 items, one call each".to_owned(),
        severity: Severity::High,
        confidence: Confidence::Confirmed,
        cost: debunk::rules::Cost::default(),
        span_id: SpanId(7),
        version: None,
        evidence: Vec::new(),
        not_visible: Vec::new(),
        drawing: String::new(),
        absorbed_by: None,
    };
    Judgement {
        trace_id,
        summary: Summary {
            service: "shop".to_owned(),
            operation: "GET /cart".to_owned(),
            environment: "production".to_owned(),
            start_ns: 0,
            duration_ns: 1,
            spans: 1,
            services: 1,
            errors: 0,
            complete: true,
            defects: Vec::new(),
        },
        units: Vec::new(),
        calls: Vec::new(),
        occurrences: if proves { vec![occurrence] } else { Vec::new() },
        unsettled: false,
        panicked: Vec::new(),
    }
}

/// Judges a trace that has just become quiet.
async fn judge(database: &Database, receivers: &Receivers, proves: bool) {
    let trace_id = TraceId(7);
    let touch = "insert into pending (trace_id, first_seen, last_seen, first_day, last_day)
                 values ($1, now() - interval '1 minute', now() - interval '1 minute', current_date, current_date)";
    sqlx::query(touch).bind(Uuid::from_u128(trace_id.0)).execute(&database.pool).await.unwrap();
    let claims = Claims {
        quiet: Duration::from_secs(1),
        max_wait: Duration::from_mins(5),
        lease: Duration::from_secs(30),
        limit: 1,
    };
    let [claimed] = database.store.claim(&claims).await.unwrap().try_into().unwrap();
    let policy = Policy {
        min_confidence: Confidence::Medium,
        gate: Gate { high: 2, medium: 5 },
        within: Duration::from_hours(24),
        settle: Duration::from_mins(1),
        suppressions: &[],
    };
    let tell = |change: &Change| receivers.deliveries(change);
    let looks = [(claimed, judgement(trace_id, proves))];
    assert_eq!(database.store.finish(&looks, &policy, &tell).await.unwrap(), [Finished::Done]);
}

#[tokio::test]
async fn a_finding_that_opens_and_is_taken_back_is_told_once_each() {
    let database = Database::fresh().await;
    database.store.ensure_day(debunk::clock::now().date()).await.unwrap();
    let peer = Peer::start([]).await;
    let receivers = receivers(&peer.url);
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    judge(&database, &receivers, true).await;
    judge(&database, &receivers, true).await;
    deliver_all(&deliver, &database).await;
    judge(&database, &receivers, false).await;
    deliver_all(&deliver, &database).await;

    let seen = peer.seen();
    let events: Vec<_> = seen.iter().map(Seen::event).collect();
    assert_eq!(events, ["finding.opened", "finding.resolved"]);
    assert_ne!(seen[0].id(), seen[1].id());
    let (opened, taken_back) = (seen[0].json(), seen[1].json());
    let data = &opened["data"];
    assert_eq!(data["reason"], "gate");
    assert_eq!(data["finding"]["id"], "feedfacecafebeef");
    assert_eq!(data["finding"]["status"], "open");
    assert_eq!(data["finding"]["url"], "http://127.0.0.1:4320/findings/feedfacecafebeef");
    assert_eq!(data["example"]["why"], "10 items, one call each");
    assert_eq!(data["example"]["trace_id"], TraceId(7).to_string());
    let data = &taken_back["data"];
    assert_eq!(data["reason"], "retracted");
    assert_eq!(data["previous"], serde_json::json!({"status": "open", "severity": "high"}));
    assert_eq!(data["finding"]["status"], "candidate");
    assert!(data.get("example").is_none(), "no trace shows it any more");
}
