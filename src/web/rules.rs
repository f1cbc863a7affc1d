//! `/rules` and `/rules/{id}`: what is looked for, with the drawings that define it and the thresholds in force.

use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use maud::{Markup, html};
use serde_json::Value;

use super::error::PageError;
use super::layout::{Page, Section};
use super::{markdown, words};
use crate::rules::{self, Fallacy, Rule};
use crate::store::findings::OpenCount;
use crate::view::{Failure, Shown};

/// Answers `/rules`.
pub(super) async fn list(State(shown): State<Shown>) -> Result<Page, PageError> {
    let counts = shown.store.open_counts().await?;
    Ok(Page::new("Rules", Section::Rules, overview(&shown, &counts)).api("/api/v1/rules"))
}

/// Answers `/rules/{id}`.
pub(super) async fn show(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let rule = rules::find(&id).ok_or_else(|| Failure::missing("such rule"))?;
    let counts = shown.store.open_counts().await?;
    let open = counts.iter().filter(|count| count.rule == rule.id).map(|count| count.open).sum();
    let thresholds = rule.thresholds(&shown.config.rules);
    let body = page(rule, &thresholds, open);
    Ok(Page::new(rule.id, Section::Rules, body).api(format!("/api/v1/rules/{}", rule.id)).tagged(&headers))
}

fn overview(shown: &Shown, counts: &[OpenCount]) -> Markup {
    let covered =
        Fallacy::ALL.into_iter().filter(|fallacy| rules::RULES.iter().any(|rule| rule.fallacy == *fallacy));
    html! {
        h1 { "Rules" }
        p.lead { "Each rule proves one way of relying on a fallacy. Its page shows what it flags and what it does not." }
        @for fallacy in covered {
            section {
                h2 { (fallacy.title()) }
                div.scroll tabindex="0" { table.cards {
                    thead { tr {
                        th scope="col" { "Rule" } th scope="col" { "What it finds" } th.number scope="col" { "Open" }
                    } }
                    tbody { @for rule in rules::RULES.iter().filter(|rule| rule.fallacy == fallacy) {
                        @let open: i64 = counts.iter().filter(|count| count.rule == rule.id).map(|it| it.open).sum();
                        tr {
                            th.tight scope="row" { a href={ "/rules/" (rule.id) } { code { (rule.id) } } }
                            td {
                                (markdown::inline(&rule.title()))
                                @if !rule.is_enabled(&shown.config.rules) { " " span.note { "switched off" } }
                            }
                            td.number data-label="Open" { @if open > 0 {
                                a href={ "/findings?rule=" (rule.id) } { (words::number(open)) }
                            } @else { "0" } }
                        }
                    } }
                } }
            }
        }
    }
}

/// The page of a rule.
fn page(rule: &Rule, thresholds: &Value, open: i64) -> Markup {
    let text = rule.page();
    // The first line is the title and stands above.
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    html! {
        article.rule {
            header {
                p.eyebrow { (rule.fallacy.title()) }
                h1 { (markdown::inline(&rule.title())) }
                p.marks {
                    code { (rule.id) } " "
                    @if open > 0 {
                        a href={ "/findings?rule=" (rule.id) } { (words::counted(open, "open finding", "open findings")) }
                    } @else { span.note { "nothing open" } }
                }
            }
            (markdown::render(rest, 1))
            (in_force(rule, thresholds))
        }
    }
}

/// The thresholds as the settings file spells them.
fn in_force(rule: &Rule, thresholds: &Value) -> Markup {
    let Some(section) = thresholds.as_object() else { return Markup::default() };
    html! {
        section aria-labelledby="thresholds" {
            h2 id="thresholds" { "Thresholds in force" }
            pre tabindex="0" {
                "[rules." (rule.id) "]\n"
                @for (key, value) in section { (key) " = " (value.to_string()) "\n" }
            }
        }
    }
}
