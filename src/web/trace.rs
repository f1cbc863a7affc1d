//! `/traces/{id}`: one request through all its services, with what was found in it.

use axum::extract::{Path, RawQuery, State};
use maud::{Markup, html};
use time::OffsetDateTime;

use super::error::PageError;
use super::findings::pairs;
use super::layout::{Page, Section, encoded};
use super::{waterfall, words};
use crate::clock;
use crate::model::{SpanId, TraceId};
use crate::view::{Clocks, Failure, Parameters, Part, Shown, TraceView};

/// Spans on one page.
const SIZE: usize = 500;

/// Answers `/traces/{id}`.
pub(super) async fn show(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Page, PageError> {
    let mut parameters = Parameters::of_form(pairs(query.as_deref().unwrap_or_default())?)?;
    let number = parameters.one::<usize>("page")?;
    let span = parameters.text("span")?;
    let clocks = parameters.word("clocks", &[("sent", Clocks::AsSent), ("corrected", Clocks::Corrected)])?;
    let clocks = clocks.unwrap_or(Clocks::Corrected);
    parameters.finish()?;
    let span = span.map(|text| text.parse::<SpanId>()).transpose();
    let span = span.map_err(|_| Failure::parameter("span", "16 hexadecimal digits"))?;
    let part = match (number, span) {
        (Some(0), _) => return Err(Failure::parameter("page", "counted from 1").into()),
        (Some(number), _) => Part::Page(number - 1, SIZE),
        (None, Some(span)) => Part::Around(span, SIZE),
        (None, None) => Part::Page(0, SIZE),
    };
    let missing = || Failure::missing("such trace");
    let id: TraceId = id.parse().map_err(|_| missing())?;
    let view = shown.trace(id, part, clocks).await?.ok_or_else(missing)?;
    let title = format!("{} {}", view.name.0, view.name.1);
    let mut page = Page::new(title, Section::Traces, page(&view, span, clocks, clock::now()))
        .api(format!("/api/v1/traces/{id}"));
    // Not judged yet: it will be in a moment.
    page.refresh = view.summary.is_none().then_some(5);
    Ok(page)
}

fn page(view: &TraceView, marked: Option<SpanId>, clocks: Clocks, now: OffsetDateTime) -> Markup {
    html! {
        article.trace {
            header {
                p.eyebrow {
                    "Trace " code { (view.id) } " · "
                    a href={ "/api/v1/traces/" (view.id) "/otlp" } { "download as OTLP" }
                }
                h1 { (view.name.0) " " span.soft { (view.name.1) } }
                (facts(view, now))
            }
            (found(view, clocks))
            section aria-labelledby="spans" {
                h2 id="spans" { "Spans" }
                (moved(view, clocks))
                (pages(view, clocks))
                (waterfall::draw(view, marked, clocks))
                (pages(view, clocks))
            }
            (defects(view))
        }
    }
}

fn facts(view: &TraceView, now: OffsetDateTime) -> Markup {
    let started = OffsetDateTime::from_unix_timestamp_nanos(view.start_ns.into()).ok();
    html! {
        dl.facts {
            div { dt { "Duration" } dd { (words::duration(view.duration_ms)) } }
            div { dt { "Spans" } dd { (words::number(view.total as i64)) } }
            div { dt { "Services" } dd { (words::number(view.services as i64)) } }
            div { dt { "Errors" } dd { (words::number(view.errors as i64)) } }
            @if let Some(started) = started {
                div { dt { "Started, by its own clock" } dd { (words::clock(started)) } }
            }
            @if let Some(summary) = &view.summary {
                div { dt { "Received" } dd { (words::age(summary.received_at, now)) } }
                div { dt { "Judged" } dd { (words::age(summary.evaluated_at, now)) } }
                @if !summary.environment.is_empty() { div { dt { "Environment" } dd { (summary.environment) } } }
            }
        }
        @match (&view.summary, view.pending) {
            (None, _) => p.arrival.waiting role="status" {
                "Not judged yet: it waits until no more spans come. This page looks again every 5 seconds."
            },
            (Some(_), true) => p.arrival { "It will be judged again: spans came late, or an effect may still show." },
            (Some(_), false) => {},
        }
    }
}

/// What rules found, worst first.
fn found(view: &TraceView, clocks: Clocks) -> Markup {
    html! {
        section aria-labelledby="found" {
            h2 id="found" { "What was found" }
            @if view.occurrences.is_empty() {
                p.empty { @if view.summary.is_some() { "Nothing." } @else { "Nothing yet." } }
            } @else {
                ol.found { @for (index, sighting) in view.occurrences.iter().enumerate() {
                    @let occurrence = &sighting.occurrence;
                    @let span = encoded(&occurrence.span_id);
                    li {
                        span.ordinal { (index + 1) }
                        div {
                            p { (words::severity(occurrence.severity)) " " (words::prose(&occurrence.why)) }
                            p.note {
                                a href={ "/findings/" (sighting.finding) } { "Finding" } " · "
                                (words::rule(&sighting.rule)) " · "
                                "confidence " (words::confidence(occurrence.confidence)) " · "
                                a href={ (waterfall::to_span(clocks)) (span) "#s-" (span) } { "go to its span" }
                            }
                        }
                    }
                } }
            }
        }
    }
}

/// Whose clocks were moved, and the way to see them as they were.
fn moved(view: &TraceView, clocks: Clocks) -> Markup {
    let first = view.first / SIZE + 1;
    html! {
        @if clocks == Clocks::AsSent {
            p.note {
                "Times as each clock told them. "
                a href={ "?page=" (first) "#spans" } { "Put servers within the calls that they answered" }
            }
        } @else if !view.moved.is_empty() {
            p.note {
                "Clocks disagree: servers are drawn within the calls that they answered. Moved: "
                @for (index, (service, ms)) in view.moved.iter().enumerate() {
                    @if index > 0 { ", " }
                    b { (service) } " by " @if *ms > 0.0 { "+" } @else { "−" } (words::duration(ms.abs()))
                }
                ". " a href={ "?page=" (first) "&clocks=sent#spans" } { "Show times as sent" }
            }
        }
    }
}

/// Ways to the other pages, where there are any.
fn pages(view: &TraceView, clocks: Clocks) -> Markup {
    let clocks = if clocks == Clocks::AsSent { "&clocks=sent" } else { "" };
    if view.total <= SIZE {
        return Markup::default();
    }
    let (page, last) = (view.first / SIZE + 1, view.total.div_ceil(SIZE));
    html! {
        nav.pages aria-label="Pages of spans" {
            @if page > 1 { a rel="prev" href={ "?page=" (page - 1) (clocks) "#spans" } { "Previous" } " " }
            "Spans " (words::number(view.first as i64 + 1)) " to "
            (words::number((view.first + view.spans.len()) as i64)) " of " (words::number(view.total as i64))
            @if page < last { " " a rel="next" href={ "?page=" (page + 1) (clocks) "#spans" } { "Next" } }
        }
    }
}

fn defects(view: &TraceView) -> Markup {
    if view.defects.is_empty() {
        return Markup::default();
    }
    html! {
        section aria-labelledby="defects" {
            h2 id="defects" { "What is odd about it" }
            p { "Rules say less, or nothing, where these leave room for doubt." }
            ul.defects { @for defect in &view.defects { li { (defect) } } }
        }
    }
}
