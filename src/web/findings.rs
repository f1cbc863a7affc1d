//! `/findings`: the list, its filters in the address.

use axum::extract::{Query, RawQuery, State};
use maud::{Markup, html};
use time::OffsetDateTime;

use super::error::PageError;
use super::layout::{Page, Section, encoded};
use super::{decide, words};
use crate::clock;
use crate::findings::life::Status;
use crate::findings::shape::{Finding, Handling};
use crate::rules::{self, Confidence, Fallacy, Severity};
use crate::view::{Failure, Filter, Parameters, SORTS, Shown, Slice};

/// The parameters as given, for the form and for links.
pub(super) type Pairs = Vec<(String, String)>;

/// Answers `/findings`.
pub(super) async fn show(State(shown): State<Shown>, RawQuery(query): RawQuery) -> Result<Page, PageError> {
    let pairs = pairs(query.as_deref().unwrap_or_default())?;
    let now = clock::now();
    let filter = Filter::read(Parameters::of_form(pairs.clone())?, now)?;
    let slice = shown.findings(&filter).await?;
    let api = format!("/api/v1/findings{}", address(&pairs, &[]));
    Ok(Page::new("Findings", Section::Findings, page(&slice, &pairs, now)).api(api))
}

/// The decoded parameters, empty ones left out: they are fields of the form that say nothing.
pub(super) fn pairs(query: &str) -> Result<Pairs, Failure> {
    let uri = format!("/?{query}")
        .parse()
        .map_err(|_| Failure::parameter("", "the query string cannot be read"))?;
    let Query(pairs) = Query::<Pairs>::try_from_uri(&uri)
        .map_err(|_| Failure::parameter("", "the query string cannot be read"))?;
    Ok(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect())
}

/// The query string of `pairs` with some parameters set anew; a value of `None` takes one out.
pub(super) fn address(pairs: &Pairs, changes: &[(&str, Option<&str>)]) -> String {
    let kept = pairs.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
    let set = changes.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
    let parts: Vec<String> =
        kept.chain(set).map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

fn page(slice: &Slice<Finding>, pairs: &Pairs, now: OffsetDateTime) -> Markup {
    html! {
        h1 { "Findings" }
        (form(pairs))
        (chosen(pairs))
        @if slice.items.is_empty() { (nothing(pairs)) } @else { (table(&slice.items, Some(&format!("/findings{}", address(pairs, &[]))), now)) }
        (pager("/findings", pairs, slice.next.as_deref()))
    }
}

/// The ways to the first and to the next page of a list; nothing at its end.
pub(super) fn pager(path: &str, pairs: &Pairs, next: Option<&str>) -> Markup {
    let Some(next) = next else { return Markup::default() };
    html! {
        nav.pages aria-label="Pages" {
            @if pairs.iter().any(|(name, _)| name == "after") {
                a href={ (path) (address(pairs, &[("after", None)])) } { "First page" } " "
            }
            a rel="next" href={ (path) (address(pairs, &[("after", Some(next))])) } { "Next page" }
        }
    }
}

/// The filters. Each field holds what the address says; those without a field are kept as hidden ones.
fn form(pairs: &Pairs) -> Markup {
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let statuses =
        [Status::Open, Status::Candidate, Status::Resolved].map(|status| (status.id(), status.id()));
    let handlings = Handling::ALL.map(|handling| (handling.id(), handling.id()));
    let severities = [Severity::Critical, Severity::High, Severity::Medium].map(|it| (it.id(), it.id()));
    let confidences = [Confidence::Confirmed, Confidence::High].map(|it| (it.id(), it.id()));
    let fallacies = Fallacy::ALL.map(|fallacy| (fallacy.id(), fallacy.title()));
    let rules: Vec<_> = rules::RULES.iter().map(|rule| (rule.id, rule.id)).collect();
    let sorts = SORTS.map(|(name, _)| (name, name));
    let fields = [
        "q",
        "status",
        "handling",
        "severity",
        "confidence",
        "fallacy",
        "rule",
        "service",
        "environment",
        "since",
        "sort",
    ];
    let mut spans = vec![("1h", "the last hour"), ("24h", "the last day"), ("7d", "the last week")];
    // Any other age or instant may be asked for by address.
    spans.extend(
        value("since").filter(|since| spans.iter().all(|(known, _)| known != since)).map(|it| (it, it)),
    );
    html! {
        form.filters action="/findings" method="get" role="search" {
            label.wide { span { "Text" }
                input type="search" name="q" value=[value("q")] placeholder="headline, operation or callee";
            }
            (select("Status", "status", &statuses, value("status").or(Some(Status::Open.id())), None))
            (select("Handling", "handling", &handlings, value("handling"), Some("not muted")))
            (select("Severity at least", "severity", &severities, value("severity"), Some("any")))
            (select("Confidence at least", "confidence", &confidences, value("confidence"), Some("any")))
            (select("Fallacy", "fallacy", &fallacies, value("fallacy"), Some("any")))
            (select("Rule", "rule", &rules, value("rule"), Some("any")))
            label { span { "Service" } input type="text" name="service" value=[value("service")]; }
            label { span { "Environment" } input type="text" name="environment" value=[value("environment")]; }
            (select("Seen in", "since", &spans, value("since"), Some("any time")))
            (select("Sort by", "sort", &sorts, value("sort"), None))
            @for (name, value) in pairs {
                // A second value of a field, a range of time: asked for by address, kept when the form is sent.
                @if !fields.contains(&name.as_str()) && name != "after" {
                    input type="hidden" name=(name) value=(value);
                }
            }
            button type="submit" { "Show" }
        }
    }
}

/// A choice of one, by its label.
pub(super) fn select(
    label: &str,
    name: &str,
    options: &[(&str, &str)],
    chosen: Option<&str>,
    any: Option<&str>,
) -> Markup {
    html! {
        label { span { (label) }
            select name=(name) {
                @if let Some(any) = any { option value="" { (any) } }
                @for (value, title) in options {
                    option value=(value) selected[chosen == Some(*value)] { (title.replace('_', " ")) }
                }
            }
        }
    }
}

/// A parameter as its field is called.
fn label(name: &str) -> String {
    match name {
        "q" => "text".to_owned(),
        "since" => "seen since".to_owned(),
        "until" => "last seen before".to_owned(),
        "severity" | "confidence" => format!("{name} at least"),
        _ => name.replace('_', " "),
    }
}

/// What narrows the list, each with a way to take it back.
fn chosen(pairs: &Pairs) -> Markup {
    let narrowing: Vec<_> = pairs.iter().filter(|(name, _)| name != "after" && name != "sort").collect();
    html! {
        @if !narrowing.is_empty() {
            p.chosen {
                "Shown: "
                @for (name, value) in narrowing {
                    a href={ "/findings" (address(pairs, &[(name, None), ("after", None)])) }
                        title="Take this filter back" { (label(name)) " " b { (value) } " ×" } " "
                }
            }
        }
    }
}

fn nothing(pairs: &Pairs) -> Markup {
    html! {
        @if pairs.is_empty() {
            p.empty {
                "No finding is open. What was seen too seldom to speak of is listed as "
                a href="/findings?status=candidate" { "candidates" } "; "
                a href="/rules" { "the rules" } " say what is looked for."
            }
        } @else {
            p.empty { "No finding is like that. " a href="/findings" { "Show all that are open" } "." }
        }
    }
}

/// Findings as a table, in the order given. Where it is a list to be worked through, `back` leads to it again.
pub(super) fn table(findings: &[Finding], back: Option<&str>, now: OffsetDateTime) -> Markup {
    html! {
        div.scroll tabindex="0" { table.findings {
            thead { tr {
                th scope="col" { "Severity" } th scope="col" { "Finding" } th scope="col" { "Where" }
                th.number scope="col" { "Seen" } th scope="col" { "Last" } th scope="col" { "Status" }
            } }
            tbody { @for finding in findings { @let claim = &finding.claim; tr {
                td.tight { (words::severity(claim.severity)) }
                th scope="row" {
                    a href={ "/findings/" (claim.id) } { (words::prose(&claim.headline)) }
                    div.note { (claim.rule) " · confidence " (words::confidence(claim.confidence)) }
                }
                td.where {
                    (claim.service)
                    @if let Some(callee) = &claim.callee { " → " (callee) }
                    div.note {
                        (claim.operation)
                        @if !claim.environment.is_empty() { " · " (claim.environment) }
                    }
                }
                td.number.tight { (words::number(finding.occurrences)) "×" }
                td.tight { (words::age(finding.last_seen, now)) }
                td.tight {
                    (words::status(claim.status))
                    @if claim.handling != Handling::None { div.note { (claim.handling.id()) } }
                    @if let Some(back) = back { (decide::in_place(claim, back)) }
                }
            } } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_what_is_not_changed() {
        let given = pairs("service=a%26b&q=&sort=last_seen&after=x").unwrap();
        assert_eq!(address(&given, &[("after", Some("y z"))]), "?service=a%26b&sort=last_seen&after=y%20z");
        assert_eq!(address(&given, &[("after", None), ("sort", None), ("service", None)]), "");
    }
}
