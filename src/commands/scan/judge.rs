//! A heap of spans to what rules found: each thread takes a part, and judges its traces one after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context as _;
use indicatif::ProgressBar;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::bar;
use super::heap::{self, Heap, PARTS, Record};
use crate::config::Config;
use crate::findings::{self, Inspection, Settings};
use crate::model::{Assembly, Received};
use crate::rules::{Confidence, Thresholds};
use crate::semconv::{Reader, exceptions};

/// How many traces there are, and what was found in them, in the order of their ids.
pub(super) fn all(
    heap: &Heap,
    thresholds: &Thresholds,
    min_confidence: Confidence,
    config: &Config,
    workers: usize,
) -> anyhow::Result<(u64, Vec<Inspection>)> {
    let max_spans = config.traces.max_spans_evaluated as usize;
    // A file is all there is: nothing more will come.
    let assembly = Assembly { max_spans, ..Assembly::default() };
    let settings = Settings { thresholds, min_confidence, assembly };
    let bar = bar(heap.size(), "judge", "");
    let next = AtomicUsize::new(0);
    let mut traces = 0;
    let mut found = Vec::new();
    thread::scope(|scope| {
        let work = || of_parts(heap, &next, &mut Reader::new(&config.environments.aliases), settings, &bar);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (count, inspections) = worker.join().expect("judging a trace does not panic")?;
            traces += count;
            found.extend(inspections);
        }
        anyhow::Ok(())
    })?;
    bar.finish_and_clear();
    found.sort_unstable_by_key(|one| one.trace_id);
    Ok((traces, found))
}

/// One part after another, as long as there is one that nobody has taken.
fn of_parts(
    heap: &Heap,
    next: &AtomicUsize,
    reader: &mut Reader,
    settings: Settings<'_>,
    bar: &ProgressBar,
) -> anyhow::Result<(u64, Vec<Inspection>)> {
    let mut traces = 0;
    let mut found = Vec::new();
    loop {
        let part = next.fetch_add(1, Ordering::Relaxed);
        if PARTS <= part {
            return Ok((traces, found));
        }
        let bytes = heap.read(part).context("cannot read spans back from a temporary file")?;
        let mut records = heap::records(&bytes);
        records.sort_unstable_by_key(|record| record.head);
        for trace in records.chunk_by(|a, b| a.head.trace == b.head.trace) {
            let judged = earliest(trace, settings.assembly.max_spans).iter().map(received);
            // Read as they are decoded, where none has to wait for another.
            let spans = if heap.has_events {
                reader.spans(exceptions::attach(judged.collect()))
            } else {
                reader.spans(judged)
            };
            traces += u64::from(!spans.is_empty());
            let inspection = findings::inspect(trace[0].head.trace, spans, settings);
            if !inspection.occurrences.is_empty() || !inspection.panicked.is_empty() {
                found.push(inspection);
            }
        }
        bar.inc(bytes.len() as u64);
    }
}

/// What is judged of a trace, and one span more, so that a larger one is seen to be cut and claims no absence.
fn earliest<'r, 'b>(trace: &'r [Record<'b>], most: usize) -> &'r [Record<'b>] {
    let mut distinct = 0;
    let mut last = None;
    let end = trace.iter().position(|record| {
        distinct += usize::from(last.replace(record.head) != Some(record.head));
        most + 1 < distinct
    });
    &trace[..end.unwrap_or(trace.len())]
}

fn received(record: &Record<'_>) -> Received {
    Received {
        resource: Arc::clone(&record.resource),
        scope: Arc::clone(&record.scope),
        span: Span::decode(record.encoded).expect("we encoded it"),
    }
}
