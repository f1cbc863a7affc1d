//! A report on files as one page that needs nothing else: it holds its own style, asks for nothing and runs nothing, so
//! that it can be kept beside a build and opened anywhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::evidence::Traces;
use super::{STYLE, evidence, layout, markdown, words};
use crate::findings::report::{Found, Novelty, Report};
use crate::rules;

/// Findings with their evidence; the rest is in the list alone.
const MAX_SHOWN: usize = 200;
/// Other traces that are named for one finding.
const MAX_TRACES: usize = 20;

/// The page. Letters that would act instead of being seen are written out.
pub fn report(report: &Report) -> String {
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        BASE64.encode(Sha256::digest(STYLE))
    );
    let shown: Vec<&Found> = report.findings.iter().take(MAX_SHOWN).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Debunk report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header.top { span.brand { "Debunk" } }
                main id="main" {
                    (overview(report))
                    @for found in &shown { (finding(found)) }
                    @if shown.len() < report.findings.len() {
                        p.note { (report.findings.len() - shown.len()) " more findings are in the same report as JSON." }
                    }
                }
                footer { span { "Debunk " (env!("CARGO_PKG_VERSION")) } }
            }
        }
    };
    layout::visible(&page.into_string())
}

fn overview(report: &Report) -> Markup {
    let read = &report.read;
    let count = |number: u64, one: &str, many: &str| words::counted(number.cast_signed(), one, many);
    let known = report.findings.iter().filter(|found| found.is_known()).count();
    let suppressed = report.findings.iter().filter(|found| found.suppressed.is_some()).count();
    html! {
        h1 { "What " (report.asked.files.join(", ")) " proves" }
        p.lead {
            @if report.findings.is_empty() { "No finding in " }
            @else {
                (count(report.findings.len() as u64, "finding", "findings")) " in "
                (words::number(report.traces_affected.cast_signed())) " of "
            }
            (count(read.traces, "trace", "traces")) "."
            @if known > 0 { " " (known) " of them known before." }
            @if suppressed > 0 { " " (suppressed) " suppressed by the settings." }
        }
        dl.facts {
            div { dt { "Files" } dd { (read.files) } }
            div { dt { "Spans" } dd { (words::number(read.spans.cast_signed())) } }
            div { dt { "Rejected" } dd { (words::number(read.rejected.cast_signed())) } }
            @if report.below > 0 {
                div { dt { "Below " (report.asked.min_confidence) " confidence" } dd {
                    (count(report.below, "occurrence", "occurrences"))
                } }
            }
            @if !report.gone.is_empty() {
                div { dt { "Of the baseline not seen" } dd { (report.gone.len()) } }
            }
        }
        @for (rule, traces) in &report.panicked {
            p.empty { code { (rule) } " broke down on " (count(*traces, "trace", "traces")) ": what it would have found is missing." }
        }
        @if report.findings.is_empty() {
            p.empty { "Nothing in these traces relies on a fallacy, as far as their spans show." }
        } @else { (table(report)) }
    }
}

fn table(report: &Report) -> Markup {
    html! {
        div.scroll tabindex="0" { table.findings {
            thead { tr {
                th scope="col" { "Severity" } th scope="col" { "Finding" } th scope="col" { "Where" }
                th.number scope="col" { "Seen in" }
            } }
            tbody { @for (index, found) in report.findings.iter().enumerate() { @let claim = &found.claim; tr {
                td.tight { (words::severity(claim.severity)) }
                th scope="row" {
                    @if index < MAX_SHOWN { a href={ "#f-" (claim.id) } { (words::prose(&claim.headline)) } }
                    @else { (words::prose(&claim.headline)) }
                    div.note {
                        (claim.rule) " · confidence " (words::confidence(claim.confidence))
                        @if let Some(standing) = found.standing() { " · " (standing) }
                    }
                }
                td.where { (place(found)) }
                td.number.tight { (words::counted(found.gate.traces.max(1).into(), "trace", "traces")) }
            } } }
        } }
    }
}

fn place(found: &Found) -> Markup {
    let claim = &found.claim;
    html! {
        (claim.service)
        @if let Some(callee) = &claim.callee { " → " (callee) }
        div.note { (claim.operation) @if !claim.environment.is_empty() { " · " (claim.environment) } }
    }
}

/// One finding, from what happened to what to do.
fn finding(found: &Found) -> Markup {
    let claim = &found.claim;
    let cost = words::cost(&claim.cost);
    html! {
        article.finding id={ "f-" (claim.id) } {
            h2 { (words::prose(&claim.headline)) }
            p.marks {
                (words::severity(claim.severity))
                " " span.mark { "confidence " (words::confidence(claim.confidence)) }
                @if found.novelty == Some(Novelty::Known) { " " span.mark { "known before" } }
                @if let Some(reason) = &found.suppressed { " " span.mark { "suppressed: " (reason) } }
                @if !found.gate.met {
                    " " span.mark { "opens at " (words::counted(found.gate.needed.into(), "trace", "traces")) }
                }
            }
            dl.facts {
                div { dt { "Fallacy" } dd { (claim.fallacy.title()) } }
                div { dt { "Rule" } dd { code { (claim.rule) } } }
                div { dt { "Where" } dd { (place(found)) } }
                div { dt { "Id" } dd { code { (claim.id) } } }
            }
            @if !cost.is_empty() { ul.cost { @for part in &cost { li { (part) } } } }
            (evidence_of(found))
            @if let Some(rule) = rules::find(&claim.rule) {
                section.remedy { h3 { "How to fix it" } (markdown::render(&rule.section("Remedy"), 3)) }
            }
        }
    }
}

fn evidence_of(found: &Found) -> Markup {
    let Some(example) = found.occurrences.first() else { return Markup::default() };
    let others = &found.occurrences[1..];
    html! {
        p { (words::prose(&example.why)) }
        p.note { "From trace " code { (example.trace_id) } @if let Some(version) = &example.version { ", version " (version) } }
        (evidence::lanes(example, Traces::Elsewhere))
        @if !example.drawing.is_empty() {
            details { summary { "The same as text" } (markdown::drawing(&example.drawing)) }
        }
        @if !example.not_visible.is_empty() {
            h3 { "What could not be seen" }
            ul { @for line in &example.not_visible { li { (words::prose(line)) } } }
        }
        @if !others.is_empty() {
            details {
                summary { "Also in " (words::counted(others.len() as i64, "other place", "other places")) }
                ul { @for other in others.iter().take(MAX_TRACES) {
                    li { code { (other.trace_id) } " " (words::prose(&other.why)) }
                } }
            }
        }
    }
}
