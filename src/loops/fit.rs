//! Keeps what is stored within `retention.max_size`: whole days go, oldest first, and where only today is left, its
//! oldest traces.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use time::Date;

use super::Progress;
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;

/// Percent of the limit from which on traces of today go, so that there is time to make room.
const HIGH: u64 = 80;
/// Percent of today's traces that go at once.
const SHARE: u64 = 15;

/// One per process. Several may run: each only makes room where there is none.
#[derive(Clone)]
pub struct Fit {
    store: Store,
    /// Bytes.
    most: u64,
    metrics: Metrics,
    /// Bytes a trace of today takes with all that was judged from it, measured when no room in its tables was free; 0
    /// where that never was. Files do not shrink, so after a trim their size no longer says how full they are.
    trace_bytes: Arc<AtomicU64>,
}

impl Fit {
    /// At most `most` bytes.
    pub fn new(store: Store, most: u64, metrics: Metrics) -> Self {
        Self { store, most, metrics, trace_bytes: Arc::default() }
    }

    /// Measures what is stored, and makes room while it is too much.
    pub async fn step(&self, today: Date) -> Result<Progress, StoreError> {
        loop {
            let storage = self.store.storage().await?;
            self.metrics.storage(&storage);
            let bytes = storage.iter().map(|(_, bytes)| bytes).sum::<i64>().max(0).cast_unsigned();
            if bytes <= self.most / 100 * HIGH {
                return Ok(Progress::Idle);
            }
            if self.store.storage_days().await?.first().is_none_or(|(oldest, _)| today <= *oldest) {
                return self.trim(today, bytes).await;
            }
            if bytes <= self.most {
                return Ok(Progress::Idle);
            }
            let dropped = count_days(&self.store.drop_oldest_day(today).await?);
            if dropped == 0 {
                tracing::warn!(
                    bytes,
                    most = self.most,
                    "more is stored than retention.max_size, and the oldest day is in use"
                );
                return Ok(Progress::Idle);
            }
            self.metrics.dropped_days("size", dropped);
            tracing::warn!(
                bytes,
                most = self.most,
                "dropped the oldest day: more was stored than retention.max_size"
            );
        }
    }

    /// Only today is left.
    async fn trim(&self, today: Date, bytes: u64) -> Result<Progress, StoreError> {
        let day = self.store.day_use(today).await?;
        let (day_bytes, traces) = (day.bytes.max(0).cast_unsigned(), day.traces.max(0).cast_unsigned());
        let others = bytes.saturating_sub(day_bytes);
        let full = match self.trace_bytes.load(Ordering::Relaxed) {
            0 => day_bytes,
            // More than the limit is too much, however much of it is free.
            _ if self.most < bytes => day_bytes,
            each => day_bytes.min(each.saturating_mul(traces)),
        };
        if others + full <= self.most / 100 * HIGH || traces == 0 {
            return Ok(Progress::Idle);
        }
        if self.trace_bytes.load(Ordering::Relaxed) == 0 {
            self.trace_bytes.store((day_bytes / traces).max(1), Ordering::Relaxed);
        }
        let gone = self.store.trim_day(today, (traces * SHARE).div_ceil(100)).await?;
        self.store.reuse_day(today).await?;
        self.metrics.trimmed_traces(gone);
        tracing::warn!(
            bytes,
            most = self.most,
            traces = gone,
            "removed the oldest traces of today: retention.max_size is near"
        );
        Ok(if gone == 0 { Progress::Idle } else { Progress::Worked })
    }
}

/// Each day has one table of spans.
pub(super) fn count_days(tables: &[String]) -> u64 {
    tables.iter().filter(|table| table.starts_with("spans_")).count() as u64
}
