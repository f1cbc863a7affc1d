//! What people may decide on the page of a finding, the forms that ask for it, and the log of all that happened to it.

use axum::extract::rejection::StringRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, LOCATION};
use maud::{Markup, html};
use time::OffsetDateTime;

use super::error::PageError;
use super::findings::pairs;
use super::words;
use crate::clock;
use crate::findings::decision::{Action, Reason, decide as outcome};
use crate::findings::shape::{Claim, Finding, Handling};
use crate::store::{ChangeRow, DecisionRow};
use crate::view::{Detail, Failure, Parameters, Shown, decide as wish};

/// How long a mute lasts, to choose from.
const LENGTHS: [(&str, &str); 4] =
    [("1d", "for a day"), ("7d", "for a week"), ("30d", "for 30 days"), ("", "until it is unmuted")];

/// Answers `POST /findings/{id}/decisions`, sent by the forms: leads back to where they stood.
pub(super) async fn decide(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<String, StringRejection>,
) -> Result<Response, PageError> {
    shown.refuse_foreign(&headers)?;
    let body = body.map_err(|_| Failure::parameter("", "the form cannot be read"))?;
    let mut parameters = Parameters::of_form(pairs(&body)?)?;
    let back = parameters.text("back")?;
    let decision = wish::read(parameters, clock::now())?;
    let done = shown.decide(&id, &decision).await?;
    done.ok_or_else(|| Failure::missing("such finding"))?;
    let back = back.filter(|path| path == "/findings" || path.starts_with("/findings?"));
    let back = back.and_then(|path| HeaderValue::try_from(path).ok());
    let page = || HeaderValue::try_from(format!("/findings/{id}#log"));
    let target = back.map_or_else(page, Ok).map_err(|_| Failure::missing("such finding"))?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, target)]).into_response())
}

/// The forms for what applies to the finding as it is now.
pub(super) fn forms(finding: &Finding) -> Markup {
    let claim = &finding.claim;
    let applies: Vec<Action> = Action::ALL
        .into_iter()
        .filter(|action| outcome(claim.status, claim.handling, *action).is_ok())
        // A second mute is asked for by unmuting first: one button less.
        .filter(|action| !(*action == Action::Mute && claim.handling == Handling::Muted))
        .collect();
    html! {
        section.decide aria-labelledby="decide" {
            h2 id="decide" { "What to do with it" }
            (standing(finding))
            div.choices {
                @for action in applies { (form(claim, action)) }
            }
        }
    }
}

/// What was decided, in words.
fn standing(finding: &Finding) -> Markup {
    html! {
        @match finding.claim.handling {
            Handling::None => p { "Nobody has decided anything yet." },
            Handling::Acknowledged => p { "Acknowledged: somebody knows of it. It is not brought up again until it comes back." },
            Handling::Muted => p {
                "Muted"
                @if let Some(until) = finding.muted_until { " until " (words::clock(until)) }
                ": it is counted, but nobody is told and lists leave it out."
            },
        }
    }
}

fn form(claim: &Claim, action: Action) -> Markup {
    let (title, help) = words_of(action);
    html! {
        details name="decision" {
            summary { (title) }
            (sends(claim, action, None, &html! {
                p { (help) }
                @if action == Action::Mute { (mute_fields()) }
                label { span { "Note" } input type="text" name="note" maxlength="500" placeholder="for the log, if you like"; }
                button type="submit" { (title) }
            }))
        }
    }
}

/// A form that sends a decision, and leads `back` if it says where.
fn sends(claim: &Claim, action: Action, back: Option<&str>, fields: &Markup) -> Markup {
    html! {
        form method="post" action={ "/findings/" (claim.id) "/decisions" } {
            input type="hidden" name="action" value=(action.id());
            @if let Some(back) = back { input type="hidden" name="back" value=(back); }
            (fields)
        }
    }
}

fn mute_fields() -> Markup {
    html! {
        label { span { "Why" }
            select name="reason" {
                @for reason in Reason::ALL { option value=(reason.id()) { (reason_words(reason)) } }
            }
        }
        label { span { "How long" }
            select name="until" {
                @for (value, title) in LENGTHS { option value=(value) { (title) } }
            }
        }
    }
}

/// Acknowledges and mutes from a list, and leads back to it.
pub(super) fn in_place(claim: &Claim, back: &str) -> Markup {
    let applies = |action| outcome(claim.status, claim.handling, action).is_ok();
    let headline = words::plain(&claim.headline);
    html! {
        @if applies(Action::Acknowledge) {
            div.inline { (sends(claim, Action::Acknowledge, Some(back), &html! {
                button.quiet type="submit" aria-label={ "Acknowledge " (headline) } { "Acknowledge" }
            })) }
        }
        @if applies(Action::Mute) && claim.handling != Handling::Muted {
            details.inline {
                summary aria-label={ "Mute " (headline) } { "Mute" }
                (sends(claim, Action::Mute, Some(back), &html! {
                    (mute_fields())
                    button type="submit" { "Mute" }
                }))
            }
        }
    }
}

fn words_of(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Acknowledge => {
            ("Acknowledge", "You know of it. Reminders stop until it is resolved and comes back.")
        }
        Action::Mute => ("Mute", "It is still counted, but lists leave it out and nobody is told."),
        Action::Unmute => ("Unmute", "It stands in lists again, and people are told if it is open."),
        Action::Resolve => {
            ("Resolve", "It is fixed. The first trace received from now on that shows it opens it again.")
        }
        Action::Reopen => ("Reopen", "It is not fixed after all."),
    }
}

fn reason_words(reason: Reason) -> &'static str {
    match reason {
        Reason::Accepted => "it is known and stays",
        Reason::FalsePositive => "it is not so",
        Reason::Test => "it was made for a test",
    }
}

/// All that happened to it, newest first: what people decided, and what was told or would have been.
pub(super) fn log(detail: &Detail, now: OffsetDateTime) -> Markup {
    let mut entries: Vec<(OffsetDateTime, Markup)> = Vec::new();
    entries.extend(detail.decisions.iter().map(|row| (row.at, decision(row))));
    // A decision and the change that it makes bear one time; the decision came first.
    entries
        .extend(detail.changes.iter().filter(|row| row.reason != "person").map(|row| (row.at, change(row))));
    entries.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    html! {
        section aria-labelledby="log" {
            h2 id="log" { "Who decided what, and what changed" }
            @if entries.is_empty() { p.empty { "Nothing yet." } }
            @else {
                ol.log { @for (at, entry) in &entries {
                    li { span.when { (words::age(*at, now)) } div { (entry) } }
                } }
            }
        }
    }
}

fn decision(row: &DecisionRow) -> Markup {
    let did = match row.action {
        Action::Acknowledge => "acknowledged it",
        Action::Mute => "muted it",
        Action::Unmute => "unmuted it",
        Action::Resolve => "resolved it",
        Action::Reopen => "reopened it",
    };
    html! {
        b { (row.who.as_deref().unwrap_or("Somebody")) } " " (did)
        @if let Some(until) = row.until { " until " (words::clock(until)) }
        @if let Some(reason) = row.reason { ", since " (reason_words(reason)) }
        @if let Some(note) = &row.note { blockquote { (note) } }
    }
}

fn change(row: &ChangeRow) -> Markup {
    let what = match (row.event.as_str(), row.reason.as_str()) {
        ("finding.opened", "unmuted") => "Its mute ended while it was open",
        ("finding.opened", _) => "Opened: seen often enough to be sure",
        ("finding.escalated", _) => "Became worse",
        ("finding.resolved", "retracted") => "Taken back: late spans showed that it was not so",
        ("finding.resolved", _) => "Resolved: not seen although its operation was at work",
        ("finding.reopened", _) => "Came back",
        _ => "Changed",
    };
    html! { (what) " " (words::severity(row.severity)) }
}
