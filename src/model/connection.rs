//! Which call a connection was opened for: its phases have spans of their own, below the call or beside it.

use std::collections::BTreeMap;

use super::trace::Trace;
use super::{Attempt, Call, Role, SpanIdx, Unit, rounds};

/// Clients that count in whole milliseconds may seem to connect before they ask.
const SLACK_NS: i64 = 1_000_000;
/// Ancestors of a span that are looked at.
const MOST_ANCESTORS: usize = 8;

/// Host and port.
pub type Target<'t> = (&'t str, Option<u16>);

/// A call and the spans of the connection that was made for it.
#[derive(Clone, Debug)]
pub struct Connected<'t> {
    /// The call.
    pub call: Call<'t>,
    /// Connecting, agreeing on keys; the outermost spans only, never empty.
    pub setup: Vec<SpanIdx>,
}

impl Trace {
    /// The first call that a connection carried: the one it was opened below, else one to the same host and port, by the
    /// same unit, that was waiting when it was opened (undici puts both side by side).
    pub fn call_over(&self, connection: SpanIdx) -> Option<Attempt<'_>> {
        if let Some(attempt) = self.attempt_of(connection) {
            return Some(attempt);
        }
        let (host, port) = self.connected_to(connection)?;
        let opened_ns = self.span(connection).start_ns;
        self.unit_of(connection).attempts().find(|attempt| {
            let facts = attempt.facts();
            facts.host.as_deref() == Some(host)
                && (port.is_none() || facts.port.is_none() || facts.port == port)
                && attempt.start_ns() <= opened_ns.saturating_add(SLACK_NS)
                && opened_ns <= attempt.end_ns()
        })
    }

    /// Host and port of a connection, from its own span or the span of the phase before it (TLS runs on TCP).
    pub fn connected_to(&self, connection: SpanIdx) -> Option<Target<'_>> {
        let named = |at: SpanIdx| {
            let facts = &self.span(at).facts;
            Some((facts.host.as_deref()?, facts.port))
        };
        named(connection).or_else(|| self.children(connection).iter().find_map(|at| named(*at)))
    }
}

impl Connected<'_> {
    /// Nanoseconds that making the connection took.
    pub fn setup_ns(&self) -> i64 {
        self.setup.iter().map(|at| self.call.trace().span(*at).duration_ns).sum()
    }

    /// Nanoseconds of the call and of making its connection, which a database's driver does before it.
    pub fn duration_ns(&self) -> i64 {
        let before = self.setup.iter().map(|at| self.call.trace().span(*at).start_ns).min();
        let start_ns = before.map_or(self.call.start_ns(), |before| before.min(self.call.start_ns()));
        self.call.end_ns().saturating_sub(start_ns)
    }
}

impl<'t> Attempt<'t> {
    /// Host and port, from the outermost span that states them.
    pub fn target(self) -> Option<Target<'t>> {
        self.sides().find_map(|span| Some((span.facts.host.as_deref()?, span.facts.port)))
    }
}

impl<'t> Unit<'t> {
    /// By target, calls that were alone on their way there, one after another, and for which a connection was made
    /// while the unit still worked. (A call beside others may need one of its own.)
    pub fn connected_alone(self) -> BTreeMap<Target<'t>, Vec<Connected<'t>>> {
        let trace = self.trace();
        let is_outermost = |at: SpanIdx| {
            let above = std::iter::successors(trace.parent(at), |above| trace.parent(*above));
            !above.take(MOST_ANCESTORS).any(|above| trace.span(above).facts.connects)
        };
        let own_end_ns = self.span().end_ns();
        let making = |at: &SpanIdx| {
            let span = trace.span(*at);
            span.facts.connects && span.start_ns < own_end_ns && is_outermost(*at)
        };
        let setups: Vec<SpanIdx> = self.spans().iter().copied().filter(making).collect();
        if setups.is_empty() {
            return BTreeMap::new();
        }
        let mut calls: BTreeMap<Target<'t>, Vec<Call<'t>>> = BTreeMap::new();
        for call in self.calls().filter(|call| call.role() != Role::Messaging) {
            if let Some(target) = call.first().target() {
                calls.entry(target).or_default().push(call);
            }
        }
        let mut setup_of: BTreeMap<usize, Vec<SpanIdx>> = BTreeMap::new();
        for at in setups {
            if let Some(call) = self.served_by(at, &calls) {
                setup_of.entry(call.index()).or_default().push(at);
            }
        }
        calls.retain(|_, calls| calls.iter().any(|call| setup_of.contains_key(&call.index())));
        let mut alone = |calls: Vec<Call<'t>>| {
            let single = rounds(self, calls).into_iter().filter(|round| round.calls().len() == 1);
            let made = single.filter_map(|round| {
                let call = round.calls()[0];
                Some(Connected { call, setup: setup_of.remove(&call.index())? })
            });
            made.collect()
        };
        calls.into_iter().map(|(target, calls)| (target, alone(calls))).collect()
    }

    /// The call that a connection was made for: the one it stands below, else the first to the same target that had
    /// not ended before.
    fn served_by(self, at: SpanIdx, calls: &BTreeMap<Target<'t>, Vec<Call<'t>>>) -> Option<Call<'t>> {
        let trace = self.trace();
        if let Some(attempt) = trace.attempt_of(at) {
            return Some(attempt.call());
        }
        let same = calls.get(&trace.connected_to(at)?)?;
        let end_ns = trace.span(at).end_ns();
        same.get(same.partition_point(|call| call.end_ns() < end_ns)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::Build;
    use super::super::{Kind, Role, SpanId};

    fn to(build: &mut Build, id: u64, host: &str) {
        build.at(id).facts.host = Some(host.into());
        build.at(id).facts.port = Some(443);
    }

    #[test]
    fn a_connection_belongs_to_the_call_above_it_or_beside_it() {
        let mut build = Build::default();
        let owner = build.span(0, "kiosk", Kind::Server, "GET /", 0, 100_000);
        let other = build.span(owner, "kiosk", Kind::Client, "GET /a", 1_000, 20_000);
        let beside = build.span(owner, "kiosk", Kind::Client, "GET /b", 10_000, 20_000);
        let secured = build.span(owner, "kiosk", Kind::Internal, "tls.connect", 10_500, 5_000);
        let opened = build.span(secured, "kiosk", Kind::Internal, "tcp.connect", 10_500, 1_000);
        let below = build.span(other, "kiosk", Kind::Internal, "tcp.connect", 2_000, 1_000);
        to(&mut build, other, "a.com");
        to(&mut build, beside, "b.com");
        to(&mut build, opened, "b.com");
        for id in [secured, opened, below] {
            build.at(id).facts.role = Role::ConnectionPhase;
        }
        let trace = build.trace();
        let over = |id| {
            let at = trace.find(SpanId(id)).unwrap();
            trace.call_over(at).map(|attempt| attempt.span().id.0)
        };
        assert_eq!((over(secured), over(below)), (Some(beside), Some(other)));
        let mut late = build.clone();
        late.at(beside).start_ns = 40_000_000;
        let trace = late.trace();
        assert!(trace.call_over(trace.find(SpanId(secured)).unwrap()).is_none());
    }
}
