//! Writers, judges and stalls at once: no trace is missed, and no look that missed a span is the last word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use debunk::rules::Confidence;
use debunk::store::{Claimed, Claims, Store, Writer, encode};
use tokio::task::JoinSet;

use super::judge::{POLICY, found, judgement, tell};
use super::{Writing, days, export, span};
use crate::support::database::Database;

const TRACES: u64 = 60;
const SPANS: u8 = 20;

const HASTY: Claims = Claims {
    quiet: Duration::from_millis(10),
    max_wait: Duration::from_millis(200),
    lease: Duration::from_millis(150),
    limit: 15,
};

/// Sends one span of every trace per round, each twice, with small pauses.
async fn export_all(writer: Writer) {
    for round in 1..=SPANS {
        for part in 0..4 {
            let spans = (0..TRACES).filter(|trace| trace % 4 == part).map(|trace| {
                let mut one = span(1, round, "x");
                one.trace_id = u128::from(trace + 1).to_be_bytes().to_vec();
                one
            });
            writer.write(encode(export(spans.collect()), &days())).await.unwrap();
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..12))).await;
        }
    }
}

/// Judges what is due until told to stop; every few looks it stalls for longer than its lease.
async fn judge(store: Store, ended: Arc<AtomicBool>) {
    while !ended.load(Ordering::Relaxed) {
        let claimed = store.claim(&HASTY).await.unwrap();
        let wanted: Vec<_> = claimed.iter().map(Claimed::days).collect();
        let loaded = store.load(&wanted, 1_000).await.unwrap();
        let looks: Vec<_> = claimed
            .iter()
            .zip(&loaded)
            .map(|(one, loaded)| {
                assert_eq!(one.trace_id, loaded.trace_id);
                let seen = loaded.spans.len() as u32;
                let mut look = judgement(one, vec![found(u64::from(seen), Confidence::Medium)]);
                look.summary.spans = seen;
                (one.clone(), look)
            })
            .collect();
        let stall = if rand::random_range(0..6) == 0 { 250 } else { 5 };
        tokio::time::sleep(Duration::from_millis(stall)).await;
        store.finish(&looks, &POLICY, &tell).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_look_at_every_trace_saw_all_of_its_spans() {
    let database = Database::fresh().await;
    database.store.ensure_days(&days()).await.unwrap();
    let writing = Writing::start(&database);
    let ended = Arc::new(AtomicBool::new(false));
    let mut judges = JoinSet::new();
    for _ in 0..2 {
        judges.spawn(judge(database.store.clone(), Arc::clone(&ended)));
    }
    let mut exporters = JoinSet::new();
    for _ in 0..2 {
        exporters.spawn(export_all(writing.writer.clone()));
    }
    exporters.join_all().await;
    for _ in 0..300 {
        if database.store.backlog(Duration::ZERO).await.unwrap().traces == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ended.store(true, Ordering::Relaxed);
    judges.join_all().await;

    let count = async |query: &'static str| -> i64 {
        sqlx::query_scalar(query).fetch_one(&database.pool).await.unwrap()
    };
    assert_eq!(count("select count(*) from pending").await, 0);
    assert_eq!(count("select count(*) from spans").await, 60 * 20);
    assert_eq!(count("select count(*) from traces where spans = 20").await, 60);
    assert_eq!(count("select count(*) from traces").await, 60);
    // What earlier looks found is gone with them.
    assert_eq!(count("select count(*) from occurrences").await, 60);
    assert_eq!(count("select occurrences from findings where fingerprint = 20").await, 60);
    assert_eq!(
        count("select coalesce(sum(occurrences), 0)::bigint from findings where fingerprint <> 20").await,
        0
    );
    // The hours, moved a thousand times, are what counting them anew gives.
    let moved = "select count(*) from finding_hours h full join ( \
        select fingerprint, date_trunc('hour', seen_at, 'UTC') as hour, count(*) as occurrences, \
            count(distinct trace_id) as traces, sum(time_ns)::bigint as time_ns, min(seen_at) as first_seen, \
            max(seen_at) as last_seen \
        from occurrences where counted group by 1, 2 \
    ) c using (fingerprint, hour, occurrences, traces, time_ns, first_seen, last_seen) \
    where h.fingerprint is null or c.fingerprint is null or h.confirmed_traces <> 0 or h.high_traces <> 0";
    assert_eq!(count(moved).await, 0);
}
