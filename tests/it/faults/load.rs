//! More arrives than can be taken.

use std::time::{Duration, Instant};

use super::{Kept, long, mib, report};
use crate::support::load::{Load, Pace, Tally};
use crate::support::process::Process;

/// A small installation: what does not fit is refused, not kept.
const SMALL: &str = "[otlp]\nmax_request = \"8MiB\"\nmax_in_flight = \"64MiB\"\n";
const ROOM: u64 = 64 << 20;

/// Runs a load for so long; returns what it saw, and acknowledged spans a second.
async fn measure(load: Load, time: Duration) -> (Tally, f64) {
    load.acknowledged_again().await;
    let (begun, before) = (Instant::now(), load.see(|tally| tally.acknowledged.len()));
    tokio::time::sleep(time).await;
    let goodput =
        (load.see(|tally| tally.acknowledged.len()) - before) as f64 / begun.elapsed().as_secs_f64();
    (load.stop().await, goodput)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_more_than_it_can_take_is_refused_in_time_and_costs_little_of_the_rest() {
    let (time, spans) = (Duration::from_secs(if long() { 20 } else { 2 }), 500);
    let (few, many) = (16, 400);
    let mut process = Process::with(SMALL);
    process.start().await;
    let (mut all, peak) = measure(Load::start(&process, few, spans), time).await;
    let every = Duration::from_secs_f64((many * spans) as f64 / (10.0 * peak));
    let pace = Pace { after_success: every, after_failure: every };
    let before = process.peak_memory();
    let (crowd, goodput) = measure(Load::paced(&process, many, spans, pace), time).await;
    let after = process.peak_memory();
    let (tally, peak_again) = measure(Load::start(&process, few, spans), time).await;
    let sent = (crowd.acknowledged.len() + crowd.failed() * spans) as f64 / time.as_secs_f64();
    let most = peak.max(peak_again);
    all.acknowledged.extend(&crowd.acknowledged);
    all.acknowledged.extend(&tally.acknowledged);
    let kept = Kept::of(&all.acknowledged, &mut process.connect().await).await;
    report(
        22,
        &format!(
            "{many} exporters sent {:.1} times what {few} had acknowledged, {kept}, refused with a hint {} (99 % \
             within {} ms), goodput {goodput:.0} of {most:.0} spans/s ({:.0} %), peak RSS {} MiB before and {} MiB \
             after",
            sent / most,
            crowd.full.len(),
            crowd.full_p99().as_millis(),
            100.0 * goodput / most,
            mib(before),
            mib(after)
        ),
    );
    kept.hold();
    assert_eq!((crowd.broken, crowd.away), (0, 0));
    assert!(!crowd.full.is_empty() || !long(), "nothing was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_large_exports_is_refused_before_it_takes_memory() {
    let time = Duration::from_secs(if long() { 120 } else { 4 });
    let mut process = Process::with(SMALL);
    process.start().await;
    let idle = process.memory_now();
    let load = Load::start(&process, 32, 8_000);
    load.acknowledged_again().await;
    let begun = Instant::now();
    let mut half = 0;
    while begun.elapsed() < time {
        if half == 0 && time / 2 < begun.elapsed() {
            half = process.peak_memory();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let tally = load.stop().await;
    let peak = process.peak_memory();
    let kept = Kept::of(&tally.acknowledged, &mut process.connect().await).await;
    let bound = idle + 3 * ROOM;
    report(
        23,
        &format!(
            "32 exporters of 8,000 spans at once for {} s, {kept}, refused with a hint {}, peak RSS {} MiB (bound {} \
             MiB: {} MiB idle and three times max_in_flight; {} MiB at half-time)",
            time.as_secs(),
            tally.full.len() + tally.away,
            mib(peak),
            mib(bound),
            mib(idle),
            mib(half)
        ),
    );
    kept.hold();
    assert!(peak < bound, "{} MiB", mib(peak));
}
