//! What is past retention, or beyond the space there is, goes; what is still needed stays.

use std::time::Duration;

use debunk::clock;
use debunk::loops::{Fit, Progress};
use debunk::rules::Confidence;
use debunk::store::{Days, encode};
use debunk::telemetry::Metrics;

use super::judge::{Judging, found};
use super::{Writing, days, export, span};
use crate::support::database::Database;

const DAY: Duration = Duration::from_hours(24);

async fn change(judging: &Judging, statement: &'static str) {
    sqlx::query(statement).execute(&judging.database.pool).await.unwrap();
}

#[tokio::test]
async fn deliveries_that_ended_are_forgotten_and_those_that_wait_stay() {
    let judging = Judging::start().await;
    judging.store(&[1, 2], 1).await;
    judging.judge(|trace| vec![found(u64::from(trace), Confidence::Confirmed)]).await;
    change(&judging, "update deliveries set state = 'dead' where fingerprint = 1").await;
    let store = &judging.database.store;
    let now = clock::now();
    assert_eq!(store.forget_deliveries(now + 29 * DAY, 30 * DAY).await.unwrap(), 0);
    assert_eq!(store.forget_deliveries(now + 30 * DAY, 30 * DAY).await.unwrap(), 1);
    assert_eq!(judging.text("select state from deliveries").await, ["pending"]);
}

#[tokio::test]
async fn old_hours_are_forgotten_but_a_finding_keeps_its_first() {
    let judging = Judging::start().await;
    judging.store(&[1], 1).await;
    judging.judge(|_| vec![found(1, Confidence::Confirmed)]).await;
    let more = "insert into finding_hours
                select fingerprint, hour + n * interval '1 hour', 1, 1, 0, 0, 0,
                    first_seen + n * interval '1 hour', last_seen + n * interval '1 hour'
                from finding_hours cross join generate_series(1, 3) n";
    change(&judging, more).await;
    let orphan = "insert into finding_hours select 99, hour, 1, 1, 0, 0, 0, first_seen, last_seen \
                  from finding_hours order by hour limit 1";
    change(&judging, orphan).await;
    let before = judging.text("select first_seen::text from findings").await;
    let store = &judging.database.store;
    assert_eq!(store.forget_hours(clock::now() + 89 * DAY, 90 * DAY).await.unwrap(), 0);
    assert_eq!(store.forget_hours(clock::now() + 91 * DAY, 90 * DAY).await.unwrap(), 4);
    assert_eq!(judging.count("select count(*) from finding_hours").await, 1);
    // Judging anew derives from what is left, and neither closes it nor makes it younger.
    judging.again().await;
    judging.judge(|_| vec![found(1, Confidence::Confirmed)]).await;
    assert_eq!(judging.status().await, "open 1");
    assert_eq!(judging.text("select first_seen::text from findings").await, before);
}

#[tokio::test]
async fn emitters_that_no_kept_span_can_name_are_forgotten() {
    let judging = Judging::start().await;
    judging.store(&[1], 1).await;
    let store = &judging.database.store;
    assert_eq!(store.forget_emitters(&days()).await.unwrap(), 0);
    change(&judging, "update resources set last_day = current_date - 10").await;
    assert_eq!(store.forget_emitters(&days()).await.unwrap(), 0);
    change(&judging, "update resources set last_day = current_date - 11").await;
    change(&judging, "update scopes set last_day = current_date - 11").await;
    assert_eq!(store.forget_emitters(&days()).await.unwrap(), 2);
}

/// A hundred spans on each of the last `count` days, today included.
async fn fill(database: &Database, count: u64) {
    let today = clock::now().date();
    let window = Days::new(today, Duration::from_hours(24 * 7));
    database.store.ensure_days(&window).await.unwrap();
    let writing = Writing::start(database);
    for day in 0..count {
        let spans = (0..100).map(|id| {
            let mut one = span(1 + day as u8, 1 + id, &"a name that takes its place ".repeat(40));
            one.start_time_unix_nano = (clock::now().unix_timestamp() as u64 - day * 86_400) * 1_000_000_000;
            one.end_time_unix_nano = one.start_time_unix_nano + 1;
            one
        });
        writing.writer.write(encode(export(spans.collect()), &window)).await.unwrap();
    }
}

async fn traces_left(database: &Database) -> i64 {
    sqlx::query_scalar("select count(distinct trace_id) from spans").fetch_one(&database.pool).await.unwrap()
}

#[tokio::test]
async fn above_the_size_the_oldest_days_go_and_the_newest_stay() {
    let database = Database::fresh().await;
    fill(&database, 4).await;
    let today = clock::now().date();
    let total = || async {
        let storage = database.store.storage().await.unwrap();
        storage.iter().map(|(_, bytes)| bytes).sum::<i64>() as u64
    };
    let full = total().await;
    let metrics = Metrics::new();
    let fit = |most| Fit::new(database.store.clone(), most, metrics.clone());
    assert_eq!(fit(full).step(today).await.unwrap(), Progress::Idle);
    assert_eq!(traces_left(&database).await, 4);

    // One byte less than there is: one day is enough.
    fit(full - 1).step(today).await.unwrap();
    assert_eq!(traces_left(&database).await, 3);
    assert!(total().await < full);
    let text = metrics.expose();
    assert!(text.contains("debunk_retention_dropped_days_total{reason=\"size\"} 1"), "{text}");
    assert!(text.contains("debunk_storage_bytes{table=\"spans\"} "), "{text}");

    // Another day goes before anything of today does.
    let fewer = total().await;
    fit(fewer - 1).step(today).await.unwrap();
    assert_eq!(traces_left(&database).await, 2);
    assert!(metrics.expose().contains("debunk_retention_dropped_days_total{reason=\"size\"} 2"));
    assert!(metrics.expose().contains("debunk_retention_trimmed_traces_total 0"));
    // Spans of a dropped day that come late find it again.
    fill(&database, 4).await;
    assert_eq!(traces_left(&database).await, 4);
}

#[tokio::test]
async fn every_table_is_measured() {
    let database = Database::fresh().await;
    fill(&database, 1).await;
    let named: Vec<String> =
        database.store.storage().await.unwrap().into_iter().map(|(table, _)| table).collect();
    assert_eq!(
        named,
        [
            "calls",
            "changes",
            "decisions",
            "deliveries",
            "dictionaries",
            "finding_hours",
            "findings",
            "occurrences",
            "pending",
            "receivers",
            "resources",
            "scopes",
            "spans",
            "traces",
            "units"
        ]
    );
}

/// A hundred large spans of each of so many traces of today.
async fn fill_today(writing: &Writing, traces: std::ops::Range<u8>) {
    for trace in traces {
        let spans = (0..100).map(|id| span(trace, 1 + id, &"a name that takes its place ".repeat(40)));
        let spans = spans.map(|mut one| {
            one.start_time_unix_nano = clock::now().unix_timestamp() as u64 * 1_000_000_000;
            one.end_time_unix_nano = one.start_time_unix_nano + 1;
            one
        });
        writing.writer.write(encode(export(spans.collect()), &days())).await.unwrap();
    }
}

#[tokio::test]
async fn where_only_today_is_left_its_oldest_traces_make_room_for_new_ones() {
    let database = Database::fresh().await;
    let today = clock::now().date();
    database.store.ensure_days(&Days::new(today, 7 * DAY)).await.unwrap();
    let writing = Writing::start(&database);
    fill_today(&writing, 1..101).await;
    let bytes = || async {
        let storage = database.store.storage().await.unwrap();
        storage.iter().map(|(_, bytes)| bytes).sum::<i64>() as u64
    };
    let full = bytes().await;
    let metrics = Metrics::new();
    // Full to nine tenths.
    let fit = Fit::new(database.store.clone(), full / 9 * 10, metrics.clone());
    assert_eq!(fit.step(today).await.unwrap(), Progress::Worked);
    assert_eq!(traces_left(&database).await, 85);
    let oldest = "select min(get_byte(uuid_send(trace_id), 0))::bigint from spans";
    let oldest: i64 = sqlx::query_scalar(oldest).fetch_one(&database.pool).await.unwrap();
    assert_eq!(oldest, 16, "the first fifteen are gone");
    assert!(metrics.expose().contains("debunk_retention_trimmed_traces_total 15"));
    // Files keep their size, but the room in them is known to be free, and is filled again.
    assert_eq!(fit.step(today).await.unwrap(), Progress::Idle);
    fill_today(&writing, 101..111).await;
    assert!(bytes().await <= full + full / 50, "{} of {full}", bytes().await);
}
