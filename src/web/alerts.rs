//! `/alerts`: who is told and how that goes, what was told, and two things to do about it: try a receiver, and have a
//! delivery tried again.

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, LOCATION};
use maud::{Markup, html};
use time::OffsetDateTime;

use super::error::PageError;
use super::findings::{Pairs, address, pager, pairs, select};
use super::layout::{Page, Section, encoded};
use super::words;
use crate::alert::Answer;
use crate::clock;
use crate::findings::Fingerprint;
use crate::store::DeliveryRow;
use crate::view::{
    DeliveryFilter, Failure, Health, Parameters, STATES, Shown, Slice, State as Standing, Tested,
};

const PATH: &str = "/alerts";

/// Deliveries as the page lists them.
struct Lists {
    /// Given up; `None` where the address says which states it wants.
    dead: Option<Slice<DeliveryRow>>,
    others: Slice<DeliveryRow>,
}

/// Answers `/alerts`.
pub(super) async fn show(State(shown): State<Shown>, RawQuery(query): RawQuery) -> Result<Page, PageError> {
    let pairs = pairs(query.as_deref().unwrap_or_default())?;
    let health = shown.health().await?;
    let lists = lists(&shown, &pairs).await?;
    let body = page(&health, &lists, &pairs, clock::now());
    let api = format!("/api/v1/deliveries{}", address(&pairs, &[]));
    Ok(Page::new("Alerts", Section::Alerts, body).api(api))
}

/// What was given up stands first, unless the address asks for states of its own.
async fn lists(shown: &Shown, pairs: &Pairs) -> Result<Lists, Failure> {
    let with = |states: &[&str], pairs: &Pairs| {
        let states = states.iter().map(|state| ("state".to_owned(), (*state).to_owned()));
        let parameters = Parameters::of_form(pairs.iter().cloned().chain(states).collect())?;
        DeliveryFilter::read(parameters)
    };
    if pairs.iter().any(|(name, _)| name == "state") {
        return Ok(Lists { dead: None, others: shown.deliveries(&with(&[], pairs)?).await? });
    }
    let others = shown.deliveries(&with(&["pending", "delivered"], pairs)?).await?;
    let first: Pairs = pairs.iter().filter(|(name, _)| name != "after").cloned().collect();
    Ok(Lists { dead: Some(shown.deliveries(&with(&["dead"], &first)?).await?), others })
}

/// Answers `POST /alerts/receivers/{name}/test`, sent by a button: the page of what came of it.
pub(super) async fn test(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Page, PageError> {
    shown.refuse_foreign(&headers)?;
    let tested = shown.test(&name).await?;
    Ok(Page::new("Test of a receiver", Section::Alerts, outcome(&name, &tested)))
}

/// Answers `POST /alerts/deliveries/{id}/retry`, sent by a button: leads back to the page.
pub(super) async fn retry(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    shown.refuse_foreign(&headers)?;
    shown.retry(&id, clock::now()).await?;
    let back = HeaderValue::from_static("/alerts#deliveries");
    Ok((StatusCode::SEE_OTHER, [(LOCATION, back)]).into_response())
}

fn outcome(name: &str, tested: &Tested) -> Markup {
    html! {
        h1 { "Test of " (name) }
        @match &tested.answer {
            Answer::Delivered { status } => p.lead { "It took the message and answered " (status) "." },
            Answer::Later { why, .. } | Answer::Refused { why, .. } => p.lead { "It did not take the message: " (why) "." },
        }
        p { "The message was " code { (tested.id) } "; it says that nothing is wrong." }
        p { a href=(PATH) { "Back to alerts" } }
    }
}

fn page(health: &[Health<'_>], lists: &Lists, pairs: &Pairs, now: OffsetDateTime) -> Markup {
    html! {
        h1 { "Alerts" }
        @if health.is_empty() { (nobody()) } @else {
            p.lead { "Each change of a finding is told to every receiver that wants to hear of it, in order, until it has it." }
            (receivers(health, now))
        }
        section aria-labelledby="deliveries" {
            h2 id="deliveries" { "Deliveries" }
            (form(health, pairs))
            @if let Some(dead) = lists.dead.as_ref().filter(|dead| !dead.items.is_empty()) {
                h3 { "Given up" }
                (table(&dead.items, now))
                @if dead.next.is_some() {
                    p { a href={ (PATH) (address(pairs, &[("after", None), ("state", Some("dead"))])) } { "All that were given up" } }
                }
                h3 { "Waiting and delivered" }
            }
            @if lists.others.items.is_empty() { (nothing(pairs, lists.dead.as_ref())) }
            @else { (table(&lists.others.items, now)) }
            (pager(PATH, pairs, lists.others.next.as_deref()))
        }
    }
}

fn nothing(pairs: &Pairs, dead: Option<&Slice<DeliveryRow>>) -> Markup {
    html! {
        @if !pairs.is_empty() {
            p.empty { "No delivery is like that. " a href=(PATH) { "Show all" } "." }
        } @else if dead.is_none_or(|dead| dead.items.is_empty()) {
            p.empty { "Nothing was told yet. Receivers are told as soon as a finding opens." }
        } @else {
            p.empty { "No other." }
        }
    }
}

/// What to do where nobody is told.
fn nobody() -> Markup {
    html! {
        p.lead { "Nobody is told of findings yet. Name a receiver in the settings and start again:" }
        pre tabindex="0" {
            "[[receivers]]\n"
            "name = \"ops\"\n"
            "format = \"slack\"            # or standard, alertmanager, alertmanager_push, pagerduty\n"
            "url_file = \"slack.url\"      # the address is a secret\n"
            "min_severity = \"high\"\n"
        }
    }
}

fn receivers(health: &[Health<'_>], now: OffsetDateTime) -> Markup {
    html! {
        section aria-labelledby="receivers" {
            h2 id="receivers" { "Receivers" }
            div.scroll tabindex="0" { table.receivers.cards {
                thead { tr {
                    th scope="col" { "Receiver" } th scope="col" { "Health" } th.number scope="col" { "Waiting" }
                    th.number scope="col" { "Given up" } th scope="col" { "Took one" } th scope="col" { "Try it" }
                } }
                tbody { @for one in health { (receiver(one, now)) } }
            } }
        }
    }
}

fn receiver(one: &Health<'_>, now: OffsetDateTime) -> Markup {
    let (name, row) = (one.receiver.name(), &one.row);
    let filtered = |state: &str| format!("{PATH}?receiver={}&state={state}#deliveries", encoded(name));
    html! { tr {
        th scope="row" { (name) div.note { (one.receiver.host()) } }
        td {
            span class={ "health " (one.state().id()) } { (standing(one.state())) }
            @if let Some(since) = row.failing_since { " since " (words::age(since, now)) }
            @if let Some(until) = row.paused_until { " until " (words::clock(until)) }
            @if let Some(error) = &row.error { div.note { (error) } }
        }
        td.number data-label="Waiting" {
            @if row.pending > 0 { a href=(filtered("pending")) { (words::number(row.pending)) } } @else { "0" }
            @if let Some(oldest) = row.oldest_pending_at { div.note { "oldest " (words::age(oldest, now)) } }
        }
        td.number data-label="Given up" { @if row.dead > 0 { a href=(filtered("dead")) { (words::number(row.dead)) } } @else { "0" } }
        td.tight data-label="Took one" { @if let Some(last) = row.last_delivered_at { (words::age(last, now)) } @else { span.none { "not yet" } } }
        td { form method="post" action={ (PATH) "/receivers/" (encoded(name)) "/test" } {
            button.quiet type="submit" aria-label={ "Send a test to " (name) } { "Send a test" }
        } }
    } }
}

fn standing(state: Standing) -> &'static str {
    match state {
        Standing::Ok => "well",
        Standing::Failing => "failing",
        Standing::Paused => "asked for a pause",
        Standing::Disabled => "gone, left alone until the next start",
    }
}

fn form(health: &[Health<'_>], pairs: &Pairs) -> Markup {
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let names: Vec<(&str, &str)> =
        health.iter().map(|one| (one.receiver.name(), one.receiver.name())).collect();
    let states = STATES.map(|state| (state, state));
    html! {
        form.filters action=(PATH) method="get" role="search" {
            (select("Receiver", "receiver", &names, value("receiver"), Some("any")))
            (select("State", "state", &states, value("state"), Some("any")))
            label { span { "Finding" } input type="text" name="finding" value=[value("finding")] placeholder="its id"; }
            button type="submit" { "Show" }
        }
    }
}

fn table(rows: &[DeliveryRow], now: OffsetDateTime) -> Markup {
    html! {
        div.scroll tabindex="0" { table.deliveries.cards {
            thead { tr {
                th scope="col" { "What" } th scope="col" { "Receiver" } th scope="col" { "State" }
                th.number scope="col" { "Tries" } th scope="col" { "Last answer" } th scope="col" { "Made" }
                th scope="col" { "Again" }
            } }
            tbody { @for row in rows { (delivery(row, now)) } }
        } }
    }
}

fn delivery(row: &DeliveryRow, now: OffsetDateTime) -> Markup {
    let finding = Fingerprint(row.fingerprint.cast_unsigned());
    html! { tr {
        th scope="row" { a href={ "/findings/" (finding) } { (what(&row.event)) } div.note { code { (finding) } } }
        td data-label="Receiver" { (row.receiver) }
        td.tight { span class={ "delivery " (row.state) } { (row.state) } }
        td.number data-label="Tries" { (row.attempts) }
        td {
            @if let Some(error) = &row.last_error { (error) }
            @else if let Some(status) = row.last_status { (status) }
            @else { span.none { "none yet" } }
            @if row.state == "pending" && row.next_attempt_at > now {
                div.note { "next try at " (words::clock(row.next_attempt_at)) }
            }
        }
        td.tight data-label="Made" { (words::age(row.created_at, now)) }
        td { @if row.state != "delivered" {
            form method="post" action={ (PATH) "/deliveries/" (row.id) "/retry" } {
                button.quiet type="submit" aria-label={ "Try again to tell " (row.receiver) " of " (finding) } { "Try again" }
            }
        } }
    } }
}

/// `finding.opened` in words.
fn what(event: &str) -> String {
    words::capital(&event.strip_prefix("finding.").unwrap_or(event).replace('_', " "))
}
