//! `/`: the nine fallacies, what is open under each, what is new, and whether anything arrives at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::extract::State;
use maud::{Markup, html};
use time::OffsetDateTime;

use super::error::PageError;
use super::findings::table;
use super::layout::{Page, Section};
use super::{chart, words};
use crate::clock;
use crate::config::Config;
use crate::findings::life::Status;
use crate::findings::shape::{Finding, Handling};
use crate::rules::{self, Fallacy, Severity};
use crate::store::findings::{OpenCount, Sort, Wanted};
use crate::store::query::Arrival;
use crate::store::{StoreError, WantedTraces};
use crate::telemetry::BOUNDS;
use crate::view::Shown;

/// Newest findings on the board.
const NEWEST: u32 = 8;

/// What the board shows.
struct Board {
    counts: Vec<OpenCount>,
    /// Worst open finding of each fallacy that has one.
    worst: Vec<Finding>,
    newest: Vec<Finding>,
    arrival: Arrival,
    intake: Intake,
    /// By fallacy: days of the last week and what was seen on each.
    days: BTreeMap<String, Vec<(OffsetDateTime, i64)>>,
}

/// How the door and the judging keep up.
struct Intake {
    /// Requests refused since this process started.
    refused: u64,
    /// Seconds that the trace longest due is late.
    lag_seconds: f64,
    /// Spans are here, and nothing has been judged yet.
    is_first: bool,
}

/// Answers `/`.
pub(super) async fn show(State(shown): State<Shown>) -> Result<Page, PageError> {
    let arrival = shown.store.arrival().await?;
    if arrival.last_at.is_none() {
        let mut page = Page::new("Waiting for the first span", Section::Board, first_start(&shown.config));
        page.refresh = Some(5);
        return Ok(page.api("/api/v1/status"));
    }
    let url = &shown.config.server.public_url;
    let handlings = vec![Handling::None, Handling::Acknowledged];
    let open = Wanted { statuses: vec![Status::Open], handlings, ..Wanted::default() };
    let now = clock::now();
    let (newest, counts, worst, days, intake) = tokio::try_join!(
        shown.store.list_findings(&open, Sort::FirstSeen, None, NEWEST, url),
        shown.store.open_counts(),
        shown.store.worst_open(url),
        shown.store.days_by_fallacy(now - time::Duration::days(chart::DAYS)),
        intake(&shown, &arrival),
    )?;
    let newest = newest.into_iter().map(|listed| listed.finding).collect();
    let board = Board { counts, worst, newest, arrival, intake, days };
    let mut page = Page::new("Fallacies", Section::Board, page(&board, now)).api("/api/v1/fallacies");
    page.refresh = board.intake.is_first.then_some(5);
    Ok(page)
}

async fn intake(shown: &Shown, arrival: &Arrival) -> Result<Intake, StoreError> {
    let backlog = shown.store.backlog(shown.config.traces.quiet_period.0).await?;
    let is_first = 0 < arrival.pending
        && arrival.traces == 0
        && shown.store.list_traces(&WantedTraces::default(), None, 1).await?.is_empty();
    let refused = BOUNDS.into_iter().map(|bound| shown.metrics.refused(bound)).sum();
    Ok(Intake { refused, lag_seconds: backlog.lag_seconds, is_first })
}

/// The board.
fn page(board: &Board, now: OffsetDateTime) -> Markup {
    let open: i64 = board.counts.iter().map(|count| count.open).sum();
    html! {
        h1 { "Fallacies of distributed computing" }
        p.lead {
            @if open == 0 { "Nothing is open. " } @else {
                a href="/findings" { (words::counted(open, "finding is", "findings are")) " open" } ". "
            }
            "Each row is an assumption that code makes about the network; its findings are proven from your traces."
        }
        (arrival(board, now))
        section aria-labelledby="board" {
            h2.unseen id="board" { "Open findings by fallacy" }
            div.scroll tabindex="0" { table.board {
                thead { tr {
                    th scope="col" { "Assumption" } th scope="col" { "Open" } th scope="col" { "Worst finding" }
                    th scope="col" { "Seven days" }
                } }
                tbody { @for fallacy in Fallacy::ALL { (row(board, fallacy, now)) } }
            } }
        }
        (newest(&board.newest, now))
    }
}

/// What came up since yesterday.
fn newest(newest: &[Finding], now: OffsetDateTime) -> Markup {
    let new = newest.iter().take_while(|finding| now - finding.first_seen < time::Duration::days(1)).count();
    html! {
        section aria-labelledby="newest" {
            h2 id="newest" { "New in 24 hours" }
            @match newest.first() {
                None => p.empty {
                    "No finding has opened yet. A trace is judged a few seconds after its last span; what was seen too "
                    "seldom to speak of is listed as " a href="/findings?status=candidate" { "candidates" } "."
                },
                Some(last) if new == 0 => p.empty {
                    "Nothing. The newest finding was first seen " (words::age(last.first_seen, now)) ": "
                    a href={ "/findings/" (last.claim.id) } { (words::prose(&last.claim.headline)) } "."
                },
                Some(_) => {
                    (table(&newest[..new], None, now))
                    p { a href="/findings?sort=first_seen" { "All, the newest first" } }
                }
            }
        }
    }
}

fn row(board: &Board, fallacy: Fallacy, now: OffsetDateTime) -> Markup {
    let of_it = board.counts.iter().filter(|count| count.fallacy == fallacy);
    let scale = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low];
    let by_severity = scale.map(|severity| {
        let open: i64 =
            of_it.clone().filter(|count| count.severity == severity).map(|count| count.open).sum();
        (severity, open)
    });
    let worst = board.worst.iter().find(|finding| finding.claim.fallacy == fallacy);
    // A finding may outlive its rule.
    let is_covered = worst.is_some() || rules::RULES.iter().any(|rule| rule.fallacy == fallacy);
    html! {
        tr.uncovered[!is_covered] {
            th scope="row" {
                @if is_covered { a href={ "/findings?fallacy=" (fallacy.id()) } { (fallacy.title()) } }
                @else { (fallacy.title()) }
            }
            td.tight {
                @if !is_covered { span.note { "no rule yet" } }
                @else if by_severity.iter().all(|(_, open)| *open == 0) { span.none { "none" } }
                @else {
                    @for (severity, open) in by_severity.iter().filter(|(_, open)| *open > 0) {
                        a.count href={ "/findings?fallacy=" (fallacy.id()) "&severity=" (severity.id()) } {
                            (words::number(*open)) " " (words::severity(*severity))
                        } " "
                    }
                }
            }
            td {
                @if let Some(worst) = worst {
                    a href={ "/findings/" (worst.claim.id) } { (words::prose(&worst.claim.headline)) }
                    " " span.note { (worst.claim.service) }
                }
            }
            td.tight {
                @if let Some(days) = board.days.get(fallacy.id()) { (chart::spark(days, now)) }
            }
        }
    }
}

/// Whether spans come, and whether all that is done with them keeps up.
fn arrival(board: &Board, now: OffsetDateTime) -> Markup {
    let (arrival, intake) = (&board.arrival, &board.intake);
    html! {
        @if intake.is_first {
            p.arrival.waiting role="status" {
                "First span seen" @if let Some(last) = arrival.last_at { " " (words::age(last, now)) } ". "
                (words::counted(arrival.pending, "trace waits", "traces wait")) " to be judged, a few seconds after its last "
                "span. This page looks again every 5 seconds."
            }
        } @else {
            p.arrival {
                @if let Some(last) = arrival.last_at { "Last span " (words::age(last, now)) ". " }
                b { (rate(arrival.spans)) } " judged in the last minute. "
                @if intake.refused == 0 { "No request refused. " }
                @else {
                    b { (words::counted(intake.refused.cast_signed(), "request", "requests")) } " "
                    a href="/status" { "refused" } " since the start. "
                }
                @if arrival.pending > 0 {
                    (words::counted(arrival.pending, "trace waits", "traces wait")) " to be judged"
                    @if 1.0 <= intake.lag_seconds { ", the oldest " b { (words::duration(intake.lag_seconds * 1e3)) } " late" }
                    "."
                } @else { "No trace waits." }
            }
        }
    }
}

/// Spans of one minute, by the second.
fn rate(spans: i64) -> String {
    match spans {
        0 => "No spans".to_owned(),
        1..600 => format!("{:.1} spans/s", spans as f64 / 60.0),
        _ => format!("{} spans/s", words::number(spans / 60)),
    }
}

/// A door as senders name it: one that is open on every address goes by the name under which these pages are reached.
fn reached(door: SocketAddr, config: &Config) -> String {
    let page: Option<http::Uri> = config.server.public_url.parse().ok();
    match page.as_ref().and_then(http::Uri::host) {
        Some(host) if door.ip().is_unspecified() => format!("http://{host}:{}", door.port()),
        _ => format!("http://{door}"),
    }
}

/// Before anything has arrived: what to do, and nothing else.
fn first_start(config: &Config) -> Markup {
    let (grpc, http) = (reached(config.otlp.grpc, config), reached(config.otlp.http, config));
    html! {
        h1 { "Waiting for the first span" }
        p.lead { "Point any OpenTelemetry SDK or collector here. Two environment variables are enough:" }
        pre tabindex="0" {
            "OTEL_EXPORTER_OTLP_ENDPOINT=" (http) "\n"
            "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n"
        }
        p { "Or over gRPC:" }
        pre tabindex="0" {
            "OTEL_EXPORTER_OTLP_ENDPOINT=" (grpc) "\n"
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc\n"
        }
        p.arrival.waiting role="status" { "No span yet. This page looks again every 5 seconds." }
        section aria-labelledby="then" {
            h2 id="then" { "What happens then" }
            ol {
                li { "Spans are stored as they come, with secrets in them redacted." }
                li { "A trace is judged " (config.traces.quiet_period) " after its last span." }
                li { "What it proves appears here, each finding with its evidence and how to fix it." }
            }
            p {
                "Meanwhile: " a href="/rules" { "what is looked for" } ". No service at hand? "
                code { "debunk demo" } " opens a small shop whose faults are real."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_on_every_address_is_shown_under_a_name_that_can_be_reached() {
        let mut config = Config::default();
        assert_eq!(reached(config.otlp.http, &config), "http://127.0.0.1:4318");
        config.server.public_url = "https://debunk.example/prefix".to_owned();
        assert_eq!(reached(config.otlp.http, &config), "http://127.0.0.1:4318");
        for everywhere in ["0.0.0.0:4318", "[::]:4318"] {
            assert_eq!(reached(everywhere.parse().unwrap(), &config), "http://debunk.example:4318");
        }
    }
}
