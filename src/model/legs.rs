//! Which CLIENT and PRODUCER spans are one remote interaction, and which server spans it reached (RULES A4).
//!
//! SDKs wrap each other: an AWS client around HTTP, an ORM around a driver. The outermost span is the interaction,
//! those inside are its legs, unless the outer one only groups several different interactions.

use std::cmp::Reverse;

use super::trace::Trace;
use super::{Kind, Role, SpanIdx};

const NONE: u32 = u32::MAX;
/// How far a driver's span may stick out of its wrapper's.
const NESTING_SLACK_NS: i64 = 200_000;

/// One remote interaction as the caller made it.
pub(super) struct Interaction {
    pub(super) span: SpanIdx,
    /// Spans inside that carry what the outer one lacks: host, status, ordinal.
    pub(super) legs: Vec<SpanIdx>,
    /// Server and consumer spans that it reached.
    pub(super) servers: Vec<SpanIdx>,
}

/// All interactions, by unit and then by start; `attempt_above` points into them.
pub(super) fn find(trace: &mut Trace) -> Vec<Interaction> {
    let nested = nearest_candidates(trace);
    let wrappers = wrappers(trace, &nested);
    let mut outermost = outermost(trace, &nested, &wrappers);
    join_siblings(trace, &mut outermost);
    collect(trace, &outermost)
}

fn is_candidate(trace: &Trace, at: SpanIdx) -> bool {
    let span = trace.span(at);
    matches!(span.kind, Kind::Client | Kind::Producer)
        && span.facts.role != Role::ConnectionPhase
        && !span.facts.self_defence
        && !trace.hops[at.at()]
}

/// For each span the nearest candidate above it in its unit, itself not counted.
fn nearest_candidates(trace: &Trace) -> Vec<u32> {
    let mut nearest = vec![NONE; trace.spans.len()];
    for at in trace.depth_first() {
        let Some(parent) = trace.parent(*at) else { continue };
        if trace.unit_of[parent.at()] == trace.unit_of[at.at()] {
            nearest[at.at()] = if is_candidate(trace, parent) { parent.0 } else { nearest[parent.at()] };
        }
    }
    nearest
}

/// Candidates that only group: two inner ones of different operation, one after the other. Not those that reached
/// a server themselves.
fn wrappers(trace: &Trace, nested: &[u32]) -> Vec<bool> {
    /// Earliest ends of inner interactions, of two different operations.
    #[derive(Clone, Copy)]
    struct Ended {
        first: Option<SpanIdx>,
        other: Option<SpanIdx>,
    }
    let operation = |at: SpanIdx| trace.span(at).facts.operation.as_str();
    let end = |at: Option<SpanIdx>| at.map_or(i64::MAX, |at| trace.span(at).end_ns());
    let mut ended = vec![Ended { first: None, other: None }; trace.spans.len()];
    let inner = || trace.indices().filter(|at| nested[at.at()] != NONE && is_candidate(trace, *at));
    for at in inner() {
        let seen = &mut ended[nested[at.at()] as usize];
        let same = |other: Option<SpanIdx>| other.is_some_and(|other| operation(other) == operation(at));
        if end(Some(at)) < end(seen.first) {
            if !same(seen.first) {
                seen.other = seen.first;
            }
            seen.first = Some(at);
        } else if !same(seen.first) && end(Some(at)) < end(seen.other) {
            seen.other = Some(at);
        }
    }
    let mut wrapper = vec![false; trace.spans.len()];
    for at in inner() {
        let outer = nested[at.at()] as usize;
        let start = trace.span(at).start_ns;
        let follows = |earlier: Option<SpanIdx>| {
            earlier.is_some_and(|earlier| {
                earlier != at && operation(earlier) != operation(at) && end(Some(earlier)) <= start
            })
        };
        wrapper[outer] |= follows(ended[outer].first) || follows(ended[outer].other);
    }
    for at in trace.depth_first().iter().rev() {
        let reached_server =
            || trace.children(*at).iter().any(|child| trace.span(*child).kind == Kind::Server);
        if wrapper[at.at()] && reached_server() {
            wrapper[at.at()] = false;
        }
        if wrapper[at.at()] && nested[at.at()] != NONE {
            wrapper[nested[at.at()] as usize] = true;
        }
    }
    wrapper
}

/// For each candidate the outermost span of its interaction; `NONE` for wrappers and for all other spans.
fn outermost(trace: &Trace, nested: &[u32], wrappers: &[bool]) -> Vec<u32> {
    let mut outermost = vec![NONE; trace.spans.len()];
    for at in trace.depth_first() {
        if !is_candidate(trace, *at) || wrappers[at.at()] {
            continue;
        }
        let outer = nested[at.at()];
        let inside = outer != NONE && outermost[outer as usize] != NONE && is_leg(trace, *at, SpanIdx(outer));
        outermost[at.at()] = if inside { outermost[outer as usize] } else { at.0 };
    }
    outermost
}

/// Two nested publishes are one only if they concern one message or destination.
fn is_leg(trace: &Trace, inner: SpanIdx, outer: SpanIdx) -> bool {
    let (inner, outer) = (trace.span(inner), trace.span(outer));
    if inner.kind != Kind::Producer || outer.kind != Kind::Producer {
        return true;
    }
    let (inner, outer) = (&inner.facts.messaging, &outer.facts.messaging);
    inner.destination == outer.destination
        || (inner.message_id.is_some() && inner.message_id == outer.message_id)
}

/// One statement seen by two libraries side by side, one inside the other: the inner is a leg (N28).
fn join_siblings(trace: &Trace, outermost: &mut [u32]) {
    /// Overlapping statements that are looked back at; more would only matter in a unit that runs hundreds of
    /// equal statements at once.
    const LOOK_BACK: usize = 64;
    let of_database = |at: &SpanIdx| {
        let facts = &trace.span(*at).facts;
        outermost[at.at()] == at.0
            && matches!(facts.role, Role::Db | Role::Cache)
            && (facts.db.shape.is_some() || facts.db.operation.is_some())
            && trace.parent(*at).is_some()
    };
    let mut statements: Vec<SpanIdx> = trace.indices().filter(of_database).collect();
    let key = |at: SpanIdx| {
        let db = &trace.span(at).facts.db;
        (trace.parent(at), &db.system, &db.shape, if db.shape.is_none() { &db.operation } else { &None })
    };
    let by_time = |at: SpanIdx| (trace.span(at).start_ns, Reverse(trace.span(at).end_ns()), at);
    statements.sort_by(|a, b| key(*a).cmp(&key(*b)).then_with(|| by_time(*a).cmp(&by_time(*b))));
    for equal in statements.chunk_by(|a, b| key(*a) == key(*b)) {
        let scope = |at: SpanIdx| trace.span(at).scope.name.as_str();
        if equal.iter().all(|at| scope(*at) == scope(equal[0])) {
            continue;
        }
        let mut open: Vec<SpanIdx> = Vec::new();
        for at in equal {
            let span = trace.span(*at);
            let fits = |outer: &SpanIdx| {
                scope(*outer) != scope(*at) && span.end_ns() <= trace.span(*outer).end_ns() + NESTING_SLACK_NS
            };
            match open.iter().rposition(fits) {
                Some(position) => outermost[at.at()] = open.remove(position).0,
                None => open.push(*at),
            }
            if LOOK_BACK < open.len() {
                open.remove(0);
            }
            open.retain(|outer| span.start_ns <= trace.span(*outer).end_ns());
        }
    }
}

fn collect(trace: &mut Trace, outermost: &[u32]) -> Vec<Interaction> {
    let mut found: Vec<SpanIdx> = trace.indices().filter(|at| resolved(outermost, *at) == at.0).collect();
    found.sort_by_key(|at| (trace.unit_of[at.at()], *at));
    let mut number = vec![NONE; trace.spans.len()];
    for (index, at) in found.iter().enumerate() {
        number[at.at()] = index as u32;
    }
    let interaction = |span| Interaction { span, legs: Vec::new(), servers: Vec::new() };
    let mut interactions: Vec<Interaction> = found.into_iter().map(interaction).collect();
    let mut above = vec![NONE; trace.spans.len()];
    for at in trace.tree.preorder.clone() {
        let parent = trace.tree.parent(at);
        let of_parent = parent.map_or(NONE, |parent| above[parent.at()]);
        let span = trace.span(at);
        if parent.is_some_and(|parent| trace.unit_of[parent.at()] != trace.unit_of[at.at()]) {
            if of_parent != NONE && matches!(span.kind, Kind::Server | Kind::Consumer) {
                interactions[of_parent as usize].servers.push(at);
            }
        } else {
            above[at.at()] = of_parent;
        }
        let outer = resolved(outermost, at);
        if outer != NONE {
            let index = number[outer as usize];
            above[at.at()] = index;
            if outer != at.0 {
                interactions[index as usize].legs.push(at);
            }
        } else if is_candidate(trace, at) {
            above[at.at()] = NONE;
        } else if above[at.at()] != NONE && (trace.hops[at.at()] || span.facts.ordinal.is_some()) {
            interactions[above[at.at()] as usize].legs.push(at);
        }
    }
    for interaction in &mut interactions {
        interaction.legs.sort_unstable();
        interaction.servers.sort_unstable();
    }
    trace.attempt_above = above;
    trace.interactions = interactions.iter().map(|interaction| interaction.span).collect();
    interactions
}

/// A sibling joined to another keeps its own legs: two steps lead to the outermost.
fn resolved(outermost: &[u32], at: SpanIdx) -> u32 {
    let outer = outermost[at.at()];
    if outer == NONE { NONE } else { outermost[outer as usize] }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::build::Build;
    use super::super::{Attempt, Call, Outcome, Scope, Trace, Unit};
    use super::*;

    fn operations(trace: &Trace) -> Vec<&str> {
        trace.calls().map(Call::operation).collect()
    }

    #[test]
    fn the_outermost_of_nested_clients_is_the_call() {
        let mut build = Build::default();
        let root = build.span(0, "shop", Kind::Server, "GET /", 0, 100);
        let outer = build.span(root, "shop", Kind::Client, "S3.GetObject", 10, 50);
        let wrap = build.span(outer, "shop", Kind::Internal, "attempt", 11, 48);
        let inner = build.span(wrap, "shop", Kind::Client, "GET /object", 12, 40);
        build.span(inner, "store", Kind::Server, "GET /object", 14, 30);
        let trace = build.trace();
        assert_eq!(operations(&trace), ["S3.GetObject"]);
        let call = trace.calls().next().unwrap();
        assert_eq!(call.first().legs(), [SpanIdx(3)]);
        assert_eq!(call.server(), Some(SpanIdx(4)));
        assert_eq!(call.callee(), Some("store"));
        assert_eq!(trace.unit_of(SpanIdx(4)).caller().map(Attempt::at), Some(call.at()));
    }

    #[test]
    fn an_outer_client_around_different_calls_is_a_wrapper() {
        let mut build = Build::default();
        let root = build.span(0, "shop", Kind::Server, "GET /", 0, 100);
        let outer = build.span(root, "shop", Kind::Client, "checkout", 10, 80);
        build.request(outer, "shop", "cart", "GET /cart", 12, 20);
        build.request(outer, "shop", "pay", "POST /pay", 40, 20);
        assert_eq!(operations(&build.trace()), ["GET /cart", "POST /pay"]);
    }

    #[test]
    fn one_statement_seen_by_two_libraries_is_one_call() {
        let mut build = Build::default();
        let root = build.span(0, "shop", Kind::Server, "GET /", 0, 100_000);
        for step in 0..3 {
            build.statement(root, "shop", "SELECT item", step * 10_000, 5_000);
            build.last().scope = Arc::new(Scope { name: "sqlalchemy".into(), version: String::new() });
            build.statement(root, "shop", "SELECT item", step * 10_000 + 100, 4_800);
            build.last().scope = Arc::new(Scope { name: "psycopg".into(), version: String::new() });
        }
        let trace = build.trace();
        assert_eq!(trace.calls().len(), 3);
        assert!(trace.calls().all(|call| call.first().legs().len() == 1));
    }

    #[test]
    fn equal_statements_of_one_library_stay_apart_even_when_they_overlap() {
        let mut build = Build::default();
        let root = build.span(0, "shop", Kind::Server, "GET /", 0, 100_000);
        build.statement(root, "shop", "SELECT item", 0, 5_000);
        build.statement(root, "shop", "SELECT item", 100, 4_800);
        assert_eq!(build.trace().calls().len(), 2);
    }

    #[test]
    fn proxies_between_client_and_server_are_no_units_and_no_calls() {
        let mut build = Build::default();
        let root = build.span(0, "shop", Kind::Server, "GET /", 0, 100);
        let client = build.span(root, "shop", Kind::Client, "GET /cart", 10, 50);
        let inbound = build.span(client, "shop", Kind::Server, "envoy", 11, 48);
        build.last().facts.proxy = true;
        let outbound = build.span(inbound, "shop", Kind::Client, "envoy", 12, 46);
        build.last().facts.proxy = true;
        build.span(outbound, "cart", Kind::Server, "GET /cart", 13, 40);
        let trace = build.trace();
        assert_eq!(trace.units().map(Unit::service).collect::<Vec<_>>(), ["shop", "cart"]);
        let call = trace.calls().next().unwrap();
        assert_eq!((call.callee(), call.server()), (Some("cart"), Some(SpanIdx(4))));
        assert_eq!(trace.units().next().unwrap().spans(), [SpanIdx(0), SpanIdx(1)]);
    }

    #[test]
    fn a_vague_outer_span_leaves_the_word_to_its_leg() {
        let mut build = Build::default();
        let outer = build.span(0, "job", Kind::Client, "S3.PutObject", 0, 100);
        build.failed(outer, Outcome::Error, super::super::Effect::Unknown, 8, false);
        let inner = build.span(outer, "job", Kind::Client, "PUT /object", 10, 80);
        build.failed(inner, Outcome::Timeout, super::super::Effect::Unknown, 1, false);
        let trace = build.trace();
        assert_eq!(trace.calls().next().unwrap().outcome(), Outcome::Timeout);
    }
}
