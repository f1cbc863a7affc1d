//! Small traces for tests of this layer. Other layers draw theirs (`sketch`).

use std::sync::Arc;

use super::{
    Assembly, Effect, EffectClass, Facts, Kind, Outcome, Resource, Role, Scope, Span, SpanId, Status, Trace,
    TraceId, Verdict,
};

/// Spans under construction; times in microseconds.
#[derive(Clone, Default)]
pub(crate) struct Build {
    pub(crate) spans: Vec<Span>,
}

impl Build {
    /// Adds a span; its id is its number from 1, `parent` 0 is none.
    pub(crate) fn span(
        &mut self,
        parent: u64,
        service: &str,
        kind: Kind,
        name: &str,
        from: i64,
        long: i64,
    ) -> u64 {
        let id = self.spans.len() as u64 + 1;
        let role = match kind {
            Kind::Server | Kind::Client => Role::Http,
            Kind::Producer | Kind::Consumer => Role::Messaging,
            Kind::Internal => Role::Internal,
        };
        let verdict = Verdict {
            outcome: Outcome::Ok,
            effect: Effect::Applied,
            row: 9,
            never_sent: false,
            answered: true,
        };
        let facts =
            Facts { role, verdict, operation: name.into(), template: name.into(), ..Facts::default() };
        self.spans.push(Span {
            trace: TraceId(1),
            id: SpanId(id),
            parent: (parent != 0).then_some(SpanId(parent)),
            start_ns: from * 1000,
            duration_ns: long * 1000,
            ended_before_start: false,
            kind,
            status: Status::Unset,
            name: name.into(),
            scope: Arc::new(Scope::default()),
            resource: Arc::new(Resource {
                service: service.into(),
                clock_domain: service.into(),
                ..Resource::default()
            }),
            links: Vec::new(),
            incomplete: false,
            digest: id,
            facts,
        });
        id
    }

    /// A GET by CLIENT with its SERVER span inside; the client's id, the server's is the next.
    pub(crate) fn request(
        &mut self,
        parent: u64,
        from: &str,
        to: &str,
        name: &str,
        start: i64,
        long: i64,
    ) -> u64 {
        let client = self.span(parent, from, Kind::Client, name, start, long);
        self.last().facts.class = EffectClass::Safe;
        self.span(client, to, Kind::Server, name, start + long / 10, long - long / 5);
        client
    }

    /// A statement; its first word decides what it does.
    pub(crate) fn statement(&mut self, parent: u64, service: &str, text: &str, start: i64, long: i64) -> u64 {
        let id = self.span(parent, service, Kind::Client, text, start, long);
        let span = self.last();
        span.facts.role = Role::Db;
        span.facts.db.system = Some("postgresql".into());
        span.facts.db.shape = Some(text.into());
        span.facts.db.operation = text.split(' ').next().map(Into::into);
        span.facts.db.batch = 1;
        span.facts.class = match text.split(' ').next() {
            Some("INSERT") => EffectClass::NonIdempotent,
            Some("UPDATE" | "DELETE") => EffectClass::Idempotent,
            _ => EffectClass::Safe,
        };
        id
    }

    /// The span added last.
    pub(crate) fn last(&mut self) -> &mut Span {
        self.spans.last_mut().unwrap()
    }

    /// One span by its id.
    pub(crate) fn at(&mut self, id: u64) -> &mut Span {
        &mut self.spans[id as usize - 1]
    }

    /// Gives a span an outcome of the outcome table.
    pub(crate) fn failed(&mut self, id: u64, outcome: Outcome, effect: Effect, row: u8, answered: bool) {
        self.at(id).facts.verdict = Verdict { outcome, effect, row, never_sent: row == 5, answered };
        if self.at(id).kind == Kind::Client {
            self.at(id).status = Status::Error;
        }
    }

    pub(crate) fn trace(&self) -> Trace {
        Trace::assemble(self.spans.clone(), Assembly::default())
    }
}
