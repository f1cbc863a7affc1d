//! Old days go while spans come.

use sqlx::AssertSqlSafe;

use super::{Kept, long, report};
use crate::support::load::{Load, Tally};
use crate::support::process::Process;

const OLD_DAYS: i64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_past_retention_go_beside_ingest_and_wait_for_whoever_reads_them() {
    let spans = if long() { 200_000 } else { 5_000 };
    let settings = "[retention]\ntraces = \"2d\"\n";
    let mut process = Process::with(settings);
    process.start().await;
    let mut connection = process.connect().await;
    for ago in 10..10 + OLD_DAYS {
        let day = format!(
            "select debunk_ensure_day(current_date - {ago});
             insert into spans (trace_id, span_id, start_ns, duration_ns, resource_id, day, content, scope_id, kind,
                 status, dictionary, name, rest)
             select gen_random_uuid(), n, 0, 0, 0, current_date - {ago}, 0, 0, 1, 0, 0, 'old', ''
             from generate_series(1, {spans}) n"
        );
        sqlx::raw_sql(AssertSqlSafe(day)).execute(&mut connection).await.unwrap();
    }
    let load = Load::start(&process, 4, 100);
    load.until(|tally| 1_000 < tally.acknowledged.len()).await;
    let before = load.see(Tally::acknowledged_p99);
    // Somebody reads the oldest day and takes long.
    let mut reader = process.connect().await;
    let read = "begin; select count(*) from spans where day = current_date - 13";
    sqlx::raw_sql(read).execute(&mut reader).await.unwrap();
    // A second replica starts, and with that looks for days to drop.
    let mut other = process.replica(settings);
    other.start().await;
    let old = "select count(distinct day) from debunk_days() where day < current_date - 9";
    let mut left = async || -> i64 { sqlx::query_scalar(old).fetch_one(&mut connection).await.unwrap() };
    assert!(0 < other.said("an old day is in use; it is dropped later"), "{}", other.log());
    assert_eq!(left().await, OLD_DAYS);
    load.acknowledged_again().await;
    sqlx::raw_sql("commit").execute(&mut reader).await.unwrap();
    assert!(other.terminate().0, "{}", other.log());
    other.start().await;
    assert_eq!(left().await, 0);
    load.acknowledged_again().await;
    let tally = load.stop().await;
    let kept = Kept::of(&tally.acknowledged, &mut connection).await;
    let deleted =
        "select coalesce(sum(n_tup_del), 0)::bigint from pg_stat_user_tables where relname like 'spans%'";
    let deleted: i64 = sqlx::query_scalar(deleted).fetch_one(&mut connection).await.unwrap();
    report(
        28,
        &format!(
            "{OLD_DAYS} days of {spans} spans dropped under load, a reader made them wait once (lock_timeout), {kept}, \
             rows deleted one by one = {deleted}, acknowledged within {} ms before and {} ms overall (99 %)",
            before.as_millis(),
            tally.acknowledged_p99().as_millis()
        ),
    );
    kept.hold();
    assert_eq!((deleted, tally.failed()), (0, 0));
}
