//! The report as XML of `JUnit`, for build servers that show tests: a suite a fallacy, and in it a case for each finding and
//! for each rule that found nothing.
//!
//! A finding fails its case where it would fail the scan, is skipped where it was known before or is suppressed, and passes
//! otherwise.

use std::fmt::Write;

use super::words::{broken, place, seen};
use super::{Found, Report};
use crate::rules::{self, Fallacy};
use crate::sketch::visible;

/// A `<testcase>` and how it counts.
struct Case {
    xml: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    Skipped,
    /// The rule broke down.
    Broken,
}

/// The whole report.
pub fn junit(report: &Report) -> String {
    let suites: Vec<(Fallacy, Vec<Case>)> = Fallacy::ALL
        .into_iter()
        .map(|fallacy| (fallacy, cases(report, fallacy)))
        .filter(|(_, cases)| !cases.is_empty())
        .collect();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ =
        writeln!(out, "<testsuites name=\"debunk\" {}>", totals(suites.iter().flat_map(|(_, cases)| cases)));
    for (fallacy, cases) in &suites {
        let _ = writeln!(out, "  <testsuite name=\"{}\" {}>", fallacy.id(), totals(cases));
        for case in cases {
            out.push_str(&case.xml);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn totals<'a>(cases: impl IntoIterator<Item = &'a Case>) -> String {
    let cases: Vec<&Case> = cases.into_iter().collect();
    let of = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
    format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\"",
        cases.len(),
        of(Verdict::Failed),
        of(Verdict::Broken),
        of(Verdict::Skipped)
    )
}

fn cases(report: &Report, fallacy: Fallacy) -> Vec<Case> {
    let mut cases = Vec::new();
    let rules = report.asked.rules.iter().filter_map(|id| rules::find(id));
    for rule in rules.filter(|rule| rule.fallacy == fallacy) {
        let found = report.findings.iter().filter(|found| found.claim.rule == rule.id);
        let before = cases.len();
        cases.extend(found.map(|found| of_finding(report, found)));
        if let Some(traces) = report.panicked.get(rule.id) {
            cases.push(of_broken(rule.id, fallacy, *traces));
        }
        if cases.len() == before {
            let xml =
                format!("    <testcase classname=\"{}.{}\" name=\"no finding\"/>\n", fallacy.id(), rule.id);
            cases.push(Case { xml, verdict: Verdict::Passed });
        }
    }
    cases
}

fn of_finding(report: &Report, found: &Found) -> Case {
    let claim = &found.claim;
    let name = quoted(&format!("{} ({})", place(found), claim.id));
    let headline = quoted(&visible(&claim.headline));
    let (verdict, inner) = if let Some(reason) = &found.suppressed {
        let reason = quoted(&visible(reason));
        (Verdict::Skipped, format!("<skipped message=\"suppressed ({reason}): {headline}\"/>"))
    } else if found.is_known() {
        (Verdict::Skipped, format!("<skipped message=\"known: {headline}\"/>"))
    } else if report.is_failure(found) {
        let text = quoted(&details(found));
        let failure = format!("<failure type=\"{}\" message=\"{headline}\">{text}</failure>", claim.severity);
        (Verdict::Failed, failure)
    } else {
        (Verdict::Passed, format!("<system-out>{}</system-out>", quoted(&details(found))))
    };
    let class = format!("{}.{}", claim.fallacy.id(), quoted(&claim.rule));
    let xml =
        format!("    <testcase classname=\"{class}\" name=\"{name}\">\n      {inner}\n    </testcase>\n");
    Case { xml, verdict }
}

fn of_broken(rule: &str, fallacy: Fallacy, traces: u64) -> Case {
    let why = broken(rule, traces);
    let xml = format!(
        "    <testcase classname=\"{}.{rule}\" name=\"the rule ran\">\n      <error type=\"panic\" \
         message=\"{why}\"/>\n    </testcase>\n",
        fallacy.id()
    );
    Case { xml, verdict: Verdict::Broken }
}

/// Severity, how often, what happened, what could not be seen, and the drawing.
fn details(found: &Found) -> String {
    let mut text = format!("{} · {}\n", found.claim.severity, seen(found));
    if let Some(example) = found.occurrences.first() {
        let _ = writeln!(text, "trace {}: {}", example.trace_id, visible(&example.why));
        for missing in &example.not_visible {
            let _ = writeln!(text, "not visible: {}", visible(missing));
        }
        for line in example.drawing.lines() {
            let _ = writeln!(text, "{}", visible(line));
        }
    }
    text
}

/// Text for an element or an attribute. What XML 1.0 cannot hold at all (§2.2) was made visible before, but for two
/// letters that are none.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
    out
}
