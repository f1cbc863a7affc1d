//! Clocks of several hosts on one axis. A server's span that starts before the call that caused it, or after that call
//! ended, is drawn in the middle of the call, and what happened beneath it on the same clock moves along. A server that
//! merely works on after its caller gave up is left where it is.
//!
//! For the eye alone: rules compare durations, and the API tells times as they were sent.

use std::collections::BTreeMap;

use crate::model::{Kind, SpanIdx, Trace};

/// How far the clocks of a trace were moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    /// By span: nanoseconds.
    by_span: Vec<i64>,
    /// By service whose spans were moved: the furthest, in nanoseconds.
    pub(super) by_service: BTreeMap<String, i64>,
}

impl Moves {
    /// Moves of nothing.
    pub(super) fn none(trace: &Trace) -> Self {
        Self { by_span: vec![0; trace.spans().len()], by_service: BTreeMap::new() }
    }

    /// Moves that put every call's answer within the call.
    pub(super) fn of(trace: &Trace) -> Self {
        let mut moves = Self::none(trace);
        // Parents come before their children.
        for at in trace.depth_first() {
            let Some(parent) = trace.parent(*at) else { continue };
            let above = moves.by_span[parent.at()];
            let own = if on_one_clock(trace, *at, parent) { above } else { above + gap(trace, *at, parent) };
            moves.by_span[at.at()] = own;
            if own != above {
                let service = trace.span(*at).resource.service.clone();
                let known = moves.by_service.entry(service).or_default();
                if known.abs() < own.abs() {
                    *known = own;
                }
            }
        }
        moves
    }

    /// Nanoseconds that a span is moved by.
    pub(super) fn at(&self, at: SpanIdx) -> i64 {
        self.by_span[at.at()]
    }
}

fn on_one_clock(trace: &Trace, at: SpanIdx, parent: SpanIdx) -> bool {
    trace.span(at).resource.clock_domain == trace.span(parent).resource.clock_domain
}

/// From where a server's span stands to where it can have been. Messages may be taken at any time after they were sent.
fn gap(trace: &Trace, at: SpanIdx, parent: SpanIdx) -> i64 {
    let (span, call) = (trace.span(at), trace.span(parent));
    let is_asked = span.kind == Kind::Server && call.kind == Kind::Client;
    if !is_asked || (call.start_ns <= span.start_ns && span.start_ns <= call.end_ns()) {
        return 0;
    }
    let before = (call.duration_ns.saturating_sub(span.duration_ns) / 2).max(0);
    call.start_ns.saturating_add(before).saturating_sub(span.start_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Assembly;
    use crate::{semconv, sketch};

    /// A call of 10 ms that a server answers in 6, whose own query starts 1 ms later; the server's clock is off.
    fn moved(off_us: i64) -> (Vec<i64>, BTreeMap<String, i64>) {
        let drawing = "
            |==========| shop  client  GET http://pay/
            |==========|   pay  server  GET /
            |==========|     pay  db  SELECT item";
        let mut spans = semconv::spans(&sketch::parse(drawing).unwrap().spans, &BTreeMap::new());
        let first = spans[0].start_ns;
        for (span, (from, long)) in
            spans.iter_mut().zip([(0, 10_000), (off_us, 6_000), (off_us + 1_000, 2_000)])
        {
            (span.start_ns, span.duration_ns) = (first + from * 1_000, long * 1_000);
        }
        let trace = Trace::assemble(spans, Assembly::default());
        let moves = Moves::of(&trace);
        let by_depth = trace.depth_first().iter().map(|at| moves.at(*at) / 1_000);
        (by_depth.collect(), moves.by_service)
    }

    #[test]
    fn a_server_stands_in_the_middle_of_the_call_and_takes_its_own_along() {
        for off in [-5_000_000, 5_000_000] {
            let (by_span, by_service) = moved(off);
            assert_eq!(by_span, [0, 2_000 - off, 2_000 - off], "{off}");
            assert_eq!(by_service, BTreeMap::from([("pay".to_owned(), (2_000 - off) * 1_000)]));
        }
    }

    #[test]
    fn what_can_have_been_stays_also_if_the_caller_left_before() {
        for off in [0, 2_000, 9_000] {
            assert_eq!(moved(off), (vec![0, 0, 0], BTreeMap::new()), "{off}");
        }
    }
}
