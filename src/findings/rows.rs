//! What is kept of a trace besides its findings: its summary, what services did, what they asked of each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Summary, Unit};
use crate::model::{self, Kind, Status, Trace};

/// Nanoseconds in milliseconds, to the microsecond.
pub(super) fn ms(ns: i64) -> f64 {
    (ns as f64 / 1e3).round() / 1e3
}

pub(super) fn summary(trace: &Trace) -> Summary {
    let root = trace.root().map(|root| trace.unit_of(root));
    let services: BTreeSet<&str> = trace.spans().iter().map(|span| span.resource.service.as_str()).collect();
    Summary {
        service: root.map(|unit| unit.service().to_owned()).unwrap_or_default(),
        operation: root.map(|unit| unit.operation().to_owned()).unwrap_or_default(),
        environment: root.map(|unit| unit.resource().environment.clone()).unwrap_or_default(),
        start_ns: trace.spans().first().map_or(0, |span| span.start_ns),
        duration_ns: trace.duration_ns(),
        spans: trace.spans().len() as u32,
        services: services.len() as u32,
        errors: trace.spans().iter().filter(|span| span.status == Status::Error).count() as u32,
        complete: trace.is_complete(),
        defects: defects(trace),
    }
}

/// One line for each kind of oddity: how often, and where first.
fn defects(trace: &Trace) -> Vec<String> {
    let mut kinds: BTreeMap<String, (usize, Option<model::SpanIdx>)> = BTreeMap::new();
    for defect in trace.defects() {
        let (count, _) = kinds.entry(defect.to_string()).or_insert((0, defect.span()));
        *count += 1;
    }
    let line = |(text, (count, first)): (String, (usize, Option<model::SpanIdx>))| match (first, count) {
        (None, _) => text,
        (Some(at), 1) => format!("{text} (span {})", trace.span(at).id),
        (Some(at), _) => format!("{text} ({count} spans, first {})", trace.span(at).id),
    };
    kinds.into_iter().map(line).collect()
}

pub(super) fn units(trace: &Trace) -> Vec<Unit> {
    let row = |unit: model::Unit<'_>| {
        let resource = unit.resource();
        Unit {
            span_id: unit.span().id,
            environment: resource.environment.clone(),
            service: resource.service.clone(),
            instance: resource.instance.clone(),
            version: resource.version.clone(),
            operation: unit.operation().to_owned(),
            kind: kind(unit.span().kind),
            root: unit.is_root(),
            orphan: unit.is_orphan(),
            duration_ns: unit.duration_ns(),
            outcome: unit.outcome(),
        }
    };
    trace.units().map(row).collect()
}

pub(super) fn calls(trace: &Trace) -> Vec<Call> {
    let row = |call: model::Call<'_>| {
        let server = call.server().map(|server| trace.span(server));
        let unit = call.unit();
        Call {
            span_id: call.span().id,
            unit_span_id: unit.span().id,
            environment: unit.resource().environment.clone(),
            caller: unit.service().to_owned(),
            callee: call.callee().unwrap_or_default().to_owned(),
            callee_instance: server.and_then(|server| server.resource.instance.clone()),
            role: call.role(),
            operation: call.operation().to_owned(),
            class: call.class(),
            outcome: call.outcome(),
            effect: call.effect(),
            code: code(call),
            duration_ns: call.duration_ns(),
            server_duration_ns: server.map(|server| server.duration_ns),
            attempts: call.attempt_count(),
        }
    };
    trace.calls().map(row).collect()
}

/// The last attempt's code, as its protocol spells it, from the span or from what the library below it saw.
fn code(call: model::Call<'_>) -> Option<String> {
    call.last().sides().find_map(|side| {
        let facts = &side.facts;
        let status = facts.http.status.map(|status| status.to_string());
        status.or_else(|| facts.rpc.code.clone()).or_else(|| facts.db.code.clone())
    })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Internal => "internal",
        Kind::Server => "server",
        Kind::Client => "client",
        Kind::Producer => "producer",
        Kind::Consumer => "consumer",
    }
}
