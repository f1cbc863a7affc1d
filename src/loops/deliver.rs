//! Takes what receivers are to be told from the outbox and posts it, until they have it or will never take it.
//!
//! One loop per receiver, so that one that hangs delays nobody else. A step claims a few deliveries, posts them
//! without holding a transaction, and writes down how it went. If the process dies in between, the lease ends and
//! they are posted again under the same ids: at least once, never unheard.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tracing::Instrument as _;

use super::Progress;
use crate::alert::{Answer, Receiver};
use crate::store::{DueDelivery, Store, StoreError, Tried};
use crate::telemetry::{Metrics, trace};

/// The receiver wants no more of this (RFC 9110 §15.5.11).
const GONE: u16 = 410;
/// Time beyond a try's own limit to write down how it ended.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// Pauses between tries.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// After the first failed try, the second, and so on; when all are used up, the delivery is dead.
    pub waits: Vec<Duration>,
    /// Share by which a pause may be longer or shorter, so that receivers are not met by all at once.
    pub jitter: f64,
}

impl Default for Schedule {
    /// Over about 18 hours: a night without anybody at the receiver's end.
    fn default() -> Self {
        let secs = Duration::from_secs;
        let (mins, hours) = (Duration::from_mins, Duration::from_hours);
        Self {
            waits: vec![secs(5), secs(30), mins(2), mins(10), mins(30), hours(2), hours(5), hours(10)],
            jitter: 0.2,
        }
    }
}

impl Schedule {
    /// The pause after so many tries, `chance` between 0 and 1; `None` after the last.
    fn wait(&self, attempts: u32, chance: f64) -> Option<Duration> {
        let failed = attempts.max(1) as usize;
        let wait = self.waits.get(failed - 1)?;
        Some(wait.mul_f64(1.0 + self.jitter * (2.0 * chance - 1.0)))
    }

    /// What becomes of a delivery that was answered so after so many tries.
    fn decide(&self, answer: Answer, attempts: u32) -> Tried {
        match answer {
            Answer::Delivered { status } => Tried::Delivered { status },
            Answer::Refused { status, why } => Tried::Dead { status: Some(status), why },
            Answer::Later { status, after, why } => match self.wait(attempts, rand::random()) {
                Some(wait) => {
                    let pause = after.unwrap_or_default();
                    Tried::Retry { status, why, wait: wait.max(pause), pause }
                }
                None => Tried::Dead { status, why: format!("{why}; tried {attempts} times") },
            },
        }
    }
}

/// Delivers to one receiver.
#[derive(Clone)]
pub struct Deliver {
    store: Store,
    receiver: Arc<Receiver>,
    schedule: Schedule,
    metrics: Metrics,
}

impl Deliver {
    /// For one receiver.
    pub fn new(store: Store, receiver: Receiver, schedule: Schedule, metrics: Metrics) -> Self {
        Self { store, receiver: Arc::new(receiver), schedule, metrics }
    }

    /// Tries what is due, a few at once.
    pub async fn step(&self) -> Result<Progress, StoreError> {
        if self.receiver.is_disabled() {
            return Ok(Progress::Idle);
        }
        let name = self.receiver.name();
        let lease = self.receiver.timeout() + LEASE_MARGIN;
        let due = self.store.claim_deliveries(name, lease, self.receiver.allowance()).await?;
        let tried = !due.is_empty();
        // All of them are ended before a failure of one is reported.
        let tries = due.into_iter().map(|due| self.attempt(due).instrument(trace::work("deliver")));
        for ended in join_all(tries).await {
            ended?;
        }
        let (count, lag) = self.store.waiting_deliveries(name).await?;
        self.metrics.deliveries_pending(name, count, lag);
        Ok(if tried { Progress::Worked } else { Progress::Idle })
    }

    async fn attempt(&self, due: DueDelivery) -> Result<(), StoreError> {
        let span = trace::post(self.receiver.host());
        let answer = self.receiver.post(due.id, due.payload.clone()).instrument(span.clone()).await;
        trace::end_post(&span, answer.status());
        let name = self.receiver.name();
        if matches!(answer, Answer::Refused { status: GONE, .. }) && !self.receiver.is_disabled() {
            tracing::warn!(receiver = name, "answered that it is gone; left alone until the next start");
            self.receiver.disable();
        }
        let tried = self.schedule.decide(answer, due.attempts);
        self.metrics.delivery(
            name,
            match &tried {
                Tried::Delivered { .. } => "delivered",
                Tried::Retry { .. } => "retry",
                Tried::Dead { .. } => "dead",
            },
        );
        if let Tried::Dead { why, .. } = &tried {
            tracing::warn!(receiver = name, delivery = %due.id, attempts = due.attempts, why, "a delivery is dead");
        }
        let ended = self.store.end_delivery(&due, &tried).instrument(trace::question("end a delivery"));
        if !ended.await? {
            tracing::info!(receiver = name, delivery = %due.id, "a try outlived its lease; another will be told");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let schedule = Schedule::default();
        let exact: Vec<_> = (1..=8).map(|tries| schedule.wait(tries, 0.5).unwrap().as_secs()).collect();
        assert_eq!(exact, [5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000]);
        assert_eq!(schedule.wait(9, 0.5), None);
    }

    #[test]
    fn pauses_vary_by_a_fifth_at_most() {
        let schedule = Schedule::default();
        assert_eq!(schedule.wait(1, 0.0), Some(Duration::from_secs(4)));
        assert_eq!(schedule.wait(1, 1.0), Some(Duration::from_secs(6)));
    }
}
