//! Which spans of a large trace are worth a line: what is wanted, what leads to it, then the longest of the rest.
//!
//! A span is only chosen below one that is, or it would seem to be a child of another. Of each span the longest
//! children are found once, so that many drawings of one trace do not look through it again and again.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use crate::model::{SpanIdx, Trace};

/// The longest first, of equal ones the earliest.
type Rank = (i64, Reverse<SpanIdx>);

/// What was found so far.
pub(super) struct Longest<'t> {
    trace: &'t Trace,
    /// The longest children by parent, and by whether only those after it in rank count; roots have none.
    below: HashMap<(Option<SpanIdx>, bool), Vec<SpanIdx>>,
}

impl<'t> Longest<'t> {
    pub(super) fn of(trace: &'t Trace) -> Self {
        Self { trace, below: HashMap::new() }
    }

    /// At most so many spans at or below `scope` (anywhere, without one), in the order of a drawing.
    pub(super) fn choose(&mut self, scope: Option<SpanIdx>, wanted: &[SpanIdx], most: usize) -> Vec<SpanIdx> {
        let trace = self.trace;
        let mut shown = self.leading(scope, wanted, most);
        let mut open: BinaryHeap<Rank> = BinaryHeap::new();
        let tops = shown.iter().copied().map(Some).chain(scope.is_none().then_some(None));
        for top in tops {
            let below = self.children(top, false, most).iter().filter(|at| !shown.contains(at));
            open.extend(below.map(|at| rank(trace, *at)));
        }
        while shown.len() < most
            && let Some((_, Reverse(at))) = open.pop()
        {
            shown.insert(at);
            let below = self.children(Some(at), true, most).iter().filter(|below| !shown.contains(below));
            open.extend(below.map(|at| rank(trace, *at)));
        }
        let mut shown: Vec<SpanIdx> = shown.into_iter().collect();
        shown.sort_unstable_by_key(|at| trace.depth_first_position(*at));
        shown
    }

    /// What is wanted and what leads to it.
    fn leading(&self, scope: Option<SpanIdx>, wanted: &[SpanIdx], most: usize) -> BTreeSet<SpanIdx> {
        let trace = self.trace;
        let mut shown: BTreeSet<SpanIdx> =
            scope.into_iter().chain(wanted.iter().copied()).take(most).collect();
        for at in shown.clone() {
            let mut above = trace.parent(at);
            while let Some(parent) = above.filter(|parent| shown.len() < most && !shown.contains(parent)) {
                if scope.is_some_and(|scope| !trace.is_within(parent, scope)) {
                    break;
                }
                shown.insert(parent);
                above = trace.parent(parent);
            }
        }
        shown
    }

    /// The longest children, enough of them even if some are shown already.
    fn children(&mut self, of: Option<SpanIdx>, after: bool, most: usize) -> &[SpanIdx] {
        let trace = self.trace;
        self.below.entry((of, after)).or_insert_with(|| {
            let all = of.map_or(trace.roots(), |of| trace.children(of));
            let parent = of.filter(|_| after).map(|of| rank(trace, of));
            let counts = |at: &SpanIdx| parent.is_none_or(|parent| rank(trace, *at) < parent);
            let mut found: Vec<SpanIdx> = all.iter().copied().filter(counts).collect();
            if 2 * most < found.len() {
                found.select_nth_unstable_by_key(2 * most, |at| Reverse(rank(trace, *at)));
                found.truncate(2 * most);
            }
            found
        })
    }
}

fn rank(trace: &Trace, at: SpanIdx) -> Rank {
    (trace.span(at).duration_ns, Reverse(at))
}
