//! More arrives than can be taken.

use std::time::{Duration, Instant};

use super::{Kept, long, mib, report};
use crate::support::load::{Load, Pace, Tally};
use crate::support::process::Process;

/// A small installation: what does not fit is refused, not kept.
const SMALL: &str = "[otlp]\nmax_request = \"8MiB\"\nmax_in_flight = \"64MiB\"\n";
const ROOM: u64 = 64 << 20;

/// Exporters that together want ten times what there is room for, and come again as soon as they are refused.
const CROWD: usize = 40;
const SPANS: usize = 500;

/// The same crowd before a process of its own, for so long: what it saw, and acknowledged spans a second.
async fn measure(process: &Process, time: Duration) -> (Tally, f64) {
    let pause = Duration::from_millis(5);
    let load =
        Load::paced(process, CROWD, SPANS, Pace { after_success: Duration::ZERO, after_failure: pause });
    load.acknowledged_again().await;
    let (begun, before) = (Instant::now(), load.see(|tally| tally.acknowledged.len()));
    tokio::time::sleep(time).await;
    let acknowledged = load.see(|tally| tally.acknowledged.len()) - before;
    let goodput = acknowledged as f64 / begun.elapsed().as_secs_f64();
    (load.stop().await, goodput)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_more_than_there_is_room_for_is_refused_at_once_and_costs_the_rest_little() {
    let time = Duration::from_secs(if long() { 20 } else { 1 });
    // In flight an export takes about four tenths of a kilobyte a span, read and as rows.
    let tight =
        format!("[otlp]\nmax_request = \"512KiB\"\nmax_in_flight = \"{}\"\n", CROWD * SPANS * 400 / 10);
    let mut roomy = Process::new();
    roomy.start().await;
    let (_, peak) = measure(&roomy, time).await;
    roomy.kill();
    let mut process = Process::with(&tight);
    process.start().await;
    let (first, _) = measure(&process, time / 2).await;
    let before = process.peak_memory();
    let (mut tally, goodput) = measure(&process, time).await;
    let after = process.peak_memory();
    let offered = (tally.acknowledged.len() + tally.full.len() * SPANS) as f64 / time.as_secs_f64();
    tally.acknowledged.extend(&first.acknowledged);
    let kept = Kept::of(&tally.acknowledged, &mut process.connect().await).await;
    report(
        22,
        &format!(
            "{CROWD} exporters with room for a tenth of them offered {:.1} times what they have acknowledged with room \
             for all, {kept}, refused with a hint {} (99 % within {} ms), goodput {goodput:.0} of {peak:.0} spans/s ({:.0} \
             %), peak RSS {} MiB before and {} MiB after",
            offered / peak,
            tally.full.len(),
            tally.full_p99().as_millis(),
            100.0 * goodput / peak,
            mib(before),
            mib(after)
        ),
    );
    kept.hold();
    assert_eq!((tally.broken, tally.away), (0, 0));
    assert!(!tally.full.is_empty(), "nothing was refused");
    assert!(after < before + (32 << 20), "{} MiB", mib(after));
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
