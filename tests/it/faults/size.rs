//! More arrives than may be kept.

use std::time::{Duration, Instant};

use super::{long, report};
use crate::support::load::{Answer, Exporter, PATIENCE};
use crate::support::process::Process;
use crate::support::traffic::request;

const EXPORT: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_stays_within_its_size_and_the_newest_stays() {
    let (load, most, pause) = if long() {
        (Duration::from_mins(10), 200_u64 << 20, Duration::from_millis(30))
    } else {
        // Until the first traces have gone.
        (Duration::ZERO, 10 << 20, Duration::ZERO)
    };
    let mut process = Process::with(&format!("[retention]\nmax_size = \"{most}\"\n"));
    process.start().await;
    let mut connection = process.connect().await;
    let sizes = "select sum(pg_total_relation_size(oid))::bigint from pg_class \
                 where relnamespace = 'public'::regnamespace and relkind = 'r'";
    let (begun, mut looked) = (Instant::now(), Instant::now());
    let mut exporter = Exporter::http(process.http);
    let (mut sent, mut largest, mut size) = (0, 0, 0);
    let mut newest = Vec::new();
    let mut trimmed = 0;
    while begun.elapsed() < load || (trimmed == 0 && begun.elapsed() < load + PATIENCE) {
        let (export, keys) = request(EXPORT);
        assert_eq!(exporter.send(&export).await, Answer::Accepted);
        sent += keys.len();
        newest = keys.into_iter().collect();
        if Duration::from_millis(200) < looked.elapsed() {
            size =
                sqlx::query_scalar::<_, i64>(sizes).fetch_one(&mut connection).await.unwrap().cast_unsigned();
            largest = largest.max(size);
            trimmed = process.metric("debunk_retention_trimmed_traces_total").await;
            looked = Instant::now();
        }
        tokio::time::sleep(pause).await;
    }
    let ids: Vec<i64> = newest.iter().map(|(_, span)| span.cast_signed()).collect();
    let kept = "select count(*) from spans where span_id = any($1)";
    let kept: i64 = sqlx::query_scalar(kept).bind(ids).fetch_one(&mut connection).await.unwrap();
    let stored = "select count(*) from spans";
    let stored: i64 = sqlx::query_scalar(stored).fetch_one(&mut connection).await.unwrap();
    assert_eq!(kept, newest.len() as i64, "the newest export is there");
    // How much comes between two looks is a matter of speed, which decides no short test.
    assert!(!long() || largest <= most, "{largest} bytes of {most}");
    assert!(
        0 < trimmed && (stored as usize) < sent,
        "{trimmed} traces trimmed, {stored} of {sent} spans left"
    );
    report(
        36,
        &format!(
            "sent {sent} spans in {} s, kept {stored}, the newest among them; traces removed {trimmed} by the \
             metric; largest {:.1} MiB of {} MiB, at the end {:.1} MiB",
            begun.elapsed().as_secs(),
            largest as f64 / f64::from(1 << 20),
            most >> 20,
            size as f64 / f64::from(1 << 20),
        ),
    );
    assert!(process.terminate().0);
}
