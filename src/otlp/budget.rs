//! Bytes in flight: what all requests together may hold, as received, decompressed and decoded, until they are
//! answered.
//!
//! Bytes are taken before memory is; a request that finds none left is refused, and nothing waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config;
use crate::decode::NoRoom;
use crate::telemetry::Metrics;

/// The bytes of all requests.
pub(super) struct Budget {
    most: usize,
    most_each: usize,
    held: AtomicUsize,
    metrics: Metrics,
}

/// The bytes of one request; given back when dropped.
pub(super) struct Share {
    budget: Arc<Budget>,
    held: AtomicUsize,
}

/// How many times the largest body one request may hold in all its forms. Ordinary spans take five times their
/// protobuf when decoded.
const FORMS: usize = 10;

impl Budget {
    pub(super) fn new(limits: &config::Otlp, metrics: Metrics) -> Arc<Self> {
        let most = usize::try_from(limits.max_in_flight.0).unwrap_or(usize::MAX);
        let most_each = most.min((limits.max_request.0 as usize).saturating_mul(FORMS));
        Arc::new(Self { most, most_each, held: AtomicUsize::new(0), metrics })
    }

    /// A share that holds nothing yet.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), held: AtomicUsize::new(0) }
    }

    fn report(&self) {
        self.metrics.in_flight(self.held.load(Ordering::Relaxed) as i64);
    }
}

impl Share {
    /// Takes bytes, or none of them.
    pub(super) fn take(&self, bytes: usize) -> Result<(), NoRoom> {
        let own = self.held.load(Ordering::Relaxed).saturating_add(bytes);
        if self.budget.most_each < own {
            return Err(NoRoom::Ever);
        }
        let grown = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.budget.most);
        self.budget
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .map_err(|_| NoRoom::Now)?;
        self.held.store(own, Ordering::Relaxed);
        self.budget.report();
        Ok(())
    }

    /// Whether there is room for so much at the moment. Takes nothing: who announces much may send nothing.
    pub(super) fn could_take(&self, bytes: usize) -> Result<(), NoRoom> {
        if self.budget.most.saturating_sub(bytes) < self.budget.held.load(Ordering::Relaxed) {
            return Err(NoRoom::Now);
        }
        Ok(())
    }

    /// Holds so much from now on, at the most.
    pub(super) fn keep(&self, bytes: usize) {
        self.give_back(self.held.load(Ordering::Relaxed).saturating_sub(bytes));
    }

    /// Gives back some of what it took.
    pub(super) fn give_back(&self, bytes: usize) {
        let bytes = bytes.min(self.held.load(Ordering::Relaxed));
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.report();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Bytes;

    fn budget(max_in_flight: u64, max_request: u64) -> Arc<Budget> {
        let limits = config::Otlp {
            max_in_flight: Bytes(max_in_flight),
            max_request: Bytes(max_request),
            ..config::Otlp::default()
        };
        Budget::new(&limits, Metrics::new())
    }

    #[test]
    fn requests_share_what_there_is_and_give_it_back() {
        let budget = budget(100, 10);
        let (first, second) = (budget.share(), budget.share());
        assert_eq!(first.take(60), Ok(()));
        assert_eq!(second.take(41), Err(NoRoom::Now));
        assert_eq!(second.take(40), Ok(()));
        first.give_back(1);
        assert_eq!(second.take(1), Ok(()));
        assert_eq!((first.could_take(0), first.could_take(1)), (Ok(()), Err(NoRoom::Now)));
        first.keep(70);
        assert_eq!(second.take(1), Err(NoRoom::Now));
        first.keep(50);
        assert_eq!(second.take(9), Ok(()));
        drop(first);
        assert_eq!(second.take(50), Ok(()));
        drop(second);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_could_never_fit_is_told_from_what_does_not_fit_now() {
        let budget = budget(1_000, 10);
        let share = budget.share();
        assert_eq!(share.take(100), Ok(()));
        assert_eq!(share.take(1), Err(NoRoom::Ever));
        assert_eq!(share.take(usize::MAX), Err(NoRoom::Ever));
    }
}
