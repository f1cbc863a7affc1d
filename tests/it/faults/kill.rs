//! Debunk itself is killed, or told to stop.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Kept, long, report};
use crate::alert::peer::{Peer, Receivers, Seen};
use crate::support::load::{Exporter, Load};
use crate::support::process::Process;
use crate::support::traffic::{Key, charged_twice, keys};

/// Changes that are to be told meanwhile.
const FINDINGS: u64 = 5;

/// Sends traces with faults of a few services until they are all acknowledged, whatever is killed meanwhile.
async fn faulty(process: (SocketAddr, SocketAddr), rounds: u64) -> BTreeSet<Key> {
    let (mut grpc, mut http) = (Exporter::grpc(process.0), Exporter::http(process.1));
    let mut acknowledged = BTreeSet::new();
    for round in 0..rounds {
        let export = charged_twice(rand::random::<u128>() | 1, &format!("checkout-{}", round % FINDINGS));
        let exporter = if round % 2 == 0 { &mut grpc } else { &mut http };
        exporter.deliver(&export).await;
        acknowledged.extend(keys(&export));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kills_and_no_change_is_made_or_told_twice() {
    let kills = if long() { 20 } else { 5 };
    let peer = Peer::start([]).await;
    let receivers = Receivers::of(&[("ops", &peer.url)]);
    let mut process = Process::with(&format!("{}[traces]\nlease = \"2s\"\n", receivers.settings));
    process.start().await;
    let load = Load::start(&process, 4, 100);
    let mut faults = JoinSet::new();
    faults.spawn(faulty((process.grpc, process.http), 10 * kills));
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        // At a different moment each time, but only after something new was acknowledged.
        load.acknowledged_again().await;
        tokio::time::sleep(Duration::from_millis(150 + kill % 7 * 30)).await;
        process.kill();
        slowest = slowest.max(process.start().await);
    }
    let tally = load.stop().await;
    let mut acknowledged = tally.acknowledged;
    acknowledged.extend(faults.join_all().await.into_iter().flatten());

    let mut connection = process.connect().await;
    // Nobody has to wait for the leases of the dead.
    let expire = "update deliveries set leased_until = '-infinity' where state = 'pending'";
    sqlx::query(expire).execute(&mut connection).await.unwrap();
    let judged = Instant::now();
    let waiting = "select (select count(*) from pending) + \
                   (select count(*) from deliveries where state = 'pending')";
    while 0 < sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut connection).await.unwrap() {
        assert!(judged.elapsed() < Duration::from_mins(5), "not all is judged and told");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let judged = judged.elapsed();
    let kept = Kept::of(&acknowledged, &mut connection).await;
    let mut count = async |query: &'static str| -> i64 {
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    };
    let unjudged = count(
        "select count(distinct trace_id) from spans s where not exists \
         (select from traces t where t.trace_id = s.trace_id)",
    )
    .await;
    let findings = count("select count(*) from findings where rule = 'retry_non_idempotent'").await;
    let distinct = count("select count(distinct (rule, service, operation, callee)) from findings").await;
    let (all, repeated) = (
        count("select count(*) from findings").await,
        count("select count(*) - count(distinct (receiver, fingerprint, transition)) from deliveries").await,
    );
    let seen = peer.seen();
    let ids: BTreeSet<&str> = seen.iter().map(Seen::id).collect();
    let changes: BTreeSet<String> =
        seen.iter().map(|one| format!("{} {}", one.event(), one.json()["data"]["finding"]["id"])).collect();
    report(
        1,
        &format!(
            "kills {kills}, {kept}, traces not judged = {unjudged}, duplicate findings = {}, duplicate deliveries = {}, \
             sent again under the same id {}, ready again within {:.1} s, all judged after {:.1} s",
            all - distinct,
            ids.len() - changes.len(),
            seen.len() - ids.len(),
            slowest.as_secs_f64(),
            judged.as_secs_f64()
        ),
    );
    kept.hold();
    assert_eq!((unjudged, all - distinct, repeated), (0, 0, 0));
    assert_eq!((findings, ids.len()), (FINDINGS as i64, changes.len()));
    assert!(FINDINGS as usize <= changes.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_answers_what_it_has_and_ends_well() {
    let mut process = Process::new();
    process.start().await;
    let load = Load::start(&process, 8, 100);
    load.until(|tally| 2_000 < tally.acknowledged.len()).await;
    let (well, took) = process.terminate();
    assert!(well, "{}", process.log());
    // The grace period is 10 s; nothing here needs it.
    assert!(took < Duration::from_secs(10), "{took:?}");
    load.until(|tally| 0 < tally.broken).await;
    let tally = load.stop().await;
    let (_server, mut connection) = process.database().await;
    let kept = Kept::of(&tally.acknowledged, &mut connection).await;
    report(29, &format!("SIGTERM under load, {kept}, exit 0 after {:.1} s", took.as_secs_f64()));
    kept.hold();
}
