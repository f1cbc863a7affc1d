//! Debunk itself is killed, or told to stop.

use std::time::Duration;

use super::{Kept, long, report};
use crate::support::load::Load;
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_twenty_kills() {
    let kills = if long() { 20 } else { 6 };
    let mut process = Process::new();
    process.start().await;
    let load = Load::start(&process, 4, 100);
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        // At a different moment each time, but only after something new was acknowledged.
        load.acknowledged_again().await;
        tokio::time::sleep(Duration::from_millis(150 + kill % 7 * 30)).await;
        process.kill();
        slowest = slowest.max(process.start().await);
    }
    let tally = load.stop().await;
    let kept = Kept::of(&tally.acknowledged, &mut process.connect().await).await;
    report(1, &format!("kills {kills}, {kept}, ready again within {:.1} s", slowest.as_secs_f64()));
    kept.hold();
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
