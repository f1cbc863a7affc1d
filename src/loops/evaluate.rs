//! Judges traces that have been quiet: claim, load, judge, replace. No transaction is open between the four.
//!
//! A step that fails, or a replica that dies, leaves the claim to run out; another look starts from the stored
//! spans. A trace on which looks keep failing is set aside, and takes no other with it. What it does not do: decide when a finding opens (`findings::life`) or whom to tell (`alert`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Instrument as _;

use crate::alert::Receivers;
use crate::config::Config;
use crate::findings::{Judgement, Settings};
use crate::model::{Span, TraceId};
use crate::semconv;
use crate::store::{Claimed, Claims, Finished, Loaded, Policy, Room, Size, Store, StoreError};
use crate::telemetry::{Metrics, trace};

use super::Progress;

/// Traces claimed at once.
const BATCH: u32 = 32;
/// Looks at one trace that came to nothing before it is set aside.
const MAX_ATTEMPTS: i32 = 5;

/// What judges one trace: [`findings::judge`](crate::findings::judge).
pub type Judge = fn(TraceId, Vec<Span>, Settings<'_>) -> Judgement;

/// Judges traces. Several may run, here and in other processes.
#[derive(Clone)]
pub struct Evaluate {
    store: Store,
    config: Arc<Config>,
    receivers: Arc<Receivers>,
    metrics: Metrics,
    judge: Judge,
}

impl Evaluate {
    /// With the settings in force, those who are told of changes, and what judges.
    pub fn new(
        store: Store,
        config: Arc<Config>,
        receivers: Arc<Receivers>,
        metrics: Metrics,
        judge: Judge,
    ) -> Self {
        Self { store, config, receivers, metrics, judge }
    }

    /// Judges what is due, a batch at most.
    pub async fn step(&self) -> Result<Progress, StoreError> {
        let claimed = self.store.claim(&self.claims()).await?;
        let (poisoned, claimed): (Vec<_>, Vec<_>) =
            claimed.into_iter().partition(|claimed| MAX_ATTEMPTS < claimed.attempts);
        self.set_aside(&poisoned).await?;
        if claimed.is_empty() {
            return Ok(if poisoned.is_empty() { Progress::Idle } else { Progress::Worked });
        }
        let (first, again): (Vec<_>, Vec<_>) = claimed.into_iter().partition(|claimed| claimed.attempts == 1);
        for claimed in [first, again] {
            self.look(claimed).instrument(trace::work("evaluate")).await?;
        }
        Ok(Progress::Worked)
    }

    /// In as many goes as it takes to hold no more than the settings allow.
    async fn look(&self, mut claimed: Vec<Claimed>) -> Result<(), StoreError> {
        let traces = &self.config.traces;
        // One more than is judged, so that a larger trace is seen to be cut and claims no absence.
        let of_trace = traces.max_spans_evaluated.saturating_add(1);
        let room = Room { of_trace, spans: of_trace as usize, bytes: traces.max_bytes_evaluated.0 as usize };
        while !claimed.is_empty() {
            let wanted: Vec<_> = claimed.iter().map(Claimed::days).collect();
            let loading = self.store.load_some(&wanted, room);
            let loaded = loading.instrument(trace::question("load traces")).await?;
            let later = claimed.split_off(loaded.len().min(claimed.len()));
            let sizes = self.store.sizes_of(&loaded, self.config.otlp.max_spans_per_trace).await?;
            let judgements = self.judge(claimed, loaded, sizes).await;
            self.finish(&judgements).instrument(trace::question("replace what is known of traces")).await?;
            claimed = later;
        }
        Ok(())
    }

    fn claims(&self) -> Claims {
        let traces = &self.config.traces;
        Claims {
            quiet: traces.quiet_period.0,
            max_wait: traces.max_wait.0,
            lease: traces.lease.0,
            limit: BATCH,
        }
    }

    /// A trace that several looks could not finish would come back for ever.
    async fn set_aside(&self, poisoned: &[Claimed]) -> Result<(), StoreError> {
        if poisoned.is_empty() {
            return Ok(());
        }
        for claimed in poisoned {
            tracing::error!(trace = %claimed.trace_id, attempts = claimed.attempts, "a trace cannot be judged and is set aside until new spans of it arrive");
        }
        let count = self.store.give_up(poisoned).await?;
        self.metrics.evaluations("quarantined", count);
        Ok(())
    }

    /// On a blocking thread: a large trace must not hold up the door.
    async fn judge(
        &self,
        claimed: Vec<Claimed>,
        loaded: Vec<Loaded>,
        sizes: Vec<Size>,
    ) -> Vec<(Claimed, Judgement)> {
        let own = self.clone();
        let work = move || {
            let traces = claimed.into_iter().zip(loaded).zip(sizes);
            let judged = traces.filter_map(|((claimed, loaded), size)| {
                let judgement = own.judge_one(&claimed, &loaded, size)?;
                Some((claimed, judgement))
            });
            judged.collect()
        };
        tokio::task::spawn_blocking(work).await.expect("what judges is caught")
    }

    /// Rules are caught one by one inside; what is left to panic is a defect of ours. That look is void: the lease
    /// runs out, and after a few more the trace is set aside.
    fn judge_one(&self, claimed: &Claimed, loaded: &Loaded, size: Size) -> Option<Judgement> {
        let begun = Instant::now();
        if 0 < size.unread || (self.config.traces.max_spans_evaluated as usize) < loaded.spans.len() {
            self.metrics.cut_trace();
        }
        let settings = Settings {
            thresholds: &self.config.rules,
            min_confidence: self.config.findings.min_confidence,
            assembly: size.assembly(self.config.traces.max_spans_evaluated, claimed.settled),
        };
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let spans = semconv::spans(&loaded.spans, &self.config.environments.aliases);
            (self.judge)(claimed.trace_id, spans, settings)
        }));
        let Ok(judgement) = judged else {
            tracing::error!(trace = %claimed.trace_id, "judging a trace panicked; it will be tried again");
            self.metrics.evaluations("failed", 1);
            return None;
        };
        for rule in &judgement.panicked {
            tracing::error!(trace = %claimed.trace_id, rule, "a rule panicked; the others go on");
            self.metrics.rule_panic(rule);
        }
        self.metrics.evaluation(begun.elapsed().as_secs_f64());
        Some(judgement)
    }

    async fn finish(&self, judgements: &[(Claimed, Judgement)]) -> Result<(), StoreError> {
        let policy = Policy::of(&self.config);
        let finished =
            self.store.finish(judgements, &policy, &|change| self.receivers.deliveries(change)).await?;
        for ((claimed, judgement), finished) in judgements.iter().zip(finished) {
            let outcome = match finished {
                Finished::Fenced => "fenced",
                _ if claimed.overdue => "late",
                _ => "ok",
            };
            self.metrics.evaluations(outcome, 1);
            for occurrence in &judgement.occurrences {
                self.metrics.occurrence(occurrence.rule, occurrence.confidence.id());
            }
        }
        Ok(())
    }
}

/// Keeps the gauges that describe the backlog true.
pub async fn observe(store: &Store, quiet: Duration, metrics: &Metrics) -> Result<Progress, StoreError> {
    let result = store.backlog(quiet).await;
    metrics.database_up(result.is_ok());
    let backlog = result?;
    metrics.pending(backlog.traces, backlog.lag_seconds);
    metrics.findings(&store.finding_counts().await?);
    Ok(Progress::Idle)
}
