//! `/findings/{id}`: one finding, from what happened to what to do, in the order in which one asks.

use axum::extract::{Path, State};
use maud::{Markup, html};
use time::OffsetDateTime;

use super::error::PageError;
use super::evidence::Traces;
use super::layout::{Page, Section, encoded};
use super::{chart, decide, evidence, markdown, words};
use crate::clock;
use crate::findings::shape::{Finding, Handling, Occurrence};
use crate::view::{Detail, Failure, Shown};

/// Newest occurrences on the page.
const RECENT: u32 = 10;

/// Answers `/findings/{id}`.
pub(super) async fn show(State(shown): State<Shown>, Path(id): Path<String>) -> Result<Page, PageError> {
    let detail = shown.finding(&id, RECENT).await?.ok_or_else(|| Failure::missing("such finding"))?;
    let title = words::plain(&detail.finding.claim.headline);
    let api = format!("/api/v1/findings/{}", detail.finding.claim.id);
    Ok(Page::new(title, Section::Findings, page(&detail, clock::now())).api(api))
}

/// The page of one finding.
fn page(detail: &Detail, now: OffsetDateTime) -> Markup {
    let claim = &detail.finding.claim;
    html! {
        article.finding {
            header {
                p.eyebrow {
                    a href={ "/findings?fallacy=" (claim.fallacy.id()) } { (claim.fallacy.title()) }
                    " · "
                    (words::rule(&claim.rule))
                }
                h1 { (words::prose(&claim.headline)) }
                p.marks {
                    (words::severity(claim.severity))
                    " " span.mark { "confidence " (words::confidence(claim.confidence)) }
                    " " (words::status(claim.status))
                    @if claim.handling != Handling::None { " " span.mark { (claim.handling.id()) } }
                    " " span.mark {
                        "seen " b { (words::counted(detail.finding.occurrences, "time", "times")) } ", last "
                        (words::age(detail.finding.last_seen, now))
                    }
                }
                (place(&detail.finding))
            }
            @match detail.recent.first() {
                Some(example) => (shown_by(detail, &example.occurrence)),
                None => section { h2 { "What happened" } p.empty {
                    "The traces that showed this are no longer kept. Its numbers below remain."
                } },
            }
            (remedy(detail))
            (decide::forms(&detail.finding))
            (history(detail, now))
            (recent(detail, now))
            (related(detail))
            (decide::log(detail, now))
        }
    }
}

/// Where it is: who does what, and whom it asks.
fn place(finding: &Finding) -> Markup {
    let claim = &finding.claim;
    html! {
        dl.facts {
            div { dt { "Service" } dd { a href={ "/services/" (encoded(&claim.service)) "?since=7d" } { (claim.service) } } }
            div { dt { "Operation" } dd { code { (claim.operation) } } }
            @if let Some(callee) = &claim.callee { div { dt { "Callee" } dd { (callee) } } }
            @if !claim.environment.is_empty() { div { dt { "Environment" } dd { (claim.environment) } } }
            div { dt { "Form" } dd { (claim.variant.replace('_', " ")) } }
            div { dt { "Link" } dd { a href=(finding.url) { code { (finding.url) } } } }
        }
    }
}

/// What one trace shows: what happened, its cost, the proof, and what stayed in the dark.
fn shown_by(detail: &Detail, example: &Occurrence) -> Markup {
    let cost = words::cost(&detail.finding.claim.cost);
    html! {
        section aria-labelledby="what" {
            h2 id="what" { "What happened" }
            p.lead { (words::prose(&example.why)) }
        }
        section aria-labelledby="cost" {
            h2 id="cost" { "What it costs" }
            @if cost.is_empty() { p { "Nothing that the spans measure." } }
            @else {
                p { "Each time, by the median of the last day in which it was seen:" }
                ul.cost { @for part in &cost { li { (part) } } }
            }
        }
        section aria-labelledby="how" {
            h2 id="how" { "How we know" }
            p {
                "From trace " a href={ "/traces/" (encoded(&example.trace_id)) } { code { (short(&example.trace_id)) } }
                @if let Some(version) = &example.version { ", version " (version) }
                ". These are the spans that show it and the values that were compared."
            }
            (evidence::lanes(example, Traces::Kept))
            @if !example.drawing.is_empty() {
                h3 { "The same as text" }
                (markdown::drawing(&example.drawing))
            }
        }
        @if !example.not_visible.is_empty() {
            section aria-labelledby="unseen" {
                h2 id="unseen" { "What could not be seen" }
                ul { @for line in &example.not_visible { li { (words::prose(line)) } } }
            }
        }
    }
}

fn remedy(detail: &Detail) -> Markup {
    let Some(text) = &detail.remedy else { return Markup::default() };
    html! {
        section.remedy aria-labelledby="fix" {
            h2 id="fix" { "How to fix it" }
            (markdown::render(text, 2))
            p { a href={ "/rules/" (detail.finding.claim.rule) } { "More about this rule" } }
        }
    }
}

fn history(detail: &Detail, now: OffsetDateTime) -> Markup {
    let finding = &detail.finding;
    html! {
        section aria-labelledby="since" {
            h2 id="since" { "Since when and how often" }
            (chart::week(&detail.hours, now))
            dl.facts {
                div { dt { "First seen" } dd { (words::age(finding.first_seen, now)) } }
                div { dt { "Last seen" } dd { (words::age(finding.last_seen, now)) } }
                @if let Some(opened) = finding.opened_at { div { dt { "Opened" } dd { (words::age(opened, now)) } } }
                @if let Some(resolved) = finding.resolved_at {
                    div { dt { "Resolved" } dd { (words::age(resolved, now)) } }
                }
                @if finding.reopened > 0 { div { dt { "Reopened" } dd {
                    (words::counted(finding.reopened.into(), "time", "times"))
                } } }
                div { dt { "Last 24 hours" } dd { (words::counted(finding.occurrences_24h, "occurrence", "occurrences")) } }
                div { dt { "In all" } dd { (words::counted(finding.occurrences, "occurrence", "occurrences")) } }
            }
        }
    }
}

fn recent(detail: &Detail, now: OffsetDateTime) -> Markup {
    if detail.recent.is_empty() {
        return Markup::default();
    }
    html! {
        section aria-labelledby="recent" {
            h2 id="recent" { "Recent traces" }
            div.scroll tabindex="0" { table.recent {
                thead { tr {
                    th scope="col" { "Seen" } th scope="col" { "Trace" } th scope="col" { "Severity" }
                    th scope="col" { "What happened there" }
                } }
                tbody { @for seen in &detail.recent { @let occurrence = &seen.occurrence; tr {
                    td.tight { @if let Some(at) = occurrence.seen_at { (words::age(at, now)) } }
                    td.tight { a href={ "/traces/" (encoded(&occurrence.trace_id)) "?span=" (encoded(&occurrence.span_id)) "#s-" (encoded(&occurrence.span_id)) } {
                        code { (short(&occurrence.trace_id)) }
                    } }
                    td.tight { (words::severity(occurrence.severity)) }
                    td { (words::prose(&occurrence.why)) }
                } } }
            } }
            @if i64::from(RECENT) < detail.finding.occurrences {
                p { a href={ "/api/v1/findings/" (detail.finding.claim.id) "/occurrences" } { "All occurrences as JSON" } }
            }
        }
    }
}

fn related(detail: &Detail) -> Markup {
    if detail.related.is_empty() {
        return Markup::default();
    }
    html! {
        section aria-labelledby="related" {
            h2 id="related" { "Seen at the same place" }
            ul { @for related in &detail.related {
                li {
                    a href={ "/findings/" (related.finding) } { code { (related.finding) } }
                    @if related.covers_this { " says the same and more; it is the one that counts there." }
                    @else { " is covered by this one." }
                }
            } }
        }
    }
}

/// Enough of a trace's id to tell it from others by eye.
pub(super) fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(12)..).unwrap_or(id)
}
