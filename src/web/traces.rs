//! `/traces`: judged traces, searched by who, what, how slow and what was found. The filters stand in the address.

use axum::extract::{RawQuery, State};
use maud::{Markup, html};
use time::OffsetDateTime;

use super::error::PageError;
use super::finding::short;
use super::findings::{Pairs, address, pager, pairs, select};
use super::layout::{Page, Section};
use super::words;
use crate::clock;
use crate::rules;
use crate::store::ListedTrace;
use crate::view::{Parameters, Shown, Slice, TraceFilter};

/// Answers `/traces`.
pub(super) async fn show(State(shown): State<Shown>, RawQuery(query): RawQuery) -> Result<Page, PageError> {
    let pairs = pairs(query.as_deref().unwrap_or_default())?;
    let now = clock::now();
    let filter = TraceFilter::read(Parameters::of_form(pairs.clone())?, now)?;
    let slice = shown.traces(&filter).await?;
    let api = format!("/api/v1/traces{}", address(&pairs, &[]));
    Ok(Page::new("Traces", Section::Traces, page(&slice, &pairs, now)).api(api))
}

fn page(slice: &Slice<ListedTrace>, pairs: &Pairs, now: OffsetDateTime) -> Markup {
    html! {
        h1 { "Traces" }
        (form(pairs))
        @if slice.items.is_empty() {
            @if pairs.is_empty() {
                p.empty { "No trace has been judged yet. A trace is judged a few seconds after its last span." }
            } @else {
                p.empty { "No trace is like that. " a href="/traces" { "Show all" } "." }
            }
        } @else { (table(&slice.items, now)) }
        (pager("/traces", pairs, slice.next.as_deref()))
    }
}

fn form(pairs: &Pairs) -> Markup {
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let rules: Vec<_> = rules::RULES.iter().map(|rule| (rule.id, rule.id)).collect();
    let fields = ["service", "operation", "min_ms", "max_ms", "rule", "error"];
    html! {
        form.filters action="/traces" method="get" role="search" {
            label { span { "Service" } input type="text" name="service" value=[value("service")]; }
            label { span { "Operation" } input type="text" name="operation" value=[value("operation")]; }
            label { span { "At least, ms" } input type="number" min="0" step="any" name="min_ms" value=[value("min_ms")]; }
            label { span { "At most, ms" } input type="number" min="0" step="any" name="max_ms" value=[value("max_ms")]; }
            (select("Found by", "rule", &rules, value("rule"), Some("any or nothing")))
            (select("Failed", "error", &[("true", "only with errors")], value("error"), Some("either")))
            @for (name, value) in pairs {
                @if !fields.contains(&name.as_str()) && name != "after" {
                    input type="hidden" name=(name) value=(value);
                }
            }
            button type="submit" { "Show" }
        }
    }
}

fn table(traces: &[ListedTrace], now: OffsetDateTime) -> Markup {
    html! {
        div.scroll tabindex="0" { table.traces.cards {
            thead { tr {
                th scope="col" { "Trace" } th scope="col" { "Received" } th.number scope="col" { "Took" }
                th.number scope="col" { "Spans" } th.number scope="col" { "Services" } th.number scope="col" { "Errors" }
                th.number scope="col" { "Found" }
            } }
            tbody { @for trace in traces { @let id = trace.trace_id.simple().to_string(); tr {
                th scope="row" {
                    a href={ "/traces/" (id) } { (trace.service) " " span.soft { (trace.operation) } }
                    div.note {
                        code { (short(&id)) }
                        @if !trace.environment.is_empty() { " · " (trace.environment) }
                        @if !trace.complete { " · something of it is missing" }
                    }
                }
                td.tight { (words::age(trace.received_at, now)) }
                td.number.tight data-label="Took" { (words::duration(trace.duration_ns as f64 / 1e6)) }
                td.number data-label="Spans" { (words::number(trace.spans.into())) }
                td.number data-label="Services" { (words::number(trace.services.into())) }
                td.number data-label="Errors" { (words::number(trace.errors.into())) }
                td.number data-label="Found" { @if trace.occurrences > 0 { b { (words::number(trace.occurrences.into())) } } @else { "0" } }
            } } }
        } }
    }
}
