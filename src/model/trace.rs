//! The arena of one trace: its spans in canonical order, its tree, what is odd about it, and the answers that
//! units and calls computed once.
//!
//! It accepts anything. Orphans, cycles, shared ids and reversed times become [`Defect`]s; nothing here fails,
//! corrects a clock or remembers another trace.

use std::fmt;

use super::attempt::AttemptData;
use super::call::CallData;
use super::critical_path::Path;
use super::tree::{self, Tree};
use super::unit::UnitData;
use super::{Attempt, Call, Span, SpanId, TraceId, Unit};

/// Index of a span in its trace's arena. The arena's order is canonical: start, then id, then digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanIdx(pub u32);

impl SpanIdx {
    /// The same as a position in a slice over all spans.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// What is known of a trace besides its spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assembly {
    /// Most spans that are analysed; the rest is left out and the trace is truncated.
    pub max_spans: usize,
    /// No span came for the settle period, so that what is absent will probably stay so.
    pub settled: bool,
    /// Stored spans that are not among those given; they count as left out.
    pub unread: usize,
    /// It has as many spans as a trace may have: more may have come and were rejected.
    pub full: bool,
}

impl Default for Assembly {
    fn default() -> Self {
        Self { max_spans: 10_000, settled: true, unread: 0, full: false }
    }
}

/// Something odd about a trace. None of it stops the judgement; some of it lowers what may be concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defect {
    /// More spans than the limit came.
    Truncated {
        /// How many were left out.
        left_out: usize,
    },
    /// It has as many spans as a trace may have; what came after was rejected.
    Full,
    /// The parent that it names was never received.
    Orphan(SpanIdx),
    /// It is its own ancestor; the link to its parent was cut.
    Cycle(SpanIdx),
    /// A server span under the id of its client's span, as Zipkin wrote them.
    SharedId(SpanIdx),
    /// Another span of the same id and kind came before it: a further attempt.
    AttemptShadow(SpanIdx),
    /// Two spans of different kind have this id.
    AmbiguousId(SpanIdx),
    /// It ended before it started; it counts as having taken no time.
    EndedBeforeStart(SpanIdx),
    /// Its SDK dropped attributes, events or links.
    Incomplete(SpanIdx),
}

impl Defect {
    /// The span it concerns; `None` where it concerns the trace.
    pub fn span(self) -> Option<SpanIdx> {
        match self {
            Self::Truncated { .. } | Self::Full => None,
            Self::Orphan(span)
            | Self::Cycle(span)
            | Self::SharedId(span)
            | Self::AttemptShadow(span)
            | Self::AmbiguousId(span)
            | Self::EndedBeforeStart(span)
            | Self::Incomplete(span) => Some(span),
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { left_out } => write!(out, "truncated: {left_out} spans above the limit"),
            Self::Full => {
                out.write_str("full: as many spans as a trace may have; what came after was rejected")
            }
            Self::Orphan(_) => out.write_str("orphan: its parent was not received"),
            Self::Cycle(_) => out.write_str("cycle: it is its own ancestor"),
            Self::SharedId(_) => out.write_str("shared id: server and client spans have one id"),
            Self::AttemptShadow(_) => out.write_str("shared id: a further attempt under one id"),
            Self::AmbiguousId(_) => out.write_str("ambiguous id: spans of different kind have one id"),
            Self::EndedBeforeStart(_) => out.write_str("ended before it started"),
            Self::Incomplete(_) => out.write_str("incomplete: the SDK dropped attributes, events or links"),
        }
    }
}

/// One trace, ready to be asked.
pub struct Trace {
    pub(super) spans: Vec<Span>,
    pub(super) tree: Tree,
    defects: Vec<Defect>,
    truncated: bool,
    settled: bool,
    /// Mesh proxies between a client and a server: neither units nor calls.
    pub(super) hops: Vec<bool>,
    pub(super) unit_of: Vec<u32>,
    /// Spans by unit, then canonically.
    pub(super) unit_spans: Vec<SpanIdx>,
    /// For each span the attempt at or above it in its unit, `u32::MAX` for none.
    pub(super) attempt_above: Vec<u32>,
    /// Outermost spans of interactions, while `attempt_above` still points into them.
    pub(super) interactions: Vec<SpanIdx>,
    pub(super) units: Vec<UnitData>,
    pub(super) attempts: Vec<AttemptData>,
    pub(super) calls: Vec<CallData>,
    /// Attempts by call, each in order of start.
    pub(super) call_attempts: Vec<u32>,
    pub(super) callees: Vec<String>,
    pub(super) path: Path,
}

impl Trace {
    /// Builds the arena from spans in any order, any number of times each. O(n log n), without recursion.
    pub fn assemble(spans: Vec<Span>, limits: Assembly) -> Self {
        let (spans, left_out) = tree::canonical(spans, limits.max_spans);
        let (tree, mut defects) = tree::grow(&spans);
        let left_out = left_out + limits.unread;
        if left_out > 0 {
            defects.push(Defect::Truncated { left_out });
        }
        if limits.full {
            defects.push(Defect::Full);
        }
        for (at, span) in spans.iter().enumerate() {
            if span.ended_before_start {
                defects.push(Defect::EndedBeforeStart(SpanIdx(at as u32)));
            }
            if span.incomplete {
                defects.push(Defect::Incomplete(SpanIdx(at as u32)));
            }
        }
        defects.sort_unstable();
        let mut trace = Self {
            hops: Vec::new(),
            unit_of: Vec::new(),
            unit_spans: Vec::new(),
            attempt_above: Vec::new(),
            interactions: Vec::new(),
            units: Vec::new(),
            attempts: Vec::new(),
            calls: Vec::new(),
            call_attempts: Vec::new(),
            callees: Vec::new(),
            path: Path::default(),
            truncated: left_out > 0 || limits.full,
            settled: limits.settled,
            spans,
            tree,
            defects,
        };
        super::unit::divide(&mut trace);
        let interactions = super::legs::find(&mut trace);
        super::attempts::gather(&mut trace, interactions);
        super::attempts::settle(&mut trace);
        super::arguments::discover(&mut trace);
        super::unit::conclude(&mut trace);
        super::effect::refine(&mut trace);
        super::unit::look_for_gaps(&mut trace);
        super::groups::join(&mut trace);
        trace.path = super::critical_path::walk(&trace);
        trace
    }

    /// The id that its spans share; `None` without spans.
    pub fn id(&self) -> Option<TraceId> {
        self.spans.first().map(|span| span.trace)
    }

    /// All spans, in canonical order.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// All indices, in canonical order.
    pub fn indices(&self) -> impl DoubleEndedIterator<Item = SpanIdx> + use<> {
        (0..self.spans.len() as u32).map(SpanIdx)
    }

    /// One span.
    pub fn span(&self, at: SpanIdx) -> &Span {
        &self.spans[at.at()]
    }

    /// The first span of this id, in canonical order.
    pub fn find(&self, id: SpanId) -> Option<SpanIdx> {
        self.tree.first_with(id, &self.spans)
    }

    /// The span that caused it.
    pub fn parent(&self, at: SpanIdx) -> Option<SpanIdx> {
        self.tree.parent(at)
    }

    /// What it caused, in canonical order.
    pub fn children(&self, at: SpanIdx) -> &[SpanIdx] {
        self.tree.children(at)
    }

    /// Spans without a parent in this trace, orphans included, in canonical order.
    pub fn roots(&self) -> &[SpanIdx] {
        &self.tree.roots
    }

    /// It and all below it, parents before children.
    pub fn subtree(&self, at: SpanIdx) -> &[SpanIdx] {
        self.tree.subtree(at)
    }

    /// Whether `below` is `above` or stands somewhere below it.
    pub fn is_within(&self, below: SpanIdx, above: SpanIdx) -> bool {
        self.tree.is_within(below, above)
    }

    /// All spans, parents before children, as a drawing lists them.
    pub fn depth_first(&self) -> &[SpanIdx] {
        &self.tree.preorder
    }

    /// Where a span stands among [`Self::depth_first`].
    pub fn depth_first_position(&self, at: SpanIdx) -> usize {
        self.tree.position(at)
    }

    /// (cause, consumer): messages whose consumer points back by a link instead of a parent.
    pub fn async_edges(&self) -> &[(SpanIdx, SpanIdx)] {
        &self.tree.async_edges
    }

    /// It names a parent that was never received.
    pub fn is_orphan(&self, at: SpanIdx) -> bool {
        self.tree.orphans.binary_search(&at).is_ok()
    }

    /// Everything odd about the trace, the same in any order of arrival.
    pub fn defects(&self) -> &[Defect] {
        &self.defects
    }

    /// Spans were left out.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Quiet for so long that what is absent will probably stay so.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// No orphan, nothing left out, nothing dropped.
    pub fn is_complete(&self) -> bool {
        !self.truncated && self.tree.orphans.is_empty() && !self.spans.iter().any(|span| span.incomplete)
    }

    /// The span that names the trace: its first root that is no orphan, else its first orphan.
    pub fn root(&self) -> Option<SpanIdx> {
        let roots = &self.tree.roots;
        roots.iter().find(|root| !self.is_orphan(**root)).or(roots.first()).copied()
    }

    /// Nanoseconds from the earliest start to the latest end.
    pub fn duration_ns(&self) -> i64 {
        let start = self.spans.first().map_or(0, |span| span.start_ns);
        let end = self.spans.iter().map(Span::end_ns).max().unwrap_or(start);
        end.saturating_sub(start)
    }

    /// What services did, in the order in which they began.
    pub fn units(&self) -> impl ExactSizeIterator<Item = Unit<'_>> {
        (0..self.units.len()).map(|index| Unit::new(self, index as u32))
    }

    /// The unit that a span belongs to.
    pub fn unit_of(&self, at: SpanIdx) -> Unit<'_> {
        Unit::new(self, self.unit_of[at.at()])
    }

    /// All calls of all units, attempts merged.
    pub fn calls(&self) -> impl ExactSizeIterator<Item = Call<'_>> {
        (0..self.calls.len()).map(|index| Call::new(self, index as u32))
    }

    /// The attempt that a span is, is a leg of, or stands below of within its unit.
    pub fn attempt_of(&self, at: SpanIdx) -> Option<Attempt<'_>> {
        let index = self.attempt_above[at.at()];
        (index != u32::MAX).then(|| Attempt::new(self, index))
    }

    /// Nanoseconds that whoever waits for the trace's roots spent waiting for this span or something below it.
    pub fn on_path_ns(&self, at: SpanIdx) -> i64 {
        self.path.on_path_ns(at)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Trace")
            .field("id", &self.id())
            .field("spans", &self.spans.len())
            .field("units", &self.units.len())
            .field("calls", &self.calls.len())
            .finish_non_exhaustive()
    }
}
