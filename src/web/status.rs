//! `/status`: how the service is, for whoever keeps it running.

use axum::extract::State;
use maud::{Markup, html};
use time::OffsetDateTime;

use super::error::PageError;
use super::layout::{Page, Section};
use super::words;
use crate::clock;
use crate::view::{Shown, Status};

/// Clients on the page; all of them stand in the API.
const CLIENTS: usize = 20;

/// Answers `/status`.
pub(super) async fn show(State(shown): State<Shown>) -> Result<Page, PageError> {
    let status = shown.status().await?;
    let mut page = Page::new("Status", Section::Status, page(&status, clock::now())).api("/api/v1/status");
    page.refresh = Some(10);
    Ok(page)
}

fn page(status: &Status, now: OffsetDateTime) -> Markup {
    html! {
        h1 { "Status" }
        dl.facts {
            div { dt { "Version" } dd { (status.version) } }
            div { dt { "Running for" } dd { (words::duration(status.uptime_ms as f64)) } }
            div { dt { "Schema" } dd { @match status.schema { Some(schema) => (schema), None => "waiting for the database" } } }
            div { dt { "Traces to judge" } dd { (words::number(status.pending.traces)) } }
            div { dt { "Judging is late by" } dd { (words::duration(status.pending.lag_ms)) } }
        }
        (arrived(status))
        (loops(status, now))
        (clients(status, now))
        (storage(status))
    }
}

fn arrived(status: &Status) -> Markup {
    let (spans, bounds) = (&status.spans, &status.bounds);
    html! {
        section aria-labelledby="arrived" {
            h2 id="arrived" { "What arrived since the start" }
            dl.facts {
                div { dt { "Spans stored" } dd { (words::number(spans.stored.cast_signed())) } }
                div { dt { "Sent again" } dd { (words::number(spans.duplicate.cast_signed())) } }
                div { dt { "Rejected" } dd { (words::number(spans.rejected.cast_signed())) } }
                div { dt { "In flight" } dd {
                    (words::bytes(bounds.in_flight_bytes.unsigned_abs())) " of " (words::bytes(bounds.max_in_flight_bytes))
                } }
                div { dt { "Connections" } dd {
                    (bounds.grpc_connections) " gRPC, " (bounds.http_connections) " HTTP, of " (bounds.max_connections) " each"
                } }
            }
            h3 { "Requests refused, by bound" }
            div.scroll tabindex="0" { table {
                thead { tr { th scope="col" { "Bound" } th.number scope="col" { "Requests" } } }
                tbody { @for refused in &bounds.refused { tr {
                    th scope="row" { (refused.bound.replace('_', " ")) }
                    td.number { (words::number(refused.requests.cast_signed())) }
                } } }
            } }
        }
    }
}

fn loops(status: &Status, now: OffsetDateTime) -> Markup {
    html! {
        section aria-labelledby="loops" {
            h2 id="loops" { "What goes on by itself" }
            div.scroll tabindex="0" { table {
                thead { tr { th scope="col" { "Loop" } th scope="col" { "Last step" } th.number scope="col" { "Failures" } } }
                tbody { @for one in &status.loops { tr {
                    th scope="row" { (one.name) }
                    td.tight { @match one.last_step_at { Some(at) => (words::age(at, now)), None => "none yet" } }
                    td.number { (words::number(one.failures.cast_signed())) }
                } } }
            } }
        }
    }
}

fn clients(status: &Status, now: OffsetDateTime) -> Markup {
    html! {
        section aria-labelledby="clients" {
            h2 id="clients" { "Who sends" }
            @if status.clients.is_empty() { p.empty { "Nobody since the start." } }
            @else {
                div.scroll tabindex="0" { table.cards {
                    thead { tr {
                        th scope="col" { "Address" } th scope="col" { "Last request" } th.number scope="col" { "Requests" }
                        th.number scope="col" { "Refused" } th.number scope="col" { "Spans stored" } th.number scope="col" { "Spans rejected" }
                    } }
                    tbody { @for client in status.clients.iter().take(CLIENTS) { @let counts = &client.counts; tr {
                        th scope="row" { code { (client.address) } }
                        td.tight { (words::age(client.last_request_at, now)) }
                        td.number data-label="Requests" { (words::number(counts.requests.cast_signed())) }
                        td.number data-label="Refused" { (words::number(counts.refused_requests.cast_signed())) }
                        td.number data-label="Spans stored" { (words::number(counts.stored_spans.cast_signed())) }
                        td.number data-label="Spans rejected" { (words::number(counts.rejected_spans.cast_signed())) }
                    } } }
                } }
            }
        }
    }
}

fn storage(status: &Status) -> Markup {
    let storage = &status.storage;
    html! {
        section aria-labelledby="storage" {
            h2 id="storage" { "What is kept" }
            p { (words::bytes(storage.bytes.unsigned_abs())) " of " (words::bytes(storage.max_bytes)) ". The oldest traces go when it is nearly full." }
            div.scroll tabindex="0" { table {
                thead { tr { th scope="col" { "Table" } th.number scope="col" { "Size" } } }
                tbody { @for table in &storage.tables { tr {
                    th scope="row" { code { (table.table) } } td.number { (words::bytes(table.bytes.unsigned_abs())) }
                } } }
            } }
            @if !storage.days.is_empty() {
                h3 { "By day" }
                div.scroll tabindex="0" { table {
                    thead { tr { th scope="col" { "Day" } th.number scope="col" { "Size" } } }
                    tbody { @for day in &storage.days { tr {
                        th scope="row" { (day.day) } td.number { (words::bytes(day.bytes.unsigned_abs())) }
                    } } }
                } }
            }
        }
    }
}
