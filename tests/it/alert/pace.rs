//! How fast a receiver is told, how long it is left alone when it asks, and what it is told again.

use std::time::Duration;

use debunk::alert::{Receiver, Receivers};
use debunk::findings::life::Event;
use debunk::loops::{self, Deliver, Progress, Schedule};
use debunk::telemetry::Metrics;
use sqlx::AssertSqlSafe;

use super::peer::{Peer, Reply, Seen};
use super::{change, deliver_all, enqueue, only, quick, row, settings};
use crate::support::database::Database;

fn receivers(url: &str, more: &str) -> Receivers {
    let (settings, _secret) = settings(url, &format!("allow_private = true\n{more}"));
    Receivers::open(&[settings], "http://127.0.0.1:4320").unwrap()
}

/// Runs a statement of the test's own.
async fn execute(database: &Database, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&database.pool).await.unwrap();
}

/// Waits out the last second of a minute, so that the minute does not change while a test counts in it.
async fn early_in_a_minute() {
    let second = debunk::clock::now().second();
    if second >= 55 {
        tokio::time::sleep(Duration::from_secs(u64::from(60 - second))).await;
    }
}

#[tokio::test]
async fn what_is_more_than_a_minute_may_see_waits_for_the_next() {
    early_in_a_minute().await;
    let database = Database::fresh().await;
    let peer = Peer::start([]).await;
    let receivers = receivers(&peer.url, "max_per_minute = 3\nconcurrency = 2");
    for fingerprint in 1..=5 {
        enqueue(&database, &receivers, &change(fingerprint, Event::Opened), 1).await;
    }
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    let mut sent = Vec::new();
    for _ in 0..4 {
        deliver.step().await.unwrap();
        sent.push(peer.seen().len());
    }
    assert_eq!(sent, [2, 3, 3, 3], "two at once, three in the minute");
    execute(&database, "update receivers set minute = minute - interval '1 minute'").await;
    deliver_all(&deliver, &database).await;
    assert_eq!(peer.seen().len(), 5);
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_pause_is_left_alone_whatever_it_is_to_be_told() {
    let database = Database::fresh().await;
    let peer = Peer::start([Reply::With(429, "retry-after", "60".to_owned())]).await;
    let receivers = receivers(&peer.url, "concurrency = 1");
    let first = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    let other = enqueue(&database, &receivers, &change(2, Event::Opened), 1).await;
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    assert_eq!(deliver.step().await.unwrap(), Progress::Worked);
    assert_eq!(deliver.step().await.unwrap(), Progress::Idle);
    assert_eq!((row(&database, first).await.attempts, row(&database, other).await.attempts), (1, 0));
    let health = database.store.receivers(&["ops".to_owned()]).await.unwrap().remove(0);
    assert_eq!((health.status, health.error.as_deref()), (Some(429), Some("answered 429 Too Many Requests")));
    assert!(health.paused_until.is_some() && health.failing_since.is_some());

    execute(
        &database,
        "update receivers set paused_until = now(); update deliveries set next_attempt_at = now()",
    )
    .await;
    deliver_all(&deliver, &database).await;
    let health = database.store.receivers(&["ops".to_owned()]).await.unwrap().remove(0);
    assert_eq!((health.status, health.error, health.failing_since), (Some(200), None, None));
}

/// An open finding, as judging leaves it, that was last told so many minutes ago.
async fn open_finding(database: &Database, fingerprint: i64, handling: &str, minutes: i32) {
    execute(
        database,
        &format!(
            "insert into findings (
                fingerprint, rule, fallacy, variant, environment, service, operation, headline, status, handling,
                severity, told_severity, confidence, first_seen, last_seen, opened_at, transition
            ) values (
                {fingerprint}, 'n_plus_one', 'transport_cost_is_zero', 'sequential', 'production', 'shop', 'GET /cart',
                'one call per item', 'open', '{handling}', 3, 3, 4, now(), now(), now() - interval '{minutes} minutes', 1
            )"
        ),
    )
    .await;
}

async fn remind(database: &Database, receiver: &Receiver) -> Progress {
    loops::remind(&database.store, receiver, &Metrics::new()).await.unwrap()
}

fn told(peer: &Peer) -> Vec<(String, String)> {
    let told =
        |seen: &Seen| (seen.event(), seen.json()["data"]["finding"]["id"].as_str().unwrap().to_owned());
    peer.seen().iter().map(told).collect()
}

#[tokio::test]
async fn what_stays_open_is_brought_up_again_until_somebody_knows() {
    let database = Database::fresh().await;
    let peer = Peer::start([]).await;
    let receivers = receivers(&peer.url, "remind_every = \"1h\"");
    open_finding(&database, 1, "none", 90).await;
    open_finding(&database, 2, "acknowledged", 90).await;
    open_finding(&database, 3, "muted", 90).await;
    open_finding(&database, 4, "none", 30).await;
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    assert_eq!(remind(&database, &only(&receivers)).await, Progress::Worked);
    assert_eq!(remind(&database, &only(&receivers)).await, Progress::Idle, "one waits already");
    deliver_all(&deliver, &database).await;
    let reminder = ("finding.reminder".to_owned(), "0000000000000001".to_owned());
    assert_eq!(told(&peer), std::slice::from_ref(&reminder));
    assert_eq!(peer.seen()[0].json()["data"]["reason"], "reminder");
    assert_eq!(remind(&database, &only(&receivers)).await, Progress::Idle, "it was told just now");

    execute(&database, "update deliveries set delivered_at = delivered_at - interval '2 hours'").await;
    assert_eq!(remind(&database, &only(&receivers)).await, Progress::Worked);
    deliver_all(&deliver, &database).await;
    assert_eq!(told(&peer), [reminder.clone(), reminder]);
}

#[tokio::test]
async fn several_replicas_remind_once() {
    let database = Database::fresh().await;
    let peer = Peer::start([]).await;
    let receivers = receivers(&peer.url, "remind_every = \"1h\"");
    for fingerprint in 1..=5 {
        open_finding(&database, fingerprint, "none", 90).await;
    }
    let receiver = only(&receivers);
    let passes = std::iter::repeat_with(|| remind(&database, &receiver)).take(4);
    futures::future::join_all(passes).await;
    let deliver = Deliver::new(database.store.clone(), receiver.clone(), quick(), Metrics::new());
    deliver_all(&deliver, &database).await;
    assert_eq!(told(&peer).len(), 5, "{:?}", told(&peer));
}

#[tokio::test]
async fn a_receiver_is_reminded_only_of_what_it_asked_for() {
    let database = Database::fresh().await;
    let peer = Peer::start([]).await;
    open_finding(&database, 1, "none", 90).await;
    for (filter, hears) in [
        ("min_severity = \"critical\"", false),
        ("services = [\"other\"]", false),
        ("environments = [\"staging\"]", false),
        ("fallacies = [\"latency_is_zero\"]", false),
        ("services = [\"shop\"]\nenvironments = [\"production\"]\nmin_severity = \"high\"", true),
    ] {
        let receivers = receivers(&peer.url, &format!("remind_every = \"1h\"\n{filter}"));
        let expected = if hears { Progress::Worked } else { Progress::Idle };
        assert_eq!(remind(&database, &only(&receivers)).await, expected, "{filter}");
    }
}

/// A reminder is one more change of its finding: what comes after it is told after it.
#[tokio::test]
async fn a_reminder_keeps_the_order_of_what_is_told() {
    let database = Database::fresh().await;
    let peer = Peer::start([Reply::Status(503)]).await;
    let receivers = receivers(&peer.url, "remind_every = \"1h\"");
    open_finding(&database, 1, "none", 90).await;
    remind(&database, &only(&receivers)).await;
    let transition: i32 =
        sqlx::query_scalar("select transition from findings").fetch_one(&database.pool).await.unwrap();
    assert_eq!(transition, 2);
    enqueue(&database, &receivers, &change(1, Event::Quiet), transition + 1).await;
    let schedule = Schedule { waits: vec![Duration::from_millis(50); 3], jitter: 0.0 };
    let deliver = Deliver::new(database.store.clone(), only(&receivers), schedule, Metrics::new());
    deliver_all(&deliver, &database).await;
    let events: Vec<String> = told(&peer).into_iter().map(|(event, _)| event).collect();
    assert_eq!(events, ["finding.reminder", "finding.reminder", "finding.resolved"]);
}

#[tokio::test]
async fn alertmanager_hears_of_all_that_is_open_and_of_nothing_else() {
    let database = Database::fresh().await;
    let peer = Peer::start([]).await;
    for fingerprint in 1..=70 {
        open_finding(&database, fingerprint, "none", 5).await;
    }
    open_finding(&database, 100, "muted", 5).await;
    open_finding(&database, 101, "acknowledged", 5).await;
    execute(&database, "update findings set status = 'resolved' where fingerprint = 1").await;
    let receivers = super::formats::opened("alertmanager_push", &peer.url, None);
    let metrics = Metrics::new();
    loops::remind(&database.store, &only(&receivers), &metrics).await.unwrap();
    let alerts: Vec<serde_json::Value> =
        peer.seen().iter().flat_map(|seen| seen.json().as_array().unwrap().clone()).collect();
    assert_eq!((peer.seen().len(), alerts.len()), (2, 70), "in two requests");
    assert!(alerts.iter().all(|alert| alert.get("endsAt").is_none()));
    let ids: Vec<&str> = alerts.iter().map(|alert| alert["labels"]["finding"].as_str().unwrap()).collect();
    assert!(ids.contains(&"0000000000000065") && !ids.contains(&"0000000000000064"), "{ids:?}");
    assert!(metrics.expose().contains("outcome=\"refreshed\"} 1"), "{}", metrics.expose());
}
