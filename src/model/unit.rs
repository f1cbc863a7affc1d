//! Units: what a service did for someone, from one owner span down to its calls (RULES A5).
//!
//! A unit is everything one process did for one request, whatever internal spans lie between: instrumentation
//! adds and omits those freely. All times inside a unit share a clock.

use std::fmt;
use std::ops::Range;

use super::trace::Trace;
use super::{Attempt, Call, Kind, Outcome, Resource, Role, Span, SpanIdx};

/// Whatever takes longer is a session or a job.
const LONGEST_NS: i64 = 60_000_000_000;

/// What is known of a unit before it is asked.
#[derive(Clone, Debug)]
pub(super) struct UnitData {
    pub(super) owner: SpanIdx,
    /// Range in `Trace::unit_spans`.
    pub(super) spans: Range<u32>,
    /// Latest end of any of its spans, nanoseconds.
    pub(super) end_ns: i64,
    pub(super) calls: Range<u32>,
    pub(super) attempts: Range<u32>,
    pub(super) caller: Option<u32>,
    pub(super) incomplete: bool,
    pub(super) outcome: Outcome,
    pub(super) whole: bool,
}

/// What a service did for someone.
#[derive(Clone, Copy)]
pub struct Unit<'t> {
    trace: &'t Trace,
    index: u32,
}

impl fmt::Debug for Unit<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "unit {} `{}`", self.span().id, self.operation())
    }
}

impl<'t> Unit<'t> {
    pub(super) fn new(trace: &'t Trace, index: u32) -> Self {
        Self { trace, index }
    }

    pub(super) fn data(self) -> &'t UnitData {
        &self.trace.units[self.index as usize]
    }

    /// Position among the trace's units.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// The trace it is part of.
    pub fn trace(self) -> &'t Trace {
        self.trace
    }

    /// The span that began it.
    pub fn owner(self) -> SpanIdx {
        self.data().owner
    }

    /// The owner's span.
    pub fn span(self) -> &'t Span {
        self.trace.span(self.owner())
    }

    /// Who did it.
    pub fn resource(self) -> &'t Resource {
        &self.span().resource
    }

    /// The service that did it.
    pub fn service(self) -> &'t str {
        &self.resource().service
    }

    /// What it was asked.
    pub fn operation(self) -> &'t str {
        &self.span().facts.operation
    }

    /// Its spans, in canonical order; proxies on the way of its calls are not its own.
    pub fn spans(self) -> &'t [SpanIdx] {
        let range = &self.data().spans;
        &self.trace.unit_spans[range.start as usize..range.end as usize]
    }

    /// What it asked of others, attempts merged, in order of first start.
    pub fn calls(self) -> impl ExactSizeIterator<Item = Call<'t>> + DoubleEndedIterator + Clone {
        let trace = self.trace;
        self.data().calls.clone().map(move |index| Call::new(trace, index))
    }

    /// Every single attempt of its calls, in order of start.
    pub fn attempts(self) -> impl ExactSizeIterator<Item = Attempt<'t>> + DoubleEndedIterator + Clone {
        let trace = self.trace;
        self.data().attempts.clone().map(move |index| Attempt::new(trace, index))
    }

    /// Calls that were made more than once, or whose retries the SDK counted.
    pub fn attempt_groups(self) -> impl Iterator<Item = Call<'t>> {
        self.calls().filter(|call| call.is_retried())
    }

    /// The attempt that this unit answers.
    pub fn caller(self) -> Option<Attempt<'t>> {
        self.data().caller.map(|index| Attempt::new(self.trace, index))
    }

    /// The unit that waits for its answer. Nobody waits for the answer to a message, nor for an attempt that was
    /// followed by another.
    pub fn waiting(self) -> Option<Self> {
        if self.span().kind == Kind::Consumer {
            return None;
        }
        match self.caller() {
            Some(attempt) if attempt.index() != attempt.call().last().index() => None,
            Some(attempt) => Some(attempt.unit()),
            None => self.trace.parent(self.owner()).map(|parent| self.trace.unit_of(parent)),
        }
    }

    /// One request or one message, not a session.
    pub fn serves_one(self) -> bool {
        matches!(self.span().kind, Kind::Server | Kind::Consumer)
            && !self.is_streaming()
            && !self.is_self_defence()
            && self.duration_ns() <= LONGEST_NS
    }

    /// Nanoseconds of its owner.
    pub fn duration_ns(self) -> i64 {
        self.span().duration_ns
    }

    /// Nanoseconds until its last span ended: it may go on after its owner's span (A6).
    pub fn effective_duration_ns(self) -> i64 {
        self.data().end_ns.saturating_sub(self.span().start_ns)
    }

    /// Nobody called it within this trace, and it names no parent.
    pub fn is_root(self) -> bool {
        self.trace.parent(self.owner()).is_none() && !self.is_orphan()
    }

    /// Its caller's span was never received.
    pub fn is_orphan(self) -> bool {
        self.trace.is_orphan(self.owner())
    }

    /// An open-ended exchange.
    pub fn is_streaming(self) -> bool {
        self.span().facts.streaming
    }

    /// Somebody waits for its answer.
    pub fn is_interactive(self) -> bool {
        self.span().kind == Kind::Server && !self.is_streaming() && self.duration_ns() <= LONGEST_NS
    }

    /// Nobody waits: a consumer, or a root that is no server.
    pub fn is_batch(self) -> bool {
        match self.span().kind {
            Kind::Consumer => true,
            Kind::Server => false,
            _ => self.is_root(),
        }
    }

    /// Health checks and telemetry: not traffic to judge.
    pub fn is_self_defence(self) -> bool {
        self.span().facts.self_defence
    }

    /// How it ended, as far as its own service knows.
    pub fn outcome(self) -> Outcome {
        self.data().outcome
    }

    /// Its caller was told that it went well.
    pub fn claims_success(self) -> bool {
        self.outcome() == Outcome::Ok && !self.span().facts.verdict.failed()
    }

    /// Its good status claims nothing: accepted for later (202), told part by part (207), or a protocol that answers
    /// 200 whatever happened (GraphQL, JSON-RPC).
    pub fn leaves_open(self) -> bool {
        let facts = &self.span().facts;
        matches!(facts.http.status, Some(202 | 207)) || facts.hides_operation()
    }

    /// Nothing is missing that could change a conclusion from absence: no orphan under or directly above it, not
    /// truncated, no span of its own with dropped parts.
    pub fn is_whole(self) -> bool {
        self.data().whole
    }
}

/// Gives every span its unit. Parents come before children, so one pass is enough.
pub(super) fn divide(trace: &mut Trace) {
    let count = trace.spans.len();
    trace.hops = vec![false; count];
    trace.unit_of = vec![0; count];
    let mut owners = Vec::new();
    for position in 0..count {
        let at = trace.tree.preorder[position];
        let parent = trace.tree.parent(at);
        trace.hops[at.at()] = parent.is_some_and(|parent| is_hop(trace, at, parent));
        trace.unit_of[at.at()] = match parent {
            Some(parent) if !begins_unit(trace, at, parent, &owners) => trace.unit_of[parent.at()],
            _ => {
                owners.push(at);
                owners.len() as u32 - 1
            }
        };
    }
    number_by_start(trace, &mut owners);
    collect_spans(trace, &owners);
}

/// A proxy between a client and whatever it called is no caller of its own.
fn is_hop(trace: &Trace, at: SpanIdx, parent: SpanIdx) -> bool {
    trace.span(at).facts.proxy
        && (trace.hops[parent.at()]
            || (trace.span(parent).kind == Kind::Client && !trace.span(parent).facts.proxy))
}

fn begins_unit(trace: &Trace, at: SpanIdx, parent: SpanIdx, owners: &[SpanIdx]) -> bool {
    if trace.hops[at.at()] {
        return false;
    }
    let span = trace.span(at);
    match span.kind {
        Kind::Server | Kind::Consumer => true,
        Kind::Client | Kind::Producer => false,
        Kind::Internal => {
            let owner = owners[trace.unit_of[parent.at()] as usize];
            let of_other = |other: SpanIdx| trace.span(other).resource.service != span.resource.service;
            of_other(parent) && of_other(owner)
        }
    }
}

/// Depth-first numbers depend on the tree's shape; order of start reads better and is canonical.
fn number_by_start(trace: &mut Trace, owners: &mut [SpanIdx]) {
    let mut order: Vec<u32> = (0..owners.len() as u32).collect();
    order.sort_unstable_by_key(|unit| owners[*unit as usize]);
    let mut number = vec![0_u32; owners.len()];
    for (new, old) in order.iter().enumerate() {
        number[*old as usize] = new as u32;
    }
    for unit in &mut trace.unit_of {
        *unit = number[*unit as usize];
    }
    owners.sort_unstable();
}

fn collect_spans(trace: &mut Trace, owners: &[SpanIdx]) {
    let mut spans: Vec<SpanIdx> = trace.indices().filter(|at| !trace.hops[at.at()]).collect();
    spans.sort_by_key(|at| trace.unit_of[at.at()]);
    let mut from = 0;
    for (unit, owner) in owners.iter().enumerate() {
        let own = spans[from..].partition_point(|at| trace.unit_of[at.at()] as usize == unit);
        let of_unit = &spans[from..from + own];
        let end_ns = of_unit.iter().map(|at| trace.spans[at.at()].end_ns()).max().unwrap_or_default();
        trace.units.push(UnitData {
            owner: *owner,
            spans: from as u32..(from + own) as u32,
            end_ns,
            calls: 0..0,
            attempts: 0..0,
            caller: None,
            incomplete: of_unit.iter().any(|at| trace.spans[at.at()].incomplete),
            outcome: Outcome::Unknown,
            whole: false,
        });
        from += own;
    }
    trace.unit_spans = spans;
}

/// How each unit ended, once its calls are known.
pub(super) fn conclude(trace: &mut Trace) {
    for index in 0..trace.units.len() {
        trace.units[index].outcome = outcome(Unit::new(trace, index as u32));
    }
}

/// Whether each unit is whole, once it is known which orphans a call may have lost.
pub(super) fn look_for_gaps(trace: &mut Trace) {
    let loose = loose_orphans(trace);
    for index in 0..trace.units.len() {
        trace.units[index].whole = is_whole(Unit::new(trace, index as u32), &loose);
    }
}

/// Starts of the orphans that no call has lost its server to, sorted.
fn loose_orphans(trace: &Trace) -> Vec<i64> {
    let mut lost: Vec<SpanIdx> =
        trace.attempts.iter().flat_map(|attempt| attempt.lost_servers.iter().copied()).collect();
    lost.sort_unstable();
    let orphans = trace.tree.orphans.iter().filter(|orphan| lost.binary_search(orphan).is_err());
    orphans.map(|orphan| trace.span(*orphan).start_ns).collect()
}

fn is_whole(unit: Unit<'_>, loose_orphans: &[i64]) -> bool {
    const SLACK_NS: i64 = 5_000_000;
    let data = unit.data();
    if unit.trace.is_truncated() || data.incomplete || unit.is_orphan() {
        return false;
    }
    let from = loose_orphans.partition_point(|start| *start < unit.span().start_ns - SLACK_NS);
    loose_orphans.get(from).is_none_or(|start| data.end_ns + SLACK_NS < *start)
}

fn outcome(unit: Unit<'_>) -> Outcome {
    let span = unit.span();
    let verdict = span.facts.verdict;
    if span.kind != Kind::Server {
        return verdict.outcome;
    }
    let status = span.facts.http.status;
    if verdict.outcome == Outcome::Cancelled {
        return Outcome::Cancelled;
    }
    if status.is_some_and(|status| 500 <= status) {
        return Outcome::Error;
    }
    if span.status == super::Status::Error {
        return if verdict.failed() { verdict.outcome } else { Outcome::Error };
    }
    if status.is_some_and(|status| 400 <= status) || !verdict.failed() || verdict.row == 6 {
        return if may_have_lost_caller(unit) { Outcome::Unknown } else { Outcome::Ok };
    }
    verdict.outcome
}

/// Node ends an HTTP server span when the caller leaves, with the untouched default status, while the handler
/// goes on: a call that was still running shows it. Node counts starts in whole milliseconds.
fn may_have_lost_caller(unit: Unit<'_>) -> bool {
    const SLACK_NS: i64 = 2_000_000;
    let span = unit.span();
    let end_ns = span.end_ns().saturating_add(SLACK_NS);
    span.ends_with_its_caller()
        && unit.attempts().any(|attempt| attempt.is_sync() && end_ns < attempt.end_ns())
}

impl Span {
    /// An HTTP server span of Node with code 200 or none, which says nothing of how the handler ended.
    pub(super) fn ends_with_its_caller(&self) -> bool {
        self.kind == Kind::Server
            && self.facts.role == Role::Http
            && self.resource.language.as_deref() == Some("nodejs")
            && self.facts.http.status.is_none_or(|status| status == 200)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::build::Build;
    use super::super::{Effect, Status};
    use super::*;

    fn owners(trace: &Trace) -> Vec<u64> {
        trace.units().map(|unit| unit.span().id.0).collect()
    }

    #[test]
    fn servers_consumers_roots_and_other_services_begin_units() {
        let mut build = Build::default();
        let root = build.span(0, "job", Kind::Internal, "tick", 0, 1000);
        let client = build.request(root, "job", "shop", "GET /", 10, 100);
        build.span(client + 1, "shop", Kind::Internal, "layer", 30, 10);
        build.span(client + 1, "redis", Kind::Client, "GET", 40, 10);
        let send = build.span(root, "job", Kind::Producer, "send", 200, 10);
        build.span(send, "mail", Kind::Consumer, "process", 210, 10);
        build.span(root, "library", Kind::Internal, "elsewhere", 300, 10);
        let trace = build.trace();
        assert_eq!(owners(&trace), [1, 3, 7, 8]);
        let batch: Vec<bool> = trace.units().map(Unit::is_batch).collect();
        assert_eq!(batch, [true, false, true, false]);
        let interactive: Vec<bool> = trace.units().map(Unit::is_interactive).collect();
        assert_eq!(interactive, [false, true, false, false]);
        // The client span that calls itself `redis` is the shop's call.
        assert_eq!(
            trace.units().nth(1).unwrap().calls().map(Call::callee).collect::<Vec<_>>(),
            [Some("redis")]
        );
    }

    #[test]
    fn a_client_error_is_the_callers_fault_and_a_server_error_ours() {
        for (status, row, expected) in
            [(200, 9, Outcome::Ok), (404, 6, Outcome::Ok), (500, 7, Outcome::Error), (504, 1, Outcome::Error)]
        {
            let mut build = Build::default();
            build.span(0, "shop", Kind::Server, "GET /", 0, 1000);
            build.last().facts.http.status = Some(status);
            if row != 9 {
                build.failed(1, Outcome::Error, Effect::Unknown, row, true);
            }
            assert_eq!(build.trace().units().next().unwrap().outcome(), expected, "{status}");
        }
        let mut build = Build::default();
        build.span(0, "shop", Kind::Server, "GET /", 0, 1000);
        build.last().status = Status::Error;
        assert_eq!(build.trace().units().next().unwrap().outcome(), Outcome::Error);
    }

    #[test]
    fn a_node_server_that_ended_before_its_calls_may_have_lost_its_caller() {
        for (call_ms, expected) in [(300, Outcome::Unknown), (101, Outcome::Ok)] {
            let mut build = Build::default();
            let owner = build.span(0, "web", Kind::Server, "POST /", 0, 100_000);
            build.last().resource =
                Arc::new(Resource { language: Some("nodejs".into()), ..(*build.last().resource).clone() });
            build.request(owner, "web", "stock", "GET /stock", 0, call_ms * 1000);
            assert_eq!(build.trace().units().next().unwrap().outcome(), expected);
        }
    }

    #[test]
    fn a_unit_is_whole_where_nothing_of_it_can_be_missing() {
        let mut build = Build::default();
        build.span(0, "web", Kind::Server, "GET /", 0, 100_000);
        assert!(build.trace().units().all(Unit::is_whole));
        let mut dropped = build.clone();
        dropped.at(1).incomplete = true;
        assert!(!dropped.trace().units().all(Unit::is_whole));
        build.span(99, "stock", Kind::Server, "GET /stock", 50_000, 10_000);
        let whole: Vec<bool> = build.trace().units().map(Unit::is_whole).collect();
        assert_eq!(whole, [false, false]);
    }
}
