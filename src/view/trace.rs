//! One trace as its spans mean it today: they are read and assembled anew for each look, so that what is shown is what
//! rules would see, whenever it was judged.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::clocks::Moves;
use super::cursor::narrow;
use super::{Cursor, Failure, Shown, json};
use crate::model::{Received, Span, SpanId, SpanIdx, Trace, TraceId};
use crate::semconv;
use crate::store::occurrences::Sighting;
use crate::store::query::TraceRow;

/// Most occurrences of one trace that are shown.
pub(super) const MAX_OCCURRENCES: u32 = 200;
/// A cursor belongs to one trace.
fn list_of(id: TraceId) -> String {
    format!("spans.{id}")
}

/// Which spans of a trace, in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// In order of start, after a cursor, at most so many.
    ByStart(Option<String>, u32),
    /// Parents before children: page `.0`, counted from zero, of pages of `.1` spans.
    Page(usize, usize),
    /// Parents before children: the page of `.1` spans on which this one stands; the first where it is not.
    Around(SpanId, usize),
}

/// Whose word about time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clocks {
    /// Each sender's.
    AsSent,
    /// That of the root; servers stand where their callers saw them.
    Corrected,
}

/// A trace, and some of its spans.
#[derive(Clone, Debug)]
pub struct TraceView {
    /// Its id.
    pub id: TraceId,
    /// What judging it said; `None` before.
    pub summary: Option<TraceRow>,
    /// It will be looked at, for the first time or again.
    pub pending: bool,
    /// From the earliest start to the latest end, in milliseconds.
    pub duration_ms: f64,
    /// Start of the earliest span, nanoseconds since 1970 by its own clock.
    pub start_ns: i64,
    /// Its service and operation, as its root names them.
    pub name: (String, String),
    /// Spans in all.
    pub total: usize,
    /// Distinct services.
    pub services: usize,
    /// Spans that failed.
    pub errors: usize,
    /// Place of the first span shown, in the order asked for.
    pub first: usize,
    /// The spans asked for.
    pub spans: Vec<SpanView>,
    /// Where the next page starts, by start.
    pub next: Option<String>,
    /// What was found in it.
    pub occurrences: Vec<Sighting>,
    /// Oddities, one line each.
    pub defects: Vec<String>,
    /// How far clocks were moved, in milliseconds, by service.
    pub moved: BTreeMap<String, f64>,
}

/// One span as shown.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names are those of the API")]
pub struct SpanView {
    pub span_id: SpanId,
    pub parent_id: Option<SpanId>,
    /// Spans above it.
    pub depth: usize,
    pub name: String,
    pub service: String,
    pub operation: String,
    pub kind: &'static str,
    pub offset_ms: f64,
    pub duration_ms: f64,
    pub status: &'static str,
    pub status_message: String,
    pub outcome: &'static str,
    /// For calls only.
    pub effect: Option<&'static str>,
    pub failed: bool,
    pub on_critical_path: bool,
    pub scope: String,
    pub attributes: serde_json::Map<String, Value>,
    pub events: Vec<json::Event>,
    pub links: Vec<json::Link>,
    /// Places in `TraceView::occurrences` of those that it is evidence of, with its role there.
    pub evidence_of: Vec<(usize, String)>,
}

impl Shown {
    /// A trace and some of its spans; `None` where nothing of it is kept.
    pub async fn trace(&self, id: TraceId, part: Part, clocks: Clocks) -> Result<Option<TraceView>, Failure> {
        let Some(known) = self.store.whereabouts(id).await? else { return Ok(None) };
        let most = self.config.traces.max_spans_evaluated;
        let days = [known.days];
        let (loaded, summary, occurrences) = tokio::try_join!(
            self.store.load(&days, most),
            self.store.trace(id),
            self.store.occurrences_in(id, MAX_OCCURRENCES),
        )?;
        let size = self.store.sizes_of(&loaded, self.config.otlp.max_spans_per_trace).await?;
        let size = size.first().copied().unwrap_or_default();
        let received: Vec<Received> = loaded.into_iter().flat_map(|loaded| loaded.spans).collect();
        if received.is_empty() {
            return Ok(None);
        }
        let pending = known.pending;
        let aliases = self.config.environments.aliases.clone();
        // Assembling a large trace takes long enough to keep other requests waiting.
        let view = tokio::task::spawn_blocking(move || {
            let read = semconv::spans(&received, &aliases);
            let origins = Origins::of(&read, &received);
            let trace = Trace::assemble(read, size.assembly(most, !pending));
            let moves = match clocks {
                Clocks::AsSent => Moves::none(&trace),
                Clocks::Corrected => Moves::of(&trace),
            };
            view(id, &trace, &origins, &part, &moves, occurrences)
        });
        let view = view.await.map_err(|error| {
            tracing::error!(trace = %id, %error, "cannot assemble a trace for a page");
            Failure::Broken
        })?;
        Ok(Some(TraceView { summary, pending, ..view? }))
    }
}

/// Where a span of the arena came from: attributes and events are read from there.
struct Origins<'r>(HashMap<(SpanId, u64), &'r Received>);

impl<'r> Origins<'r> {
    fn of(read: &[Span], received: &'r [Received]) -> Self {
        let pairs = read.iter().zip(received);
        Self(pairs.map(|(span, received)| ((span.id, span.digest), received)).collect())
    }

    /// A server span that shared its client's id has another one in the arena; its parent kept the old one.
    fn find(&self, span: &Span) -> Option<&'r Received> {
        let own = self.0.get(&(span.id, span.digest));
        own.or_else(|| self.0.get(&(span.parent?, span.digest))).copied()
    }
}

fn view(
    id: TraceId,
    trace: &Trace,
    origins: &Origins<'_>,
    part: &Part,
    moves: &Moves,
    occurrences: Vec<Sighting>,
) -> Result<TraceView, Failure> {
    let (shown, first, next) = choose(id, trace, part)?;
    let depths = depths(trace);
    let evidence = evidence(&occurrences);
    let (base, end) = span_of_time(trace, moves);
    let spans = shown.iter().map(|at| {
        let evidence_of = evidence.get(&trace.span(*at).id).cloned().unwrap_or_default();
        let origin = origins.find(trace.span(*at));
        span_view(trace, *at, depths[at.at()], origin, evidence_of, base.saturating_sub(moves.at(*at)))
    });
    let root = trace.root().map(|root| trace.span(root));
    let mut services: Vec<&str> = trace.spans().iter().map(|span| span.resource.service.as_str()).collect();
    services.sort_unstable();
    services.dedup();
    Ok(TraceView {
        id,
        summary: None,
        pending: false,
        duration_ms: millis(end.saturating_sub(base)),
        start_ns: trace.spans().first().map_or(0, |span| span.start_ns),
        name: root.map_or_else(Default::default, |root| {
            (root.resource.service.clone(), root.facts.operation.clone())
        }),
        total: trace.spans().len(),
        services: services.len(),
        errors: trace.spans().iter().filter(|span| span.status == crate::model::Status::Error).count(),
        first,
        spans: spans.collect(),
        next,
        defects: defects(trace),
        moved: moves.by_service.iter().map(|(name, ns)| (name.clone(), millis(*ns))).collect(),
        occurrences,
    })
}

/// The spans to show, the place of the first one, and the cursor after the last one.
fn choose(id: TraceId, trace: &Trace, part: &Part) -> Result<(Vec<SpanIdx>, usize, Option<String>), Failure> {
    let all: Vec<SpanIdx> = match part {
        Part::ByStart(..) => trace.indices().collect(),
        Part::Page(..) | Part::Around(..) => trace.depth_first().to_vec(),
    };
    let (first, count) = match part {
        Part::ByStart(None, limit) => (0, *limit as usize),
        Part::ByStart(Some(cursor), limit) => {
            let [start, span, digest] = Cursor::key_of(cursor, &list_of(id))?;
            let key: (i64, SpanId, u64) = (narrow(start)?, SpanId(narrow(span)?), narrow(digest)?);
            (trace.spans().partition_point(|span| place(span) <= key), *limit as usize)
        }
        Part::Page(page, size) => (page.saturating_mul(*size).min(all.len()), *size),
        Part::Around(id, size) => {
            let place = trace.find(*id).and_then(|at| all.iter().position(|other| *other == at));
            (place.unwrap_or(0) / size * size, *size)
        }
    };
    let last = first.saturating_add(count).min(all.len());
    let shown = all[first..last].to_vec();
    let next = shown.last().filter(|_| last < all.len()).map(|at| {
        let (start, span, digest) = place(trace.span(*at));
        Cursor::new(list_of(id), vec![start.into(), span.0.into(), digest.into()]).to_string()
    });
    Ok((shown, first, next))
}

/// The arena's order.
fn place(span: &Span) -> (i64, SpanId, u64) {
    (span.start_ns, span.id, span.digest)
}

fn depths(trace: &Trace) -> Vec<usize> {
    let mut depths = vec![0; trace.spans().len()];
    // Parents come before their children.
    for at in trace.depth_first() {
        depths[at.at()] = trace.parent(*at).map_or(0, |parent| depths[parent.at()] + 1);
    }
    depths
}

/// By span: the occurrences that it is evidence of, and its role there.
fn evidence(occurrences: &[Sighting]) -> HashMap<SpanId, Vec<(usize, String)>> {
    let mut by_span: HashMap<SpanId, Vec<(usize, String)>> = HashMap::new();
    for (index, sighting) in occurrences.iter().enumerate() {
        for evidence in &sighting.occurrence.evidence {
            if let Ok(id) = evidence.span_id.parse() {
                by_span.entry(id).or_default().push((index, evidence.role.clone()));
            }
        }
    }
    by_span
}

/// From the earliest start to the latest end.
fn span_of_time(trace: &Trace, moves: &Moves) -> (i64, i64) {
    let moved = |at: SpanIdx, ns: i64| ns.saturating_add(moves.at(at));
    let start = trace.indices().map(|at| moved(at, trace.span(at).start_ns)).min();
    let end = trace.indices().map(|at| moved(at, trace.span(at).end_ns())).max();
    (start.unwrap_or_default(), end.unwrap_or_default())
}

/// `base` is where the axis starts on the span's own clock.
fn span_view(
    trace: &Trace,
    at: SpanIdx,
    depth: usize,
    origin: Option<&Received>,
    evidence_of: Vec<(usize, String)>,
    base: i64,
) -> SpanView {
    let span = trace.span(at);
    let attempt = trace.attempt_of(at).filter(|attempt| attempt.at() == at);
    let unit = trace.unit_of(at);
    let (outcome, effect) = match attempt {
        Some(attempt) => (attempt.outcome(), Some(attempt.effect().id())),
        None if unit.owner() == at => (unit.outcome(), None),
        None => (span.facts.verdict.outcome, None),
    };
    let sent = origin.map(|received| &received.span);
    SpanView {
        span_id: span.id,
        parent_id: span.parent,
        depth,
        name: span.name.clone(),
        service: span.resource.service.clone(),
        operation: span.facts.operation.clone(),
        kind: span.kind.id(),
        offset_ms: millis(span.start_ns.saturating_sub(base)),
        duration_ms: millis(span.duration_ns),
        status: span.status.id(),
        status_message: sent.and_then(|sent| Some(sent.status.as_ref()?.message.clone())).unwrap_or_default(),
        outcome: outcome.id(),
        effect,
        failed: span.status == crate::model::Status::Error || !matches!(outcome.id(), "ok" | "unknown"),
        on_critical_path: 0 < trace.on_path_ns(at),
        scope: span.scope.name.clone(),
        attributes: sent.map(|sent| json::attributes(&sent.attributes)).unwrap_or_default(),
        events: sent.map(|sent| json::events(&sent.events, base)).unwrap_or_default(),
        links: sent.map(|sent| json::links(&sent.links)).unwrap_or_default(),
        evidence_of,
    }
}

/// Defects with the span that they concern.
fn defects(trace: &Trace) -> Vec<String> {
    let named = trace.defects().iter().map(|defect| match defect.span() {
        Some(at) => format!("{}: {defect}", trace.span(at).id),
        None => defect.to_string(),
    });
    named.take(200).collect()
}

fn millis(nanoseconds: i64) -> f64 {
    (nanoseconds as f64 / 1e3).round() / 1e3
}
