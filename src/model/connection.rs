//! Which call a connection was opened for: its phases have spans of their own, below the call or beside it.

use super::trace::Trace;
use super::{Attempt, SpanIdx};

/// Clients that count in whole milliseconds may seem to connect before they ask.
const SLACK_NS: i64 = 1_000_000;

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
    pub fn connected_to(&self, connection: SpanIdx) -> Option<(&str, Option<u16>)> {
        let named = |at: SpanIdx| {
            let facts = &self.span(at).facts;
            Some((facts.host.as_deref()?, facts.port))
        };
        named(connection).or_else(|| self.children(connection).iter().find_map(|at| named(*at)))
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
