//! The report for people at a terminal. Everything from spans is escaped before it gets there.

use std::fmt::Write;

use super::{Found, Report};
use crate::findings::shape::{Cost, words_ms};
use crate::rules::Severity;
use crate::sketch::visible;

/// Where everything below a finding's first line begins.
const MARGIN: &str = "        ";

/// Escape sequences, or nothing.
struct Paint {
    on: bool,
}

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn severity(&self, severity: Severity, text: &str) -> String {
        let code = match severity {
            Severity::Critical => "1;35",
            Severity::High => "1;31",
            Severity::Medium => "33",
            Severity::Low => "36",
        };
        self.with(code, text)
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn faint(&self, text: &str) -> String {
        self.with("2", text)
    }
}

/// The whole report. `colour` is for terminals alone.
pub fn text(report: &Report, colour: bool) -> String {
    let paint = Paint { on: colour };
    let mut out = String::new();
    let read = &report.read;
    let _ = writeln!(
        out,
        "read {}, {} ({} rejected)",
        count(read.traces, "trace"),
        count(read.spans, "span"),
        read.rejected
    );
    for found in &report.findings {
        out.push('\n');
        finding(&mut out, found, &paint);
    }
    if !report.findings.is_empty() {
        out.push('\n');
    }
    out.push_str(&summary(report));
    out.push('\n');
    for (rule, traces) in &report.panicked {
        let _ = writeln!(
            out,
            "{rule} broke down on {}: the report lacks what it would have found",
            count(*traces, "trace")
        );
    }
    out
}

fn finding(out: &mut String, found: &Found, paint: &Paint) {
    let claim = &found.claim;
    let callee = claim.callee.as_ref().map(|callee| format!(" → {}", visible(callee))).unwrap_or_default();
    let environment = if claim.environment.is_empty() {
        String::new()
    } else {
        format!(" [{}]", visible(&claim.environment))
    };
    let _ = writeln!(
        out,
        "{}  {}  {} {}{callee}{environment}",
        paint.severity(claim.severity, &format!("{:<8}", claim.severity.id())),
        paint.bold(&claim.rule),
        visible(&claim.service),
        visible(&claim.operation),
    );
    let _ = writeln!(out, "{MARGIN}  {}", paint.bold(&visible(&claim.headline)));
    let _ = writeln!(out, "{MARGIN}  {}", seen(found));
    let Some(example) = found.occurrences.first() else { return };
    let _ = writeln!(out, "{MARGIN}  trace {}: {}", example.trace_id, visible(&example.why));
    for missing in &example.not_visible {
        let _ = writeln!(out, "{MARGIN}  {}", paint.faint(&format!("not visible: {}", visible(missing))));
    }
    for line in example.drawing.lines() {
        let painted = match line.find("   << ") {
            Some(at) => format!("{}{}", &line[..at], paint.severity(claim.severity, &line[at..])),
            None => paint.faint(line),
        };
        let _ = writeln!(out, "{MARGIN}  {painted}");
    }
}

/// How sure, how often, at what cost.
fn seen(found: &Found) -> String {
    let traces = u64::from(found.counts.traces().max(1));
    let mut parts = vec![format!("confidence {}", found.claim.confidence), count(traces, "trace")];
    let occurrences = found.occurrences.len() as u64;
    if traces < occurrences {
        parts.push(count(occurrences, "occurrence"));
    }
    parts.extend(cost(&found.claim.cost));
    if !found.gate.met {
        parts.push(format!("opens at {}", count(u64::from(found.gate.needed), "trace")));
    }
    parts.join(" · ")
}

fn cost(cost: &Cost) -> Vec<String> {
    let mut parts = Vec::new();
    if 0.0 < cost.time_ms {
        parts.push(format!("{} each", words_ms(cost.time_ms)));
    }
    let amounts = [
        (cost.duplicate_effects, "duplicate effect"),
        (cost.unknown_outcomes, "unknown outcome"),
        (cost.exposed_calls, "exposed call"),
        (cost.calls, "call"),
    ];
    parts
        .extend(amounts.iter().filter(|(amount, _)| 0 < *amount).map(|(n, what)| count(u64::from(*n), what)));
    parts
}

fn summary(report: &Report) -> String {
    let mut parts = Vec::new();
    if report.findings.is_empty() {
        parts.push("no finding".to_owned());
    } else {
        let by_severity: Vec<String> = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low]
            .into_iter()
            .map(|severity| {
                (report.findings.iter().filter(|found| found.claim.severity == severity).count(), severity)
            })
            .filter(|(count, _)| 0 < *count)
            .map(|(count, severity)| format!("{count} {severity}"))
            .collect();
        parts.push(format!(
            "{} ({}) in {} of {}",
            count(report.findings.len() as u64, "finding"),
            by_severity.join(", "),
            report.traces_affected,
            count(report.read.traces, "trace"),
        ));
    }
    if 0 < report.below {
        let occurrences = count(report.below, "occurrence");
        parts.push(format!("{occurrences} below {} confidence not shown", report.min_confidence));
    }
    if let Some(first) = report.findings.first() {
        parts.push(format!("`debunk rules {}` explains", first.claim.rule));
    }
    parts.join(" · ")
}

fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
