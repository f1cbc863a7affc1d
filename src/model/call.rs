//! Calls: what a unit asked of someone, all attempts of one wish merged.
//!
//! Rules reason over calls, so that a retry is never mistaken for a loop.

use std::fmt;
use std::ops::Range;

use super::trace::Trace;
use super::{Attempt, Effect, EffectClass, Facts, Outcome, Role, Span, SpanIdx, Unit};

/// What shows that several attempts serve one wish, strongest first (RULES A9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repetition {
    /// The SDK or a proxy counted.
    Explicit,
    /// One client span reached the same operation of the same service several times.
    SharedClient,
    /// Several client spans carry one id.
    Shadow,
    /// The same again after a failure, with the same visible arguments.
    Structural,
    /// The same again after a failure and a pause, arguments hidden: at most medium confidence.
    Pause,
}

/// What is known of a call before it is asked.
#[derive(Clone, Debug)]
pub(super) struct CallData {
    /// Range in `Trace::call_attempts`.
    pub(super) attempts: Range<u32>,
    pub(super) repetition: Option<Repetition>,
    pub(super) hidden_retries: u32,
    pub(super) end_ns: i64,
}

/// What a unit asked of someone, with its attempts.
#[derive(Clone, Copy)]
pub struct Call<'t> {
    trace: &'t Trace,
    index: u32,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "call {} `{}`", self.span().id, self.operation())
    }
}

impl<'t> Call<'t> {
    pub(super) fn new(trace: &'t Trace, index: u32) -> Self {
        Self { trace, index }
    }

    fn data(self) -> &'t CallData {
        &self.trace.calls[self.index as usize]
    }

    /// Position among the trace's calls.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// The trace it is part of.
    pub fn trace(self) -> &'t Trace {
        self.trace
    }

    /// Its attempts, in order of start; never empty.
    pub fn attempts(self) -> impl ExactSizeIterator<Item = Attempt<'t>> + DoubleEndedIterator + Clone {
        let trace = self.trace;
        let range = &self.data().attempts;
        trace.call_attempts[range.start as usize..range.end as usize]
            .iter()
            .map(|index| Attempt::new(trace, *index))
    }

    /// Its first attempt.
    pub fn first(self) -> Attempt<'t> {
        Attempt::new(self.trace, self.trace.call_attempts[self.data().attempts.start as usize])
    }

    /// Its last attempt: what the caller finally knew.
    pub fn last(self) -> Attempt<'t> {
        Attempt::new(self.trace, self.trace.call_attempts[self.data().attempts.end as usize - 1])
    }

    /// The span of its first attempt: where the call is.
    pub fn at(self) -> SpanIdx {
        self.first().at()
    }

    /// The span of its first attempt.
    pub fn span(self) -> &'t Span {
        self.first().span()
    }

    /// What its first attempt's attributes mean.
    pub fn facts(self) -> &'t Facts {
        self.first().facts()
    }

    /// The unit that made it.
    pub fn unit(self) -> Unit<'t> {
        self.first().unit()
    }

    /// How often it was sent, retries that the SDK only counted included.
    pub fn attempt_count(self) -> u32 {
        self.attempts().len() as u32 + self.data().hidden_retries
    }

    /// How often it was sent, one after another: what a driver started beside the first does not count.
    pub fn tries(self) -> u32 {
        self.attempt_count().saturating_sub(self.facts().speculative)
    }

    /// Retries that the SDK counted without a span each.
    pub fn hidden_retries(self) -> u32 {
        self.data().hidden_retries
    }

    /// What shows that it was sent more than once; `None` where it was not.
    pub fn repetition(self) -> Option<Repetition> {
        self.data().repetition
    }

    /// It was sent more than once.
    pub fn is_retried(self) -> bool {
        self.repetition().is_some()
    }

    /// Start of the first attempt, nanoseconds since 1970 by the caller's clock.
    pub fn start_ns(self) -> i64 {
        self.first().start_ns()
    }

    /// Latest end of any attempt.
    pub fn end_ns(self) -> i64 {
        self.data().end_ns
    }

    /// Nanoseconds from the first start to the last end.
    pub fn duration_ns(self) -> i64 {
        self.end_ns().saturating_sub(self.start_ns())
    }

    /// Nanoseconds that whoever waits for the trace spent waiting for its attempts.
    pub fn on_path_ns(self) -> i64 {
        let mut spans: Vec<SpanIdx> = self.attempts().map(Attempt::at).collect();
        spans.dedup();
        spans.into_iter().map(|at| self.trace.on_path_ns(at)).sum()
    }

    /// Kind of interaction.
    pub fn role(self) -> Role {
        self.first().role()
    }

    /// What was asked.
    pub fn operation(self) -> &'t str {
        self.first().operation()
    }

    /// What was asked, as finely as code locations differ.
    pub fn template(self) -> &'t str {
        self.first().template()
    }

    /// Whom it asked: a service, host or system.
    pub fn callee(self) -> Option<&'t str> {
        self.attempts().find_map(Attempt::callee)
    }

    /// The caller waits for an answer.
    pub fn is_sync(self) -> bool {
        self.first().is_sync()
    }

    /// A message handed to a broker.
    pub fn is_publish(self) -> bool {
        self.first().is_publish()
    }

    /// What the caller finally knew.
    pub fn outcome(self) -> Outcome {
        self.last().outcome()
    }

    /// The caller finally knew that it went wrong.
    pub fn failed(self) -> bool {
        self.last().failed()
    }

    /// The caller finally stopped waiting.
    pub fn gave_up(self) -> bool {
        self.last().gave_up()
    }

    /// Whether the asked-for effect happened, by any attempt.
    pub fn effect(self) -> Effect {
        let strength = |effect: &Effect| match effect {
            Effect::None => 0,
            Effect::Unknown => 1,
            Effect::Applied => 2,
        };
        self.attempts().map(Attempt::effect).max_by_key(strength).unwrap_or_default()
    }

    /// What repeating it would do.
    pub fn class(self) -> EffectClass {
        self.first().class()
    }

    /// The server span of the last attempt, where exactly one was reached.
    pub fn server(self) -> Option<SpanIdx> {
        self.last().server()
    }
}
