//! Attempts: one remote interaction as its caller made it, once (RULES A4), and what became of it (A6, A7).

use std::fmt;

use super::trace::Trace;
use super::{Basis, Call, Effect, EffectClass, Facts, Kind, Outcome, Role, Span, SpanIdx, Unit, Verdict};

/// What is known of an attempt before it is asked.
#[derive(Clone, Debug)]
pub(super) struct AttemptData {
    /// Where it is: its own span, which is a leg where the SDK counts attempts inside one client span.
    pub(super) at: SpanIdx,
    /// The outermost client span, whose attributes say what was asked.
    pub(super) span: SpanIdx,
    pub(super) call: u32,
    pub(super) legs: Vec<SpanIdx>,
    pub(super) servers: Vec<SpanIdx>,
    /// Orphans that may be what it reached.
    pub(super) lost_servers: Vec<SpanIdx>,
    /// As the caller saw it.
    pub(super) verdict: Verdict,
    /// As the server's side shows it.
    pub(super) effect: Effect,
    /// The effect was seen not to have happened, rather than ruled out by a code.
    pub(super) observed_none: bool,
    /// The server's span ended only because the caller left.
    pub(super) aborted: bool,
    /// It changed something, as far as its own span and the end of its transaction show.
    pub(super) write: bool,
    /// A COMMIT followed the write.
    pub(super) committed: bool,
    pub(super) gave_up: bool,
    pub(super) class: EffectClass,
    pub(super) basis: Basis,
    /// Index in `Trace::callees`, `u32::MAX` for none.
    pub(super) callee: u32,
    /// Positions in `custom` that act as arguments.
    pub(super) discovered: Vec<u32>,
    /// What of its interaction it is.
    pub(super) piece: Piece,
}

/// What of an interaction an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// All of it.
    Whole,
    /// One of several legs that were counted.
    Leg,
    /// One of several servers that were asked the same below one client span.
    Server,
}

/// One request as its caller made it, once.
#[derive(Clone, Copy)]
pub struct Attempt<'t> {
    trace: &'t Trace,
    index: u32,
}

impl fmt::Debug for Attempt<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "attempt {} `{}`", self.span().id, self.operation())
    }
}

impl<'t> Attempt<'t> {
    pub(super) fn new(trace: &'t Trace, index: u32) -> Self {
        Self { trace, index }
    }

    pub(super) fn data(self) -> &'t AttemptData {
        &self.trace.attempts[self.index as usize]
    }

    /// The trace it is part of.
    pub fn trace(self) -> &'t Trace {
        self.trace
    }

    /// Position among the trace's attempts.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Its span at the caller.
    pub fn at(self) -> SpanIdx {
        self.data().at
    }

    /// Its span at the caller.
    pub fn span(self) -> &'t Span {
        self.trace.span(self.at())
    }

    /// What the attributes of the outermost span of its interaction mean.
    pub fn facts(self) -> &'t Facts {
        &self.trace.span(self.data().span).facts
    }

    /// The unit that made it.
    pub fn unit(self) -> Unit<'t> {
        self.trace.unit_of(self.at())
    }

    /// The call that it is an attempt of.
    pub fn call(self) -> Call<'t> {
        Call::new(self.trace, self.data().call)
    }

    /// Spans inside its outermost one that describe the same interaction, proxies included.
    pub fn legs(self) -> &'t [SpanIdx] {
        &self.data().legs
    }

    /// The outermost span of its interaction and its legs.
    pub fn sides(self) -> impl Iterator<Item = &'t Span> {
        let trace = self.trace;
        std::iter::once(trace.span(self.data().span)).chain(self.legs().iter().map(|leg| trace.span(*leg)))
    }

    /// Every server or consumer span that it reached.
    pub fn servers(self) -> &'t [SpanIdx] {
        &self.data().servers
    }

    /// The server span that it reached, where there is exactly one.
    pub fn server(self) -> Option<SpanIdx> {
        match self.servers() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// What the server did for it, where exactly one was reached.
    pub fn server_unit(self) -> Option<Unit<'t>> {
        self.server().map(|server| self.trace.unit_of(server))
    }

    /// Nanoseconds since 1970 by the caller's clock.
    pub fn start_ns(self) -> i64 {
        self.span().start_ns
    }

    /// Nanoseconds since 1970 by the caller's clock.
    pub fn end_ns(self) -> i64 {
        self.span().end_ns()
    }

    /// Nanoseconds that the caller waited.
    pub fn duration_ns(self) -> i64 {
        self.span().duration_ns
    }

    /// The span that tells how it went: its own, or its server's where several hide below one client span.
    pub fn telling(self) -> &'t Span {
        match (self.data().piece, self.servers()) {
            (Piece::Server, [server]) => self.trace.span(*server),
            _ => self.span(),
        }
    }

    /// Status of its answer.
    pub fn status(self) -> Option<u16> {
        self.answer(|facts| facts.http.status)
    }

    /// RPC code of its answer.
    pub fn rpc_code(self) -> Option<&'t str> {
        self.answer(|facts| facts.rpc.code.as_deref())
    }

    /// From the span that tells how it went, else from a leg.
    fn answer<T>(self, read: impl Fn(&'t Facts) -> Option<T>) -> Option<T> {
        let legs = || if self.data().piece == Piece::Whole { self.legs() } else { &[] };
        read(&self.telling().facts)
            .or_else(|| legs().iter().find_map(|leg| read(&self.trace.span(*leg).facts)))
    }

    /// Nanoseconds from its end to the start of a later attempt of the same call, negative where they overlap; `None`
    /// where no clock saw both.
    pub fn pause_before(self, later: Self) -> Option<i64> {
        let beside = self.data().span == later.data().span;
        let side = |attempt: Self| if beside { attempt.telling() } else { attempt.span() };
        let (from, to) = (side(self), side(later));
        let one_clock = from.resource.clock_domain == to.resource.clock_domain;
        one_clock.then(|| to.start_ns.saturating_sub(from.end_ns()))
    }

    /// Whether both went to one address, or to one name where no address is known; `None` where neither is.
    pub fn has_target_of(self, other: Self) -> Option<bool> {
        let address = |attempt: Self| attempt.sides().find_map(|span| span.facts.peer_ip);
        let name = |attempt: Self| {
            attempt.sides().find_map(|span| Some((span.facts.host.as_deref()?, span.facts.port)))
        };
        let instance = |attempt: Self| attempt.telling().resource.instance.as_deref();
        if self.data().span == other.data().span && self.data().piece == Piece::Server {
            return Some(instance(self)? == instance(other)?);
        }
        match (address(self), address(other)) {
            (Some(own), Some(theirs)) => Some(own == theirs),
            _ => Some(name(self)? == name(other)?),
        }
    }

    /// Kind of interaction.
    pub fn role(self) -> Role {
        self.facts().role
    }

    /// What was asked.
    pub fn operation(self) -> &'t str {
        &self.facts().operation
    }

    /// What was asked, as finely as code locations differ.
    pub fn template(self) -> &'t str {
        &self.facts().template
    }

    /// Whom it asked: a service, host or system. Never an address that changes from trace to trace.
    pub fn callee(self) -> Option<&'t str> {
        let index = self.data().callee;
        (index != u32::MAX).then(|| self.trace.callees[index as usize].as_str())
    }

    /// The caller waits for an answer (a publish is handed over, not answered).
    pub fn is_sync(self) -> bool {
        self.kind() == Kind::Client && self.role() != Role::Messaging
    }

    /// A message handed to a broker.
    pub fn is_publish(self) -> bool {
        self.kind() == Kind::Producer
    }

    fn kind(self) -> Kind {
        self.trace.span(self.data().span).kind
    }

    /// The SDK's count of attempts before this one.
    pub fn ordinal(self) -> u32 {
        if self.data().piece == Piece::Leg {
            return self.span().facts.ordinal.unwrap_or_default();
        }
        self.sides().filter_map(|span| span.facts.ordinal).max().unwrap_or_default()
    }

    /// Retries inside it that the SDK only counted.
    pub fn hidden_retries(self) -> u32 {
        self.sides().map(|span| span.facts.hidden_retries).max().unwrap_or_default()
    }

    /// Some part of the exchange is open-ended.
    pub fn is_streaming(self) -> bool {
        self.sides().any(|span| span.facts.streaming)
    }

    /// The server's span ended only because its caller left, so that its code says nothing (N27).
    pub fn is_aborted(self) -> bool {
        self.data().aborted
    }

    /// It changed something in a store or broker, as far as its own span and the end of its transaction show.
    pub fn is_write(self) -> bool {
        self.data().write
    }

    /// Everything that was written below the servers it reached, in canonical order.
    pub fn writes(self) -> impl Iterator<Item = Attempt<'t>> {
        let trace = self.trace;
        let mut below: Vec<u32> = self
            .servers()
            .iter()
            .flat_map(|server| trace.subtree(*server))
            .map(|at| trace.attempt_above[at.at()])
            .filter(|index| *index != u32::MAX && trace.attempts[*index as usize].write)
            .collect();
        below.sort_unstable_by_key(|index| (trace.attempts[*index as usize].at, *index));
        below.dedup();
        below.into_iter().map(move |index| Attempt::new(trace, index))
    }

    /// Some database or messaging span stands below the servers it reached: writes would have been seen.
    pub fn is_instrumented_below(self) -> bool {
        let trace = self.trace;
        let mut below = self.servers().iter().flat_map(|server| trace.subtree(*server));
        below.any(|at| matches!(trace.span(*at).facts.role, Role::Db | Role::Cache | Role::Messaging))
    }

    /// What the caller knows, and which row of the outcome table said so.
    pub fn verdict(self) -> Verdict {
        self.data().verdict
    }

    /// What the caller knows.
    pub fn outcome(self) -> Outcome {
        self.verdict().outcome
    }

    /// The caller knows that something went wrong.
    pub fn failed(self) -> bool {
        self.verdict().failed()
    }

    /// The caller stopped waiting, or its connection broke while the server went on.
    pub fn gave_up(self) -> bool {
        self.data().gave_up
    }

    /// It gave up, and its span says so rather than merely lacking an answer.
    pub fn gave_up_explicitly(self) -> bool {
        const SUSPECTED: u8 = 4;
        self.gave_up() && self.verdict().row != SUSPECTED
    }

    /// The connection broke before an answer came.
    pub fn is_reset(self) -> bool {
        let verdict = self.verdict();
        verdict.row == 7 && !verdict.answered
    }

    /// Whether the asked-for effect happened, by all that the trace shows.
    pub fn effect(self) -> Effect {
        self.data().effect
    }

    /// Whether it happened, by what the caller alone can know.
    pub fn effect_at_caller(self) -> Effect {
        self.verdict().effect
    }

    /// The server's spans show that nothing was written, although no code ruled it out.
    pub fn is_observed_none(self) -> bool {
        self.data().observed_none
    }

    /// What repeating it would do.
    pub fn class(self) -> EffectClass {
        self.data().class
    }

    /// Why that class.
    pub fn basis(self) -> Basis {
        self.data().basis
    }
}
