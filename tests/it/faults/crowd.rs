//! Many connections: slow ones, idle ones, and busy ones.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Kept, long, report};
use crate::support::eventually;
use crate::support::load::{Load, PATIENCE, Pace, Tally};
use crate::support::process::Process;

/// A thousand, or as many as this process may open with room for others.
fn crowd() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let most: usize = line.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX);
    (most / 4).min(if long() { 1_000 } else { 200 })
}

fn leisurely() -> Pace {
    Pace { after_success: Duration::from_millis(50), after_failure: Duration::from_millis(50) }
}

/// Begins in one of three ways and says no more; comes back when the connection is closed.
async fn dawdle(process: (std::net::SocketAddr, std::net::SocketAddr), number: usize) {
    let address = if number.is_multiple_of(2) { process.0 } else { process.1 };
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begun: &[u8] = match number % 3 {
        0 => b"",
        1 => b"POST /v1/tr",
        _ => b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{",
    };
    stream.write_all(begun).await.unwrap();
    let mut answer = vec![0; 4_096];
    // Closed or reset: both are an end.
    while let Ok(1..) = stream.read(&mut answer).await {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_idle_connections_are_closed_and_keep_nobody_waiting() {
    let crowd = crowd();
    let mut process = Process::with("[otlp]\nidle_timeout = \"3s\"\nread_timeout = \"3s\"\n");
    process.start().await;
    let load = Load::paced(&process, 4, 20, leisurely());
    load.until(|tally| 60 < tally.waits.len()).await;
    let alone = load.stop().await;
    let files = process.open_files();
    let mut slow = JoinSet::new();
    for number in 0..crowd {
        slow.spawn(dawdle((process.grpc, process.http), number));
    }
    let begun = Instant::now();
    let load = Load::paced(&process, 4, 20, leisurely());
    tokio::time::timeout(PATIENCE, slow.join_all()).await.unwrap();
    let closed = begun.elapsed();
    let beside = load.stop().await;
    eventually("their files are closed", async || process.open_files() <= files + 8).await;
    let acknowledged = alone.acknowledged.union(&beside.acknowledged).copied().collect();
    let kept = Kept::of(&acknowledged, &mut process.connect().await).await;
    report(
        19,
        &format!(
            "{crowd} connections that say nothing, half a header or half a body, all closed within {:.1} s (timeouts of \
             3 s), {kept}, others acknowledged within {} ms alone and {} ms beside them (99 %)",
            closed.as_secs_f64(),
            alone.acknowledged_p99().as_millis(),
            beside.acknowledged_p99().as_millis()
        ),
    );
    kept.hold();
    assert_eq!(beside.failed(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_exporters_at_once_are_all_served() {
    let crowd = crowd();
    let mut process = Process::new();
    process.start().await;
    let pace = Pace { after_success: Duration::from_secs(1), after_failure: Duration::from_secs(1) };
    let load = Load::paced(&process, crowd, 5, pace);
    let all = load.until(|tally| tally.served.len() == crowd).await;
    tokio::time::sleep(Duration::from_secs(if long() { 20 } else { 1 })).await;
    let tally: Tally = load.stop().await;
    let kept = Kept::of(&tally.acknowledged, &mut process.connect().await).await;
    report(
        20,
        &format!(
            "{crowd} exporters, each with a connection and an export a second, all served within {:.1} s, {kept}, \
             acknowledged within {} ms (99 %), refused or broken {}",
            all.as_secs_f64(),
            tally.acknowledged_p99().as_millis(),
            tally.failed()
        ),
    );
    kept.hold();
}
