//! `/services` and `/services/{name}`: who does what with whose help, and what is wrong with it.

use axum::extract::{Path, RawQuery, State};
use maud::{Markup, html};

use super::error::PageError;
use super::findings::{Pairs, address, pairs};
use super::layout::{Page, Section, encoded};
use super::{map, words};
use crate::clock;
use crate::store::{EdgeRow, Pace, PartRow, ServiceRow};
use crate::view::{Failure, Parameters, Place, ServiceView, Shown};

/// Answers `/services`.
pub(super) async fn list(State(shown): State<Shown>, RawQuery(query): RawQuery) -> Result<Page, PageError> {
    let (pairs, place) = place(query.as_deref())?;
    let (services, edges) = shown.map(&place).await?;
    let body = overview(&services, &edges, &pairs);
    let api = format!("/api/v1/map{}", address(&pairs, &[]));
    Ok(Page::new("Services", Section::Services, body).api(api))
}

/// Answers `/services/{name}`.
pub(super) async fn show(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Page, PageError> {
    let (pairs, place) = place(query.as_deref())?;
    let api = format!("/api/v1/services/{}{}", encoded(&name), address(&pairs, &[]));
    if let Some(view) = shown.service(&name, &place).await? {
        return Ok(Page::new(name, Section::Services, page(&view, &pairs)).api(api));
    }
    // One that did nothing in this time is known by what was found earlier.
    let counts = shown.store.counts_by_fallacy(std::slice::from_ref(&name), &[]).await?;
    if counts.is_empty() {
        return Err(Failure::missing("service of that name that served anything in this time").into());
    }
    let body = silent(&name, &pairs);
    Ok(Page::new(name, Section::Services, body).api("/api/v1/services"))
}

fn place(query: Option<&str>) -> Result<(Pairs, Place), Failure> {
    let pairs = pairs(query.unwrap_or_default())?;
    let place = Place::read(Parameters::of_form(pairs.clone())?, clock::now())?;
    Ok((pairs, place))
}

fn overview(services: &[ServiceRow], edges: &[EdgeRow], pairs: &Pairs) -> Markup {
    html! {
        h1 { "Services" }
        p.lead { "What was judged of their work, " (span_of(pairs)) ". A colour is the worst open finding." }
        (form("/services", pairs))
        @if services.is_empty() {
            p.empty { "No service served anything in this time. " a href="/services?since=7d" { "Look at the last week" } "." }
        } @else {
            (map::draw(services, edges))
            section aria-labelledby="list" {
                h2 id="list" { "All of them" }
                (table(services))
            }
        }
    }
}

fn span_of(pairs: &Pairs) -> String {
    let since = pairs.iter().find(|(name, _)| name == "since").map_or("1h", |(_, value)| value.as_str());
    match since {
        "1h" => "in the last hour".to_owned(),
        "24h" => "in the last day".to_owned(),
        "7d" => "in the last week".to_owned(),
        other => format!("since {other}"),
    }
}

fn form(action: &str, pairs: &Pairs) -> Markup {
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let spans = [("1h", "the last hour"), ("24h", "the last day"), ("7d", "the last week")];
    html! {
        form.filters action=(action) method="get" {
            (super::findings::select("Received in", "since", &spans, value("since").or(Some("1h")), None))
            label { span { "Environment" } input type="text" name="environment" value=[value("environment")]; }
            button type="submit" { "Show" }
        }
    }
}

fn table(services: &[ServiceRow]) -> Markup {
    html! {
        div.scroll tabindex="0" { table.cards {
            thead { tr {
                th scope="col" { "Service" } th scope="col" { "Open findings" } (heads()) th.number scope="col" { "Instances" }
                th scope="col" { "Versions" }
            } }
            tbody { @for row in services { tr {
                th scope="row" {
                    a href={ "/services/" (encoded(&row.name)) } { (row.name) }
                    @if row.environments.iter().any(|it| !it.is_empty()) { div.note { (row.environments.join(", ")) } }
                }
                td.tight data-label="Open" {
                    @if let Some(worst) = row.worst {
                        a href={ "/findings?service=" (encoded(&row.name)) } { (words::number(row.open)) " " (words::severity(worst)) }
                    } @else { span.none { "none" } }
                }
                (cells(row.pace))
                td.number data-label="Instances" { (words::number(row.instances)) }
                td data-label="Versions" { (row.versions.join(", ")) }
            } } }
        } }
    }
}

fn silent(name: &str, pairs: &Pairs) -> Markup {
    html! {
        h1 { (name) }
        p.lead { "Nothing of its work was judged " (span_of(pairs)) "." }
        (form(&format!("/services/{}", encoded(name)), pairs))
        p { a href={ "/findings?service=" (encoded(name)) } { "Its findings" } }
    }
}

fn page(view: &ServiceView, pairs: &Pairs) -> Markup {
    let row = &view.service;
    html! {
        h1 { (row.name) }
        p.lead {
            (words::counted(row.pace.count, "unit of work", "units of work")) " " (span_of(pairs)) ", half of them within "
            (words::duration(row.pace.p50_ms)) ", 95 % within " (words::duration(row.pace.p95_ms)) ", "
            (percent(row.pace.error_ratio)) " failed."
        }
        (form(&format!("/services/{}", encoded(&row.name)), pairs))
        dl.facts {
            @if row.environments.iter().any(|it| !it.is_empty()) { div { dt { "Environments" } dd { (row.environments.join(", ")) } } }
            @if !row.versions.is_empty() { div { dt { "Versions" } dd { (row.versions.join(", ")) } } }
            @if row.instances > 0 { div { dt { "Instances" } dd { (words::number(row.instances)) } } }
            div { dt { "Open findings" } dd {
                @if row.open > 0 { a href={ "/findings?service=" (encoded(&row.name)) } { (words::number(row.open)) } } @else { "none" }
            } }
            div { dt { "Traces" } dd { a href={ "/traces?service=" (encoded(&row.name)) } { "those it had a part in" } } }
        }
        (parts("operations", "What it does", "Operation", &view.operations, |of| {
            Some(format!("/traces?service={}&operation={}", encoded(&row.name), encoded(&of.name)))
        }))
        (parts("callers", "Who asks it", "Caller", &view.callers, |of| {
            Some(format!("/services/{}", encoded(&of.name)))
        }))
        // It may be no service of ours.
        (parts("callees", "Whom it asks", "Callee", &view.callees, |_| None))
    }
}

fn parts(
    id: &str,
    title: &str,
    head: &str,
    rows: &[PartRow],
    link: impl Fn(&PartRow) -> Option<String>,
) -> Markup {
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (title) }
            @if rows.is_empty() { p.empty { "Nobody, as far as spans tell." } }
            @else {
                div.scroll tabindex="0" { table.cards {
                    thead { tr { th scope="col" { (head) } (heads()) } }
                    tbody { @for row in rows { tr {
                        th scope="row" {
                            @if let Some(link) = link(row) { a href=(link) { (row.name) } } @else { (row.name) }
                            @if let Some(operation) = &row.operation { div.note { (operation) } }
                        }
                        (cells(row.pace))
                    } } }
                } }
            }
        }
    }
}

fn heads() -> Markup {
    html! {
        th.number scope="col" { "Times" } th.number scope="col" { "Failed" } th.number scope="col" { "Half within" }
        th.number scope="col" { "95 % within" }
    }
}

fn cells(pace: Pace) -> Markup {
    html! {
        td.number data-label="Times" { (words::number(pace.count)) }
        td.number data-label="Failed" { (percent(pace.error_ratio)) }
        td.number.tight data-label="Half within" { (words::duration(pace.p50_ms)) }
        td.number.tight data-label="95 % within" { (words::duration(pace.p95_ms)) }
    }
}

/// A share in percent; what is not nothing does not look like nothing.
fn percent(ratio: f64) -> String {
    match ratio * 100.0 {
        0.0 => "0 %".to_owned(),
        share if share < 0.1 => "< 0.1 %".to_owned(),
        share if share < 10.0 => format!("{share:.1} %"),
        share => format!("{share:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_keeps_what_is_small() {
        for (ratio, words) in
            [(0.0, "0 %"), (0.000_01, "< 0.1 %"), (0.0123, "1.2 %"), (0.5, "50 %"), (1.0, "100 %")]
        {
            assert_eq!(percent(ratio), words);
        }
    }
}
