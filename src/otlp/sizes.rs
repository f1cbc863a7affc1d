//! How many spans a trace may have, held without a question to the database for each request.
//!
//! A fixed table of slots counts spans; every trace falls into one by its hash. A slot gives room for an eighth of what
//! a trace may have. When it is used up the database is asked how many spans the trace at hand really has, which sees
//! what other replicas stored and what was a repetition, and gives room for as many more. So no span is lost to a
//! guess (one that is turned away as it comes again is stored), traces that share a slot cost a question now and then, and a trace grows past its limit by no more than an
//! eighth for each further replica, and by what is in flight at once.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::accept::{Refusal, away};
use crate::decode::check::{Reason, Rejections};
use crate::model::TraceId;
use crate::store::{Batch, Store};

const SLOTS: usize = 1 << 14;
/// Questions on the way to a full trace.
const STEPS: u32 = 8;
/// A full trace is asked about again after so long: its days may have been dropped.
const REMEMBERED: Duration = Duration::from_mins(1);

/// The room that traces have.
pub(super) struct Sizes {
    store: Store,
    most: u32,
    step: u32,
    /// Seeded anew in each process, so that nobody can aim at a slot.
    hasher: RandomState,
    slots: Box<[Mutex<Slot>]>,
}

#[derive(Clone, Copy)]
struct Slot {
    /// Spans that may come before the database has to be asked.
    room: u32,
    /// The last trace found full, and until when that is believed.
    full: Option<(TraceId, Instant)>,
}

/// What a slot says to spans of a trace.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Come,
    Ask,
    Full,
}

impl Sizes {
    pub(super) fn new(store: Store, most: u32) -> Self {
        let step = most.div_ceil(STEPS);
        let slots = (0..SLOTS).map(|_| Mutex::new(Slot { room: step, full: None })).collect();
        Self { store, most, step, hasher: RandomState::new(), slots }
    }

    /// Takes out the spans that are too many for their trace.
    pub(super) async fn admit(&self, batch: &mut Batch, rejections: &mut Rejections) -> Result<(), Refusal> {
        let mut allowed: BTreeMap<TraceId, u32> = BTreeMap::new();
        let mut asked = Vec::new();
        let now = Instant::now();
        for (trace, count) in counts(batch.traces()) {
            match self.slot(trace, |slot| slot.take(trace, count, now)) {
                Said::Come => {}
                Said::Full => drop(allowed.insert(trace, 0)),
                Said::Ask => asked.push((trace, count)),
            }
        }
        if !asked.is_empty() {
            let ids: Vec<TraceId> = asked.iter().map(|(trace, _)| *trace).collect();
            let sizes = self.store.sizes(&ids, self.most).await.map_err(|error| {
                tracing::warn!(%error, "cannot ask how large a trace is");
                away()
            })?;
            for ((trace, count), size) in asked.into_iter().zip(sizes) {
                let room = self.most.saturating_sub(size);
                let left = room.saturating_sub(count);
                self.slot(trace, |slot| slot.refill(trace, left.min(self.step), now));
                if room < count {
                    tracing::warn!(%trace, most = self.most, "a trace has as many spans as one may; more are rejected");
                    allowed.insert(trace, room);
                }
            }
        }
        if !allowed.is_empty() {
            take_out(batch, &mut allowed, rejections);
        }
        Ok(())
    }

    fn slot<T>(&self, trace: TraceId, with: impl FnOnce(&mut Slot) -> T) -> T {
        let at = self.hasher.hash_one(trace.0) as usize % SLOTS;
        with(&mut self.slots[at].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Slot {
    fn take(&mut self, trace: TraceId, count: u32, now: Instant) -> Said {
        if self.full.is_some_and(|(full, until)| full == trace && now < until) {
            return Said::Full;
        }
        match self.room.checked_sub(count) {
            Some(rest) => {
                self.room = rest;
                Said::Come
            }
            None => Said::Ask,
        }
    }

    /// After the database was asked about a trace: so much more may come of it.
    fn refill(&mut self, trace: TraceId, room: u32, now: Instant) {
        self.room = room;
        if room == 0 {
            self.full = Some((trace, now + REMEMBERED));
        }
    }
}

/// Spans by trace.
fn counts(traces: impl Iterator<Item = TraceId>) -> Vec<(TraceId, u32)> {
    let mut runs: Vec<(TraceId, u32)> = Vec::new();
    for trace in traces {
        match runs.last_mut() {
            Some((last, count)) if *last == trace => *count += 1,
            _ => runs.push((trace, 1)),
        }
    }
    runs.sort_unstable_by_key(|(trace, _)| trace.0);
    runs.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    runs
}

/// Keeps as many spans of each trace as are allowed, the first ones; all of a trace that is not named.
fn take_out(batch: &mut Batch, allowed: &mut BTreeMap<TraceId, u32>, rejections: &mut Rejections) {
    batch.retain(|trace, name| {
        let Some(left) = allowed.get_mut(&trace) else { return true };
        if let Some(rest) = left.checked_sub(1) {
            *left = rest;
            return true;
        }
        rejections.add(Reason::TraceSize, name, &trace.0.to_be_bytes());
        false
    });
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::Span;
    use time::macros::date;

    use super::*;
    use crate::store::Days;

    fn batch(traces: &[u8]) -> Batch {
        let mut batch = Batch::new(Days::new(date!(2026 - 05 - 10), Duration::from_hours(24)));
        for (number, trace) in traces.iter().enumerate() {
            let (trace_id, span_id) = (vec![*trace; 16], vec![number as u8 + 1; 8]);
            batch.span(Span { trace_id, span_id, name: format!("span {number}"), ..Span::default() });
        }
        batch
    }

    fn id(trace: u8) -> TraceId {
        TraceId::from_bytes(&[trace; 16]).unwrap()
    }

    #[test]
    fn spans_are_counted_by_trace_wherever_they_stand() {
        assert_eq!(counts(batch(&[2, 2, 1, 2, 3, 1]).traces()), [(id(1), 2), (id(2), 3), (id(3), 1)]);
        assert_eq!(counts(batch(&[]).traces()), []);
    }

    #[test]
    fn the_first_ones_stay_and_other_traces_are_not_touched() {
        let mut batch = batch(&[2, 1, 2, 2, 1, 2]);
        let mut rejections = Rejections::default();
        take_out(&mut batch, &mut BTreeMap::from([(id(2), 1)]), &mut rejections);
        assert_eq!(counts(batch.traces()), [(id(1), 2), (id(2), 1)]);
        assert_eq!(rejections.by_reason().collect::<Vec<_>>(), [(Reason::TraceSize, 3)]);
        let message = rejections.message();
        assert!(message.contains("\"span 2\" is one too many of trace 0202"), "{message}");
    }

    #[test]
    fn a_slot_gives_room_until_it_has_to_ask_and_forgets_that_a_trace_was_full() {
        let now = Instant::now();
        let mut slot = Slot { room: 10, full: None };
        assert_eq!(slot.take(id(1), 7, now), Said::Come);
        assert_eq!(slot.take(id(1), 4, now), Said::Ask);
        slot.refill(id(1), 5, now);
        assert_eq!(slot.take(id(2), 5, now), Said::Come);
        assert_eq!(slot.take(id(1), 1, now), Said::Ask);
        slot.refill(id(1), 0, now);
        assert_eq!(slot.take(id(1), 1, now), Said::Full);
        // Others in the slot are asked about, not turned away.
        assert_eq!(slot.take(id(2), 1, now), Said::Ask);
        slot.refill(id(2), 10, now);
        assert_eq!(slot.take(id(2), 1, now), Said::Come);
        assert_eq!(slot.take(id(1), 1, now), Said::Full);
        assert_eq!(slot.take(id(1), 1, now + REMEMBERED), Said::Come);
    }
}
