//! What the server's side tells of an attempt: whether its effect happened (RULES A6) and what repeating it would
//! do (A7).
//!
//! The span half, what the caller's span alone says, is `semconv`'s. Only durations are compared across clocks (A3).

use std::collections::{BTreeMap, BTreeSet};

use super::trace::Trace;
use super::{Attempt, Basis, Effect, EffectClass, Outcome, Role, SpanIdx, Status, TransactionStep, Unit};

/// What stands below a span, itself included: numbers of attempts.
#[derive(Clone, Copy, Default)]
struct Below {
    /// Database and messaging spans: their instrumentation is on here.
    instrumented: u32,
    idempotent: u32,
    non_idempotent: u32,
    unclassed: u32,
    /// Writes of this subtree that a COMMIT followed.
    committed: u32,
    /// Writes that may or may not have happened.
    uncertain: u32,
    /// Remote calls that may have written where no span shows it.
    opaque: u32,
    /// Writes that stay: anywhere but in a cache.
    lasting: u32,
}

impl Below {
    fn add(&mut self, other: Self) {
        self.instrumented += other.instrumented;
        self.idempotent += other.idempotent;
        self.non_idempotent += other.non_idempotent;
        self.unclassed += other.unclassed;
        self.committed += other.committed;
        self.uncertain += other.uncertain;
        self.opaque += other.opaque;
        self.lasting += other.lasting;
    }

    fn has_write(self) -> bool {
        self.idempotent + self.non_idempotent + self.unclassed > 0
    }

    fn is_silent(self) -> bool {
        !self.has_write() && self.uncertain == 0 && self.opaque == 0
    }

    /// The class of what was seen to be written, where something would have been seen. What a request that only
    /// asks leaves in caches (answers, sessions, counters of a rate limit) is not what was asked for.
    fn class(self, asked: EffectClass) -> Option<EffectClass> {
        if asked == EffectClass::Safe && self.has_write() && self.lasting == 0 {
            Some(EffectClass::Safe)
        } else if self.non_idempotent > 0 {
            Some(EffectClass::NonIdempotent)
        } else if self.instrumented == 0 || self.unclassed + self.opaque + self.uncertain > 0 {
            None
        } else if self.idempotent > 0 {
            Some(EffectClass::Idempotent)
        } else {
            Some(EffectClass::Safe)
        }
    }
}

/// One operation of one callee as one service calls it.
type Edge<'t> = (&'t str, u32, &'t str);

/// Refines every attempt's effect and class.
pub(super) fn refine(trace: &mut Trace) {
    mark_writes(trace);
    find_lost_servers(trace);
    let below = below(trace);
    let aborted: Vec<bool> = attempts(trace).map(is_aborted).collect();
    let mut seen: BTreeMap<Edge<'_>, (Below, bool)> = BTreeMap::new();
    for attempt in attempts(trace) {
        for server in attempt.servers() {
            let (answered, instrumented) = seen.entry(edge(attempt)).or_default();
            *instrumented |= below[server.at()].instrumented > 0;
            let well = trace.unit_of(*server).outcome() == Outcome::Ok && answered_well(trace, *server);
            if well && !aborted[attempt.index()] {
                answered.add(below[server.at()]);
            }
        }
    }
    let services: BTreeSet<&str> = trace
        .units()
        .filter(|unit| matches!(unit.span().kind, super::Kind::Server | super::Kind::Consumer))
        .map(Unit::service)
        .collect();
    let mut refined = Vec::with_capacity(trace.attempts.len());
    for attempt in attempts(trace) {
        let (answered, instrumented) = seen.get(&edge(attempt)).copied().unwrap_or_default();
        let (effect, observed_none) =
            effect(attempt, &below, aborted[attempt.index()], instrumented, &services);
        let observed =
            if attempt.basis() == Basis::Configured { None } else { answered.class(attempt.class()) };
        let (class, basis) =
            observed.map_or((attempt.class(), attempt.basis()), |class| (class, Basis::Observed));
        refined.push((effect, observed_none, class, basis));
    }
    for (index, (effect, observed_none, class, basis)) in refined.into_iter().enumerate() {
        let attempt = &mut trace.attempts[index];
        attempt.effect = effect;
        attempt.observed_none = observed_none;
        attempt.class = class;
        attempt.basis = basis;
        attempt.aborted = aborted[index];
    }
}

fn attempts(trace: &Trace) -> impl Iterator<Item = Attempt<'_>> {
    (0..trace.attempts.len()).map(|index| Attempt::new(trace, index as u32))
}

fn edge(attempt: Attempt<'_>) -> Edge<'_> {
    (attempt.unit().service(), attempt.data().callee, attempt.operation())
}

/// Which attempts changed something for good, as far as their own spans and the end of their transaction show.
fn mark_writes(trace: &mut Trace) {
    for unit in 0..trace.units.len() {
        let range = trace.units[unit].attempts.clone();
        let mut open: Vec<u32> = Vec::new();
        for index in range {
            let attempt = Attempt::new(trace, index);
            let facts = attempt.facts();
            let ok = attempt.outcome() == Outcome::Ok;
            match facts.transaction_step() {
                Some(TransactionStep::Begins) => open.clear(),
                Some(TransactionStep::Commits) if ok => {
                    for write in open.drain(..) {
                        trace.attempts[write as usize].committed = true;
                    }
                }
                Some(TransactionStep::RollsBack) => {
                    for write in open.drain(..) {
                        trace.attempts[write as usize].write = false;
                    }
                }
                _ if ok && may_write(attempt) => {
                    if facts.role == Role::Db {
                        open.push(index);
                    }
                    trace.attempts[index as usize].write = true;
                }
                _ => {}
            }
        }
    }
}

/// A database, cache, messaging or cloud request of any class but safe.
fn may_write(attempt: Attempt<'_>) -> bool {
    let facts = attempt.facts();
    let stores = match facts.role {
        Role::Db | Role::Cache => !facts.is_housekeeping(),
        Role::Cloud => true,
        _ => attempt.is_publish(),
    };
    stores && facts.class != EffectClass::Safe && !facts.is_record()
}

fn below(trace: &Trace) -> Vec<Below> {
    let mut below = vec![Below::default(); trace.spans.len()];
    for attempt in attempts(trace) {
        let facts = attempt.facts();
        let stores = matches!(facts.role, Role::Db | Role::Cache | Role::Messaging);
        let is_write = attempt.is_write();
        let safe = facts.class == EffectClass::Safe;
        let may_have = !is_write && attempt.verdict().effect == Effect::Unknown;
        let hidden =
            matches!(facts.role, Role::Http | Role::Rpc | Role::Remote) && attempt.servers().is_empty();
        below[attempt.at().at()].add(Below {
            instrumented: u32::from(stores),
            idempotent: u32::from(is_write && facts.class == EffectClass::Idempotent),
            non_idempotent: u32::from(is_write && facts.class == EffectClass::NonIdempotent),
            unclassed: u32::from(is_write && facts.class == EffectClass::Unknown),
            committed: u32::from(is_write && attempt.data().committed),
            uncertain: u32::from(may_have && may_write(attempt)),
            opaque: u32::from(hidden && !safe && attempt.verdict().effect != Effect::None),
            lasting: u32::from(is_write && facts.role != Role::Cache),
        });
    }
    for at in trace.depth_first().iter().rev() {
        if let Some(parent) = trace.parent(*at) {
            let own = below[at.at()];
            below[parent.at()].add(own);
        }
    }
    below
}

/// The server's own code rules out nothing.
fn answered_well(trace: &Trace, server: SpanIdx) -> bool {
    trace.span(server).facts.verdict.row != 6
}

/// The server's span ended only because its caller left (N27).
fn is_aborted(attempt: Attempt<'_>) -> bool {
    const SLACK_NS: i64 = 10_000_000;
    let Some(server) = attempt.server() else { return false };
    let span = attempt.trace().span(server);
    span.ends_with_its_caller()
        && (attempt.verdict().gave_up() || attempt.is_reset())
        && span.duration_ns <= attempt.duration_ns().saturating_add(SLACK_NS)
}

/// Whether it happened, and whether its absence was seen rather than told.
fn effect(
    attempt: Attempt<'_>,
    below: &[Below],
    aborted: bool,
    instrumented: bool,
    services: &BTreeSet<&str>,
) -> (Effect, bool) {
    let at_caller = attempt.effect_at_caller();
    if !attempt.is_sync() || attempt.outcome() == Outcome::Ok {
        return (at_caller, false);
    }
    let trace = attempt.trace();
    if attempt.servers().is_empty() {
        let unanswered = attempt.failed() && !attempt.verdict().answered && at_caller == Effect::Unknown;
        let never_arrived = unanswered
            && attempt.data().lost_servers.is_empty()
            && attempt.callee().is_some_and(|callee| is_among(callee, services));
        return (if never_arrived { Effect::None } else { at_caller }, false);
    }
    let mut whole = (Effect::None, true);
    for server in attempt.servers() {
        let (effect, observed) = at_server(trace, *server, below[server.at()], aborted, instrumented);
        whole = match (whole.0, effect) {
            (_, Effect::Applied) | (Effect::Applied, _) => (Effect::Applied, false),
            (_, Effect::Unknown) | (Effect::Unknown, _) => (Effect::Unknown, false),
            (Effect::None, Effect::None) => (Effect::None, whole.1 && observed),
        };
    }
    // A code that the caller read rules the effect out, unless the server shows that it happened all the same.
    if at_caller == Effect::None && whole.0 == Effect::Unknown { (Effect::None, false) } else { whole }
}

fn at_server(
    trace: &Trace,
    server: SpanIdx,
    below: Below,
    aborted: bool,
    instrumented: bool,
) -> (Effect, bool) {
    let span = trace.span(server);
    if aborted {
        return (if below.has_write() { Effect::Applied } else { Effect::Unknown }, false);
    }
    if span.facts.verdict.row == 6 {
        return (Effect::None, false);
    }
    match trace.unit_of(server).outcome() {
        Outcome::Ok => (Effect::Applied, false),
        _ if below.committed > 0 => (Effect::Applied, false),
        Outcome::Error | Outcome::Unknown
            if instrumented && below.is_silent() && span.status != Status::Ok =>
        {
            (Effect::None, true)
        }
        _ => (Effect::Unknown, false),
    }
}

/// A server span of that name stands somewhere in the trace; a host may be the service's name with a port.
fn is_among(callee: &str, services: &BTreeSet<&str>) -> bool {
    services.contains(callee) || callee.split(':').next().is_some_and(|host| services.contains(host))
}

/// Orphans of another service that began inside exactly one unanswered call are probably what it reached.
fn find_lost_servers(trace: &mut Trace) {
    const SLACK_NS: i64 = 5_000_000;
    if trace.tree.orphans.is_empty() {
        return;
    }
    // (time, 0 opens · 1 orphan · 2 closes, which)
    let mut events: Vec<(i64, u8, u32)> = Vec::new();
    for attempt in attempts(trace) {
        let remote = attempt.is_sync() && !matches!(attempt.role(), Role::Db | Role::Cache);
        if remote && attempt.servers().is_empty() {
            let index = attempt.index() as u32;
            events.push((attempt.start_ns().saturating_sub(SLACK_NS), 0, index));
            events.push((attempt.end_ns().saturating_add(SLACK_NS), 2, index));
        }
    }
    events.extend(trace.tree.orphans.iter().map(|orphan| (trace.span(*orphan).start_ns, 1, orphan.0)));
    events.sort_unstable();
    let mut open = BTreeSet::new();
    for (_, what, which) in events {
        match what {
            0 => _ = open.insert(which),
            2 => _ = open.remove(&which),
            _ if open.len() == 1 => {
                let Some(index) = open.first().copied() else { continue };
                let attempt = Attempt::new(trace, index);
                let orphan = SpanIdx(which);
                let other = trace.span(orphan).resource.service != attempt.unit().service();
                if other && attempt.failed() && !attempt.verdict().answered {
                    trace.attempts[index as usize].lost_servers.push(orphan);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::build::Build;
    use super::super::{Call, Kind, Resource, Trace};
    use super::*;

    /// A unit that posts to another, which writes; ids of owner, client, server, statement.
    fn post(server_ms: i64, write_at_ms: i64) -> (Build, [u64; 4]) {
        let mut build = Build::default();
        let owner = build.span(0, "web", Kind::Server, "POST /order", 0, 1_100_000);
        let client = build.request(owner, "web", "stock", "POST /reserve", 5_000, 1_000_000);
        build.at(client).facts.class = EffectClass::NonIdempotent;
        build.last().duration_ns = server_ms * 1_000_000;
        let server = client + 1;
        let write = build.statement(server, "stock", "INSERT booking", write_at_ms * 1_000, 5_000);
        (build, [owner, client, server, write])
    }

    fn call(trace: &Trace) -> Call<'_> {
        trace.calls().next().unwrap()
    }

    #[test]
    fn a_server_that_finished_after_its_caller_left_applied_the_effect() {
        let (mut build, [_, client, ..]) = post(1_900, 1_500);
        build.failed(client, Outcome::Timeout, Effect::Unknown, 1, false);
        let trace = build.trace();
        assert_eq!(call(&trace).effect(), Effect::Applied);
        assert_eq!(call(&trace).first().effect_at_caller(), Effect::Unknown);
        assert!(call(&trace).first().writes().map(Attempt::at).eq(trace.calls().nth(1).map(Call::at)));
    }

    #[test]
    fn a_definitive_code_rules_the_effect_out_and_a_server_error_after_a_write_does_not() {
        let (mut build, [_, client, server, write]) = post(900, 500);
        build.failed(client, Outcome::Error, Effect::Unknown, 7, true);
        build.failed(server, Outcome::Error, Effect::Unknown, 7, true);
        assert_eq!(call(&build.trace()).effect(), Effect::Unknown);
        build.failed(server, Outcome::Error, Effect::None, 6, true);
        assert_eq!(call(&build.trace()).effect(), Effect::None);
        build.failed(client, Outcome::Error, Effect::None, 6, true);
        build.failed(server, Outcome::Error, Effect::Unknown, 7, true);
        assert_eq!(call(&build.trace()).effect(), Effect::None);
        build.failed(client, Outcome::Error, Effect::Unknown, 7, true);
        build.failed(server, Outcome::Error, Effect::Unknown, 7, true);
        build.at(server).status = Status::Error;
        build.at(write).facts.class = EffectClass::Safe;
        assert_eq!(call(&build.trace()).effect(), Effect::None);
        assert!(call(&build.trace()).first().is_observed_none());
    }

    #[test]
    fn a_commit_makes_a_write_final_and_a_rollback_undoes_it() {
        for (end, expected) in [("COMMIT", Effect::Applied), ("ROLLBACK", Effect::None)] {
            let (mut build, [_, client, server, _]) = post(900, 500);
            build.statement(server, "stock", end, 600_000, 1_000);
            build.failed(client, Outcome::Error, Effect::Unknown, 7, true);
            build.failed(server, Outcome::Error, Effect::Unknown, 7, true);
            build.at(server).status = Status::Error;
            assert_eq!(call(&build.trace()).effect(), expected, "{end}");
        }
    }

    #[test]
    fn what_is_written_below_decides_the_class() {
        for (text, expected) in [
            ("INSERT booking", EffectClass::NonIdempotent),
            ("UPDATE booking", EffectClass::Idempotent),
            ("SELECT booking", EffectClass::Safe),
            ("INSERT audit_log", EffectClass::Safe),
        ] {
            let (mut build, [_, _, server, write]) = post(900, 500);
            build.at(write).parent = None;
            build.statement(server, "stock", text, 500_000, 5_000);
            let trace = build.trace();
            assert_eq!(
                (call(&trace).class(), call(&trace).first().basis()),
                (expected, Basis::Observed),
                "{text}"
            );
        }
    }

    #[test]
    fn what_a_reading_request_leaves_in_caches_is_not_what_it_does() {
        let (mut build, [_, client, server, write]) = post(900, 500);
        build.at(client).facts.class = EffectClass::Safe;
        build.at(write).facts.role = Role::Cache;
        assert_eq!(call(&build.trace()).class(), EffectClass::Safe);
        build.statement(server, "stock", "INSERT visit", 510_000, 5_000);
        assert_eq!(call(&build.trace()).class(), EffectClass::NonIdempotent);
    }

    #[test]
    fn a_call_whose_own_writes_nobody_sees_stays_what_its_method_says() {
        let (mut build, [_, _, server, write]) = post(900, 500);
        build.at(write).facts.class = EffectClass::Safe;
        let outside = build.span(server, "stock", Kind::Client, "POST /charges", 600_000, 100_000);
        build.at(outside).facts.class = EffectClass::NonIdempotent;
        assert_eq!(call(&build.trace()).class(), EffectClass::NonIdempotent);
    }

    #[test]
    fn a_node_server_that_ended_with_its_caller_says_nothing_by_its_code() {
        let (mut build, [_, client, server, _]) = post(1_003, 500);
        build.failed(client, Outcome::Abandoned, Effect::Unknown, 4, false);
        build.at(server).facts.http.status = Some(200);
        let resource = Resource { language: Some("nodejs".into()), ..(*build.at(server).resource).clone() };
        build.at(server).resource = Arc::new(resource);
        assert_eq!(call(&build.trace()).effect(), Effect::Applied);
        assert!(call(&build.trace()).first().is_aborted());
        build.at(4).facts.class = EffectClass::Safe;
        assert_eq!(call(&build.trace()).effect(), Effect::Unknown);
    }

    #[test]
    fn an_orphan_inside_one_unanswered_call_is_its_lost_server() {
        let (mut build, [_, client, server, _]) = post(900, 500);
        build.failed(client, Outcome::Timeout, Effect::Unknown, 1, false);
        build.at(server).parent = Some(super::super::SpanId(999));
        let trace = build.trace();
        assert_eq!(call(&trace).effect(), Effect::Unknown);
        assert_eq!(call(&trace).first().data().lost_servers.len(), 1);
        assert!(call(&trace).unit().is_whole());
    }

    #[test]
    fn a_call_that_never_reached_an_instrumented_callee_did_nothing() {
        let (mut build, [owner, client, ..]) = post(900, 500);
        let lost = build.span(owner, "web", Kind::Client, "POST /reserve", 1_010_000, 50_000);
        for id in [client, lost] {
            build.at(id).facts.host = Some("stock".into());
        }
        build.failed(lost, Outcome::Timeout, Effect::Unknown, 1, false);
        build.at(client).facts.host = Some("stock".into());
        let trace = build.trace();
        assert_eq!(trace.calls().map(Call::effect).collect::<Vec<_>>()[..2], [Effect::Applied, Effect::None]);
        assert_eq!(trace.calls().nth(1).unwrap().callee(), Some("stock"));
    }

    #[test]
    fn a_reset_while_the_server_went_on_was_given_up() {
        let (mut build, [_, client, ..]) = post(1_900, 1_500);
        build.failed(client, Outcome::Error, Effect::Unknown, 7, false);
        assert!(call(&build.trace()).gave_up());
        let (mut build, [_, client, ..]) = post(900, 500);
        build.failed(client, Outcome::Error, Effect::Unknown, 7, false);
        assert!(!call(&build.trace()).gave_up());
    }
}
