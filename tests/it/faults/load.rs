//! More arrives than can be taken.

use std::time::{Duration, Instant};

use super::{Kept, long, mib, report};
use crate::support::load::Load;
use crate::support::process::Process;

/// A small installation: what does not fit is refused, not kept.
const SMALL: &str = "[otlp]\nmax_request = \"8MiB\"\nmax_in_flight = \"64MiB\"\n";
const ROOM: u64 = 64 << 20;

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
