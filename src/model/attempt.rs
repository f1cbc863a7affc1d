//! Attempts: one remote interaction as its caller made it, once (RULES A4), and what became of it (A6, A7).

use super::trace::Trace;
use super::{Basis, Call, Effect, EffectClass, Facts, Kind, Outcome, Role, Span, SpanIdx, Unit, Verdict};

/// What is known of an attempt before it is asked.
#[derive(Clone, Debug)]
pub(super) struct AttemptData {
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
    pub(super) gave_up: bool,
    pub(super) class: EffectClass,
    pub(super) basis: Basis,
    /// Index in `Trace::callees`, `u32::MAX` for none.
    pub(super) callee: u32,
}

/// One request as its caller made it, once.
#[derive(Clone, Copy)]
pub struct Attempt<'t> {
    trace: &'t Trace,
    index: u32,
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

    /// Its outermost span at the caller.
    pub fn at(self) -> SpanIdx {
        self.data().span
    }

    /// Its outermost span at the caller.
    pub fn span(self) -> &'t Span {
        self.trace.span(self.at())
    }

    /// What its outermost span's attributes mean.
    pub fn facts(self) -> &'t Facts {
        &self.span().facts
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

    /// The outermost span and its legs.
    pub fn sides(self) -> impl Iterator<Item = &'t Span> {
        let trace = self.trace;
        std::iter::once(self.span()).chain(self.legs().iter().map(|leg| trace.span(*leg)))
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
        self.span().kind == Kind::Client && self.role() != Role::Messaging
    }

    /// A message handed to a broker.
    pub fn is_publish(self) -> bool {
        self.span().kind == Kind::Producer
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
