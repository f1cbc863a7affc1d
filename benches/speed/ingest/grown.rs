//! What a span costs when many are stored already.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use debunk::clock;
use debunk::decode::otlp;
use debunk::store::{Days, Writer, encode};
use debunk::telemetry::Metrics;
use tokio::task::JoinSet;

use crate::database::Database;
use crate::traffic::Stamp;

const SENDERS: usize = 32;
/// Spans over which a rate is taken.
const WINDOW: usize = 50_000;
/// It ends then, whatever is stored.
const LONG: Duration = Duration::from_mins(5);

/// Past the door, so that the table is what is measured.
pub(crate) async fn run(stamps: &Arc<Vec<Stamp>>, most: usize) {
    let database = Database::fresh().await;
    let (writer, work) = Writer::start(database.store.clone(), Metrics::new(), 1 << 28);
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    let stored = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    for own in 0..SENDERS {
        let (stamps, stored, writer) = (Arc::clone(stamps), Arc::clone(&stored), writer.clone());
        tasks.spawn(async move {
            let days = Days::new(clock::now().date(), Duration::from_hours(7 * 24));
            for stamp in stamps.iter().cycle().skip(own) {
                if most + WINDOW < stored.load(Ordering::Relaxed) || LONG < begun.elapsed() {
                    break;
                }
                let exports = otlp::protobuf(&stamp.fresh(), &|_| Ok(())).unwrap();
                let written = writer.write(encode(exports, &days)).await.unwrap();
                stored.fetch_add(written.stored, Ordering::Relaxed);
            }
        });
    }
    drop(writer);
    let mut first = None;
    for size in [100_000, 1_000_000, 10_000_000].into_iter().filter(|size| *size <= most) {
        let Some(rate) = rate_at(size, &stored, begun).await else {
            println!("  {size} spans were not stored in {} s", LONG.as_secs());
            break;
        };
        let first = *first.get_or_insert(rate);
        println!(
            "  with {size} spans stored: {rate:.0} spans/s past the door, {:.2} of the first",
            rate / first
        );
    }
    tasks.join_all().await;
    super::close(database).await;
}

/// Spans a second from this size on.
async fn rate_at(size: usize, stored: &AtomicUsize, begun: Instant) -> Option<f64> {
    let reached = async |count: usize| {
        while stored.load(Ordering::Relaxed) < count {
            if LONG < begun.elapsed() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Some((Instant::now(), stored.load(Ordering::Relaxed)))
    };
    let (from, few) = reached(size).await?;
    let (until, many) = reached(size + WINDOW).await?;
    Some((many - few) as f64 / (until - from).as_secs_f64())
}
