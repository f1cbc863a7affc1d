//! Partitions: made ahead, made once, dropped whole.

use std::time::Duration;

use debunk::clock;
use debunk::store::{Days, encode};

use super::{Writing, days, export, span};
use crate::support::database::Database;

async fn attached(database: &Database) -> Vec<String> {
    let query = "select child from debunk_days() where parent = 'spans' and state = 'attached' order by 1";
    sqlx::query_scalar(query).fetch_all(&database.pool).await.unwrap()
}

#[tokio::test]
async fn every_day_of_the_window_and_the_day_after_are_made_ahead() {
    let database = Database::fresh().await;
    database.store.ensure_days(&days()).await.unwrap();
    database.store.ensure_days(&days()).await.unwrap();
    let made = attached(&database).await;
    assert_eq!(made.len(), 10);
    let after = clock::now().date() + time::Duration::days(2);
    let name = format!("spans_{:04}{:02}{:02}", after.year(), u8::from(after.month()), after.day());
    assert_eq!(made.last(), Some(&name));
}

#[tokio::test]
async fn many_who_make_a_day_at_once_make_it_once() {
    let database = Database::fresh().await;
    let today = clock::now().date();
    let store = &database.store;
    let outcomes = futures::future::join_all((0..8).map(|_| store.ensure_day(today))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(attached(&database).await.len(), 1);
}

#[tokio::test]
async fn old_days_are_dropped_and_the_window_stays() {
    let database = Database::fresh().await;
    let today = clock::now().date();
    let long = Days::new(today, Duration::from_hours(24 * 20));
    database.store.ensure_days(&long).await.unwrap();
    let writing = Writing::start(&database);
    let mut old = span(2, 1, "old");
    old.start_time_unix_nano -= 15 * 86_400 * 1_000_000_000;
    writing.writer.write(encode(export(vec![old, span(1, 1, "new")]), &long)).await.unwrap();

    let dropped = database.store.drop_days(&days()).await.unwrap();
    // 20 days back to 9 days back, each of five tables; the day before the window waits for stragglers.
    assert_eq!(dropped.len(), 12 * 5);
    assert_eq!(attached(&database).await.len(), 11);
    let left: Vec<String> =
        sqlx::query_scalar("select name from spans").fetch_all(&database.pool).await.unwrap();
    assert_eq!(left, ["new"]);
    assert_eq!(database.store.drop_days(&days()).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_day_in_use_is_dropped_later_and_nobody_waits_for_it() {
    let database = Database::fresh().await;
    let today = clock::now().date();
    let long = Days::new(today, Duration::from_hours(24 * 9));
    database.store.ensure_days(&long).await.unwrap();
    let mut reader = database.pool.begin().await.unwrap();
    sqlx::query("select count(*) from spans").execute(&mut *reader).await.unwrap();
    let writing = Writing::start(&database);
    let window = days();
    let (dropped, written) = tokio::join!(
        database.store.drop_days(&window),
        writing.writer.write(encode(export(vec![span(1, 1, "meanwhile")]), &days()))
    );
    let spans_dropped = dropped.unwrap().iter().filter(|table| table.starts_with("spans")).count();
    assert_eq!(spans_dropped, 0);
    assert_eq!(written.unwrap().stored, 1);
    reader.rollback().await.unwrap();
    // The detach that was interrupted is finished, and the table dropped.
    let dropped = database.store.drop_days(&days()).await.unwrap();
    assert!(dropped.iter().any(|table| table.starts_with("spans")), "{dropped:?}");
    let left: Vec<String> = sqlx::query_scalar("select state from debunk_days() where state <> 'attached'")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(left, Vec::<String>::new());
}
