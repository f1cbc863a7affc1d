//! The promise under faults: what was acknowledged is stored, once. The oracle is the set of acknowledged span ids.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::Row as _;
use tokio::task::JoinSet;

use crate::support::client;
use crate::support::process::Process;
use crate::support::traffic::{Key, export};

const KILLS: u32 = 20;
const EXPORTERS: usize = 4;

/// Exports until told to stop, and repeats what was not acknowledged, as an exporter does.
async fn exporter(url: String, stop: Arc<AtomicBool>, acknowledged: Arc<Mutex<BTreeSet<Key>>>) {
    let client = client();
    while !stop.load(Ordering::Relaxed) {
        let (body, keys) = export(100);
        while !stop.load(Ordering::Relaxed) {
            let request =
                client.post(&url).header("content-type", "application/x-protobuf").body(body.clone());
            match request.send().await {
                Ok(answer) if answer.status() == 200 => {
                    acknowledged.lock().unwrap().extend(keys);
                    break;
                }
                Ok(answer) => assert!(matches!(answer.status().as_u16(), 429 | 503), "{}", answer.status()),
                // Cut off: the outcome is unknown, so it is sent again.
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn stored(process: &Process) -> (BTreeSet<Key>, usize) {
    let (_server, mut connection) = process.database().await;
    let rows = sqlx::query("select trace_id, span_id from spans").fetch_all(&mut connection).await.unwrap();
    let keys = rows.iter().map(|row| {
        let trace: uuid::Uuid = row.get(0);
        let span: i64 = row.get(1);
        (trace.as_u128(), span as u64)
    });
    (keys.collect(), rows.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_twenty_kills() {
    let mut process = Process::new();
    process.start().await;
    let mut slowest = Duration::ZERO;
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeSet::new())));
    let mut exporters = JoinSet::new();
    for _ in 0..EXPORTERS {
        let url = format!("http://{}/v1/traces", process.http);
        exporters.spawn(exporter(url, Arc::clone(&stop), Arc::clone(&acknowledged)));
    }
    let mut seen = 0;
    for kill in 0..KILLS {
        // At a different moment each time, but only after something new was acknowledged.
        tokio::time::sleep(Duration::from_millis(150 + u64::from(kill % 7) * 30)).await;
        while acknowledged.lock().unwrap().len() == seen {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process.kill();
        seen = acknowledged.lock().unwrap().len();
        slowest = slowest.max(process.start().await);
    }
    stop.store(true, Ordering::Relaxed);
    exporters.join_all().await;
    process.kill();
    let acknowledged = acknowledged.lock().unwrap().clone();
    let (kept, rows) = stored(&process).await;
    let missing = acknowledged.difference(&kept).count();
    let repeated = rows - kept.len();
    println!(
        "kills {KILLS}, acknowledged {}, stored {}, missing {missing}, repeated rows {repeated}, slowest start {} ms",
        acknowledged.len(),
        kept.len(),
        slowest.as_millis()
    );
    assert_eq!((missing, repeated), (0, 0));
}

#[tokio::test]
async fn told_to_stop_it_ends_well_and_keeps_what_it_acknowledged() {
    let mut process = Process::new();
    process.start().await;
    let (body, keys) = export(50);
    let request = client().post(format!("http://{}/v1/traces", process.http)).body(body);
    let answer = request.header("content-type", "application/x-protobuf").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let (well, took) = process.terminate();
    assert!(well, "{}", process.log());
    // The grace period is 10 s; nothing here needs it.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(stored(&process).await.0, keys);
}
