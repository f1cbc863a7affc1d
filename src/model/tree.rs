//! From a heap of spans to a tree: one copy of each span, one parent for each, no cycle.
//!
//! Decides nothing about meaning. Everything is iterative: a chain of a hundred thousand spans is only long.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::trace::Defect;
use super::{Kind, MessagingOperation, Span, SpanId, SpanIdx};

const NONE: u32 = u32::MAX;
/// Copies under one id among which the right one is sought; attempts of one request are a handful.
const MOST_COPIES: usize = 64;

/// Parents, children and a depth-first order, all as indices.
#[derive(Default)]
pub(super) struct Tree {
    parents: Vec<u32>,
    child_from: Vec<u32>,
    children: Vec<SpanIdx>,
    pub(super) roots: Vec<SpanIdx>,
    pub(super) orphans: Vec<SpanIdx>,
    pub(super) preorder: Vec<SpanIdx>,
    /// Position in `preorder`, and the position after the last span below.
    enter: Vec<u32>,
    leave: Vec<u32>,
    /// (later copy, first copy) of one id and kind, sorted.
    pub(super) shadows: Vec<(SpanIdx, SpanIdx)>,
    pub(super) async_edges: Vec<(SpanIdx, SpanIdx)>,
    /// Indices sorted by span id, then canonically.
    by_id: Vec<SpanIdx>,
}

impl Tree {
    pub(super) fn parent(&self, at: SpanIdx) -> Option<SpanIdx> {
        let parent = self.parents[at.at()];
        (parent != NONE).then_some(SpanIdx(parent))
    }

    pub(super) fn children(&self, at: SpanIdx) -> &[SpanIdx] {
        &self.children[self.child_from[at.at()] as usize..self.child_from[at.at() + 1] as usize]
    }

    pub(super) fn subtree(&self, at: SpanIdx) -> &[SpanIdx] {
        &self.preorder[self.enter[at.at()] as usize..self.leave[at.at()] as usize]
    }

    pub(super) fn is_within(&self, below: SpanIdx, above: SpanIdx) -> bool {
        let position = self.enter[below.at()];
        self.enter[above.at()] <= position && position < self.leave[above.at()]
    }

    pub(super) fn position(&self, at: SpanIdx) -> usize {
        self.enter[at.at()] as usize
    }

    pub(super) fn first_with(&self, id: SpanId, spans: &[Span]) -> Option<SpanIdx> {
        let from = self.by_id.partition_point(|at| spans[at.at()].id < id);
        self.by_id.get(from).copied().filter(|at| spans[at.at()].id == id)
    }
}

impl Tree {
    /// The first copy under the same id and kind, of a later one.
    pub(super) fn shadowed(&self, at: SpanIdx) -> Option<SpanIdx> {
        let found = self.shadows.binary_search_by_key(&at, |(later, _)| *later).ok()?;
        Some(self.shadows[found].1)
    }
}

/// One copy of each span in canonical order, at most `most`, and how many were left out.
pub(super) fn canonical(spans: Vec<Span>, most: usize) -> (Vec<Span>, usize) {
    let mut order: Vec<u32> = (0..spans.len() as u32).collect();
    order.sort_unstable_by(|a, b| before(&spans[*a as usize], &spans[*b as usize]).then(a.cmp(b)));
    order.dedup_by(|later, first| {
        let (later, first) = (&spans[*later as usize], &spans[*first as usize]);
        (later.start_ns, later.id, later.digest) == (first.start_ns, first.id, first.digest)
    });
    let left_out = order.len().saturating_sub(most);
    order.truncate(most);
    let mut spans: Vec<Option<Span>> = spans.into_iter().map(Some).collect();
    (order.iter().filter_map(|at| spans[*at as usize].take()).collect(), left_out)
}

/// Start, id and digest decide. What follows only makes the choice between two copies of one span the same in
/// any order of arrival, should their attributes differ.
fn before(a: &Span, b: &Span) -> Ordering {
    (a.start_ns, a.id, a.digest).cmp(&(b.start_ns, b.id, b.digest)).then_with(|| {
        (a.parent, a.incomplete, &a.resource.service, &a.scope.name)
            .cmp(&(b.parent, b.incomplete, &b.resource.service, &b.scope.name))
            .then_with(|| {
                if a.facts == b.facts && a.resource == b.resource && a.links == b.links {
                    Ordering::Equal
                } else {
                    format!("{a:?}").cmp(&format!("{b:?}"))
                }
            })
    })
}

/// Finds every span's parent and lays the tree out.
pub(super) fn grow(spans: &[Span]) -> (Tree, Vec<Defect>) {
    let mut defects = Vec::new();
    let mut tree = Tree { by_id: (0..spans.len() as u32).map(SpanIdx).collect(), ..Tree::default() };
    tree.by_id.sort_by_key(|at| (spans[at.at()].id, *at));
    let copies = Copies::among(spans, &tree.by_id, &mut tree.shadows, &mut defects);
    tree.shadows.sort_unstable();
    tree.parents = parents(spans, &copies, &mut tree.orphans, &mut defects);
    cut_cycles(&mut tree.parents, &mut defects);
    lay_out(&mut tree);
    tree.async_edges = async_edges(spans, &copies);
    (tree, defects)
}

/// Where spans of each id stand.
struct Copies {
    /// Id → its spans, as a range of `sorted`.
    ranges: HashMap<SpanId, (u32, u32)>,
    sorted: Vec<SpanIdx>,
}

impl Copies {
    fn among(
        spans: &[Span],
        sorted: &[SpanIdx],
        shadows: &mut Vec<(SpanIdx, SpanIdx)>,
        defects: &mut Vec<Defect>,
    ) -> Self {
        let mut ranges = HashMap::with_capacity(sorted.len());
        let mut from = 0;
        while from < sorted.len() {
            let id = spans[sorted[from].at()].id;
            let to = from + sorted[from..].partition_point(|at| spans[at.at()].id == id);
            ranges.insert(id, (from as u32, to as u32));
            if to - from > 1 {
                describe_copies(spans, &sorted[from..to], shadows, defects);
            }
            from = to;
        }
        Self { ranges, sorted: sorted.to_vec() }
    }

    fn of(&self, id: SpanId) -> &[SpanIdx] {
        let (from, to) = self.ranges.get(&id).copied().unwrap_or_default();
        &self.sorted[from as usize..to as usize]
    }
}

fn describe_copies(
    spans: &[Span],
    copies: &[SpanIdx],
    shadows: &mut Vec<(SpanIdx, SpanIdx)>,
    defects: &mut Vec<Defect>,
) {
    let kinds = [Kind::Internal, Kind::Server, Kind::Client, Kind::Producer, Kind::Consumer];
    let firsts = kinds.map(|kind| copies.iter().copied().find(|at| spans[at.at()].kind == kind));
    let first_of =
        |kind: Kind| kinds.iter().zip(firsts).find(|(of, _)| **of == kind).and_then(|(_, first)| first);
    let has_client = first_of(Kind::Client).is_some();
    for at in copies {
        let kind = spans[at.at()].kind;
        match first_of(kind) {
            Some(first) if first != *at => {
                shadows.push((*at, first));
                defects.push(Defect::AttemptShadow(*at));
            }
            _ if kind == Kind::Server && has_client => defects.push(Defect::SharedId(*at)),
            _ if kind != Kind::Client && copies[0] != *at => defects.push(Defect::AmbiguousId(*at)),
            _ => {}
        }
    }
}

fn parents(
    spans: &[Span],
    copies: &Copies,
    orphans: &mut Vec<SpanIdx>,
    defects: &mut Vec<Defect>,
) -> Vec<u32> {
    let mut parents = Vec::with_capacity(spans.len());
    for (at, span) in spans.iter().enumerate() {
        let at = SpanIdx(at as u32);
        if span.kind == Kind::Server
            && let Some(client) = client_copy(spans, copies.of(span.id), span)
        {
            // Zipkin's shared id: the client's copy stands above the server's, whatever parent both name.
            parents.push(client.0);
            continue;
        }
        let Some(wanted) = span.parent else {
            parents.push(NONE);
            continue;
        };
        if wanted == span.id {
            defects.push(Defect::Cycle(at));
            parents.push(NONE);
            continue;
        }
        let found = choose(spans, copies.of(wanted), span);
        if found.is_none() {
            orphans.push(at);
            defects.push(Defect::Orphan(at));
        }
        parents.push(found.map_or(NONE, |parent| parent.0));
    }
    parents
}

/// The client's copy under the same id: the last that had begun, else the first.
fn client_copy(spans: &[Span], copies: &[SpanIdx], server: &Span) -> Option<SpanIdx> {
    let copies = &copies[..copies.len().min(MOST_COPIES)];
    let clients = || copies.iter().copied().filter(|at| spans[at.at()].kind == Kind::Client);
    clients().rfind(|at| spans[at.at()].start_ns <= server.start_ns).or_else(|| clients().next())
}

/// Among several spans under the wanted id: the server's copy for work of its own service, else the last attempt
/// that had begun.
fn choose(spans: &[Span], candidates: &[SpanIdx], child: &Span) -> Option<SpanIdx> {
    if candidates.len() < 2 {
        return candidates.first().copied();
    }
    let candidates = &candidates[..candidates.len().min(MOST_COPIES)];
    let of_server = candidates.iter().copied().find(|at| {
        let candidate = &spans[at.at()];
        candidate.kind == Kind::Server && candidate.resource.service == child.resource.service
    });
    of_server.or_else(|| {
        let begun = candidates.partition_point(|at| spans[at.at()].start_ns <= child.start_ns);
        let not_server = |at: &&SpanIdx| spans[at.at()].kind != Kind::Server;
        candidates[..begun]
            .iter()
            .rev()
            .find(not_server)
            .or_else(|| candidates.iter().find(not_server))
            .or(candidates.first())
            .copied()
    })
}

/// Walks up from each span, colouring; each is walked once. A walk that meets its own colour has found a cycle,
/// which is cut above its earliest span.
fn cut_cycles(parents: &mut [u32], defects: &mut Vec<Defect>) {
    let mut colour = vec![NONE; parents.len()];
    for start in 0..parents.len() as u32 {
        let mut at = start;
        while at != NONE && colour[at as usize] == NONE {
            colour[at as usize] = start;
            at = parents[at as usize];
        }
        if at == NONE || colour[at as usize] != start {
            continue;
        }
        let met = at;
        let mut earliest = met;
        at = parents[met as usize];
        while at != met {
            earliest = earliest.min(at);
            at = parents[at as usize];
        }
        parents[earliest as usize] = NONE;
        defects.push(Defect::Cycle(SpanIdx(earliest)));
    }
}

fn lay_out(tree: &mut Tree) {
    let count = tree.parents.len();
    tree.child_from = vec![0; count + 1];
    for parent in tree.parents.iter().filter(|parent| **parent != NONE) {
        tree.child_from[*parent as usize + 1] += 1;
    }
    for at in 0..count {
        tree.child_from[at + 1] += tree.child_from[at];
    }
    let mut next = tree.child_from.clone();
    tree.children = vec![SpanIdx(0); tree.child_from[count] as usize];
    for (at, parent) in tree.parents.iter().enumerate() {
        if *parent == NONE {
            tree.roots.push(SpanIdx(at as u32));
        } else {
            tree.children[next[*parent as usize] as usize] = SpanIdx(at as u32);
            next[*parent as usize] += 1;
        }
    }
    tree.enter = vec![0; count];
    tree.leave = vec![0; count];
    tree.preorder = Vec::with_capacity(count);
    let mut stack: Vec<SpanIdx> = tree.roots.iter().rev().copied().collect();
    while let Some(at) = stack.pop() {
        tree.enter[at.at()] = tree.preorder.len() as u32;
        tree.preorder.push(at);
        let (from, to) = (tree.child_from[at.at()] as usize, tree.child_from[at.at() + 1] as usize);
        stack.extend(tree.children[from..to].iter().rev());
    }
    for position in (0..count).rev() {
        let at = tree.preorder[position];
        let own = (position + 1) as u32;
        let leave = tree.leave[at.at()].max(own);
        tree.leave[at.at()] = leave;
        let parent = tree.parents[at.at()];
        if parent != NONE {
            tree.leave[parent as usize] = tree.leave[parent as usize].max(leave);
        }
    }
}

fn async_edges(spans: &[Span], copies: &Copies) -> Vec<(SpanIdx, SpanIdx)> {
    let mut edges = Vec::new();
    for (at, span) in spans.iter().enumerate() {
        let processes = span.facts.messaging.operation == Some(MessagingOperation::Process);
        if span.kind != Kind::Consumer && !processes {
            continue;
        }
        let sources = span.links.iter().filter(|link| link.trace == span.trace);
        edges.extend(
            sources
                .filter_map(|link| copies.of(link.span).first())
                .map(|source| (*source, SpanIdx(at as u32))),
        );
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

#[cfg(test)]
mod tests {
    use super::super::build::Build;
    use super::super::{Assembly, Defect, Kind, SpanIdx, Trace};
    use super::*;

    fn shape(trace: &Trace) -> Vec<(u64, u64, Option<SpanIdx>, Vec<SpanIdx>)> {
        let one = |at: SpanIdx| {
            (trace.span(at).id.0, trace.span(at).digest, trace.parent(at), trace.children(at).to_vec())
        };
        trace.indices().map(one).collect()
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let mut build = Build::default();
        let root = build.span(0, "shop", Kind::Server, "GET /", 0, 100);
        for step in 0..20 {
            build.request(root, "shop", "stock", "GET /items", step, 3);
        }
        let expected = shape(&build.trace());
        let mut other = build.clone();
        other.spans.extend(build.spans.clone());
        other.spans.reverse();
        assert_eq!(shape(&other.trace()), expected);
    }

    #[test]
    fn copies_that_differ_in_attributes_only_are_chosen_alike_in_any_order() {
        let mut build = Build::default();
        build.span(0, "shop", Kind::Server, "GET /", 0, 100);
        let mut copy = build.spans[0].clone();
        copy.facts.operation = "GET /other".into();
        build.spans.push(copy);
        let chosen = build.trace().span(SpanIdx(0)).facts.operation.clone();
        build.spans.reverse();
        assert_eq!(build.trace().span(SpanIdx(0)).facts.operation, chosen);
        assert_eq!(build.trace().spans().len(), 1);
    }

    #[test]
    fn a_missing_parent_makes_an_orphan_and_a_root() {
        let mut build = Build::default();
        build.span(99, "shop", Kind::Server, "GET /", 0, 100);
        let trace = build.trace();
        assert_eq!(trace.roots(), [SpanIdx(0)]);
        assert!(trace.is_orphan(SpanIdx(0)));
        assert_eq!(trace.defects(), [Defect::Orphan(SpanIdx(0))]);
    }

    #[test]
    fn cycles_and_self_parents_are_cut_at_their_earliest_span() {
        let mut build = Build::default();
        build.span(3, "shop", Kind::Internal, "a", 0, 100);
        build.span(1, "shop", Kind::Internal, "b", 1, 100);
        build.span(2, "shop", Kind::Internal, "c", 2, 100);
        build.span(4, "shop", Kind::Internal, "self", 3, 100);
        let trace = build.trace();
        assert_eq!(trace.roots(), [SpanIdx(0), SpanIdx(3)]);
        assert_eq!(trace.depth_first(), [0, 1, 2, 3].map(SpanIdx));
        assert_eq!(trace.defects(), [Defect::Cycle(SpanIdx(0)), Defect::Cycle(SpanIdx(3))]);
    }

    #[test]
    fn a_server_under_its_clients_id_stands_below_it_and_keeps_its_children() {
        let mut build = Build::default();
        let root = build.span(0, "web", Kind::Server, "GET /", 0, 100);
        let client = build.span(root, "web", Kind::Client, "GET /stock", 10, 50);
        build.span(root, "stock", Kind::Server, "GET /stock", 12, 40);
        build.last().id = SpanId(client);
        build.span(client, "stock", Kind::Internal, "query", 14, 20);
        let trace = build.trace();
        assert_eq!(trace.parent(SpanIdx(2)), Some(SpanIdx(1)));
        assert_eq!(trace.parent(SpanIdx(3)), Some(SpanIdx(2)));
        assert_eq!(trace.defects(), [Defect::SharedId(SpanIdx(2))]);
    }

    #[test]
    fn above_the_limit_the_earliest_spans_are_kept_in_any_order_of_arrival() {
        let mut build = Build::default();
        for at in 0..10 {
            build.span(0, "shop", Kind::Internal, "work", at, 1);
        }
        let limits = Assembly { max_spans: 4, ..Assembly::default() };
        build.spans.reverse();
        let trace = Trace::assemble(build.spans, limits);
        assert_eq!(trace.spans().iter().map(|span| span.id.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(trace.defects(), [Defect::Truncated { left_out: 6 }]);
        assert!(trace.is_truncated());
    }

    #[test]
    fn deep_wide_and_tangled_traces_only_take_time() {
        const MANY: u64 = 100_000;
        let all = Assembly { max_spans: MANY as usize, ..Assembly::default() };
        let mut chain = Build::default();
        for at in 0..MANY {
            chain.span(at, "shop", Kind::Client, "GET /", at as i64, 10);
        }
        let deep = Trace::assemble(chain.spans.clone(), all);
        assert_eq!(deep.subtree(SpanIdx(0)).len(), MANY as usize);
        chain.at(1).parent = Some(SpanId(MANY));
        assert_eq!(Trace::assemble(chain.spans.clone(), all).roots().len(), 1);
        for span in &mut chain.spans {
            span.id = SpanId(1);
            span.parent = None;
        }
        assert_eq!(Trace::assemble(chain.spans, all).roots().len(), MANY as usize);
        let mut fan = Build::default();
        let root = fan.span(0, "shop", Kind::Server, "GET /", 0, MANY as i64);
        for at in 1..MANY {
            fan.span(root, "shop", Kind::Client, "GET /", at as i64, 10);
        }
        assert_eq!(Trace::assemble(fan.spans, all).children(SpanIdx(0)).len(), MANY as usize - 1);
    }
}
