//! A trace drawn: a row per span, parents above their children, bars on one axis of time. Each row opens to what its
//! span says.

use std::fmt::Write;

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::evidence::{Axis, decimals, grid};
use super::layout::encoded;
use super::words::{duration, prose};
use crate::model::SpanId;
use crate::view::{Clocks, SpanView, TraceView};

/// Columns of indentation; deeper spans stand below each other at the last one.
const MAX_DEPTH: usize = 24;
const STEP: usize = 12;
/// Longest value shown, in characters; the rest is in the API.
const MAX_VALUE: usize = 2_000;
/// Most bytes of details on one page, so that it stays a page whatever the spans hold.
const BUDGET: usize = 1 << 20;

/// The rows of a trace's page; `marked` is the one that was asked for.
pub(super) fn draw(view: &TraceView, marked: Option<SpanId>, clocks: Clocks) -> Markup {
    let axis = Axis::new(0.0, view.duration_ms);
    let mut page = Rows { view, axis, marked, clocks, budget: BUDGET };
    let rows: Vec<Markup> = view.spans.iter().map(|span| row(&mut page, span)).collect();
    html! {
        p.legend {
            span.key.key-path { "on the critical path" } " "
            span.key.key-off { "not waited for" } " "
            span.key.key-failed { "failed" } " "
            span.key.key-evidence { "evidence" }
        }
        div.waterfall {
            div.scale aria-hidden="true" { span { "Service and operation" } (axis.marks()) }
            @for row in &rows { (row) }
        }
    }
}

/// The beginning of an address of the same trace, drawn by the same clocks, at a span.
pub(super) fn to_span(clocks: Clocks) -> &'static str {
    if clocks == Clocks::AsSent { "?clocks=sent&span=" } else { "?span=" }
}

/// What all rows of a page share.
struct Rows<'v> {
    view: &'v TraceView,
    axis: Axis,
    marked: Option<SpanId>,
    clocks: Clocks,
    /// Bytes of details that the page may still hold.
    budget: usize,
}

fn row(page: &mut Rows<'_>, span: &SpanView) -> Markup {
    let is_marked = page.marked == Some(span.span_id);
    let is_evidence = !span.evidence_of.is_empty();
    html! {
        details.span.evidence[is_evidence].failed[span.failed].marked[is_marked]
            id={ "s-" (span.span_id) } open[is_marked] {
            summary {
                span.who {
                    (indent(span.depth))
                    @for index in numbers(span) { span.ordinal title=(reason(page.view, index)) { (index + 1) } " " }
                    span.service { (span.service) } " " span.operation { (span.operation) }
                    @if span.failed { " " span.failure { (failure(span)) } }
                }
                (bar(span, page.axis))
                span.measure { (duration(span.duration_ms)) }
            }
            (body(page, span))
        }
    }
}

/// Lines that lead the eye from a parent to its children.
fn indent(depth: usize) -> Markup {
    let depth = depth.min(MAX_DEPTH);
    html! {
        @if depth > 0 {
            svg.indent aria-hidden="true" width=(depth * STEP) height="24" {
                @for column in 0..depth {
                    @let x = column * STEP + 5;
                    line x1=(x) x2=(x) y1="0" y2="24" {}
                }
            }
        }
    }
}

fn bar(span: &SpanView, axis: Axis) -> Markup {
    let (x, width) = axis.bar(span.offset_ms, span.duration_ms);
    let class = if span.failed {
        "bar-failed"
    } else if span.on_critical_path {
        "bar-path"
    } else {
        "bar-off"
    };
    html! {
        svg.bar aria-hidden="true" width="100%" height="24" {
            (grid())
            @if !span.evidence_of.is_empty() { rect.band x="0" y="0" width="100%" height="100%" {} }
            rect class=(class) x={ (decimals(x)) "%" } width={ (decimals(width)) "%" } y="7" height="10" rx="2" {}
        }
    }
}

/// Places of the occurrences that the span is evidence of, each once.
fn numbers(span: &SpanView) -> Vec<usize> {
    let mut numbers: Vec<usize> = span.evidence_of.iter().map(|(index, _)| *index).collect();
    numbers.dedup();
    numbers
}

fn reason(view: &TraceView, index: usize) -> String {
    let sighting = view.occurrences.get(index);
    sighting.map(|sighting| format!("{}: {}", sighting.rule, sighting.occurrence.why)).unwrap_or_default()
}

fn failure(span: &SpanView) -> &'static str {
    if matches!(span.outcome, "ok" | "unknown") { "error" } else { span.outcome }
}

/// What an opened row says.
fn body(page: &mut Rows<'_>, span: &SpanView) -> Markup {
    let view = page.view;
    html! {
        div.body {
            @for (index, role) in &span.evidence_of {
                @if let Some(sighting) = view.occurrences.get(*index) {
                    p.flag {
                        span.ordinal { (index + 1) } " "
                        a href={ "/findings/" (sighting.finding) } { code { (sighting.rule) } }
                        " as " b { (role.replace(':', " ")) } ": " (prose(&sighting.occurrence.why))
                    }
                }
            }
            dl.facts {
                div { dt { "Kind" } dd { (span.kind) } }
                div { dt { "Starts" } dd { "at " (duration(span.offset_ms)) } }
                div { dt { "Takes" } dd { (duration(span.duration_ms)) } }
                div { dt { "Status" } dd { (span.status) } }
                div { dt { "Outcome" } dd { (span.outcome) } }
                @if let Some(effect) = span.effect { div { dt { "Effect" } dd { (effect) } } }
                @if span.name != span.operation { div { dt { "Name" } dd { (span.name) } } }
                @if !span.scope.is_empty() { div { dt { "Instrumented by" } dd { (span.scope) } } }
                div { dt { "Span" } dd { code { (span.span_id) } } }
                @if let Some(parent) = span.parent_id { div { dt { "Parent" } dd {
                    a href={ (to_span(page.clocks)) (parent) "#s-" (parent) } { code { (parent) } }
                } } }
            }
            @if !span.status_message.is_empty() { p { (cut(&span.status_message)) } }
            (details(view, span, &mut page.budget))
        }
    }
}

fn details(view: &TraceView, span: &SpanView, budget: &mut usize) -> Markup {
    let sections = html! {
        (attributes(&span.attributes))
        @for event in &span.events {
            h4 { (event.name) " at " (duration(event.offset_ms)) }
            (attributes(&event.attributes))
        }
        @for link in &span.links {
            h4 { "Link" }
            p {
                a href={ "/traces/" (encoded(&link.trace_id)) "?span=" (encoded(&link.span_id)) } {
                    code { (link.trace_id) } " " code { (link.span_id) }
                }
            }
            (attributes(&link.attributes))
        }
    };
    if let Some(left) = budget.checked_sub(sections.0.len()) {
        *budget = left;
        return sections;
    }
    html! { p.note {
        "What this span says is too much for one page; it is in "
        a href={ "/api/v1/traces/" (view.id) } { "the API" } "."
    } }
}

fn attributes(attributes: &Map<String, Value>) -> Markup {
    html! {
        @if !attributes.is_empty() {
            dl.attributes { @for (key, value) in attributes { div { dt { (key) } dd { (shown(value)) } } } }
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text),
        Value::Null => String::new(),
        other => cut(&other.to_string()),
    }
}

fn cut(text: &str) -> String {
    let Some((at, _)) = text.char_indices().nth(MAX_VALUE) else { return text.to_owned() };
    let mut kept = text[..at].to_owned();
    write!(kept, "… ({} more bytes)", text.len() - at).expect("writing to a String cannot fail");
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_say_how_much_was_cut() {
        assert_eq!(cut("ü"), "ü");
        let long = cut(&"ü".repeat(MAX_VALUE + 10));
        assert!(long.ends_with("ü… (20 more bytes)"), "{}", &long[long.len() - 40..]);
    }

    #[test]
    fn depth_does_not_push_the_names_off_the_page() {
        let deep = indent(100_000).into_string();
        assert_eq!(deep.matches("<line").count(), MAX_DEPTH);
    }
}
