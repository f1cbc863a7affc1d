//! The report for people at a terminal. Everything from spans is escaped before it gets there.

use std::fmt::Write;

use super::words::{broken, count, place, seen, summary};
use super::{Found, Report};
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
    let mut parts = summary(report);
    if let Some(first) = report.findings.first() {
        parts.push(format!("`debunk rules {}` explains", first.claim.rule));
    }
    out.push_str(&parts.join(" · "));
    out.push('\n');
    for (rule, traces) in &report.panicked {
        let _ = writeln!(out, "{}", broken(rule, *traces));
    }
    out
}

fn finding(out: &mut String, found: &Found, paint: &Paint) {
    let claim = &found.claim;
    let standing = match found.standing() {
        None => String::new(),
        Some(word) if found.is_expected() => format!("  {}", paint.faint(word)),
        Some(word) => format!("  {}", paint.bold(word)),
    };
    let _ = writeln!(
        out,
        "{}  {}  {}{standing}",
        paint.severity(claim.severity, &format!("{:<8}", claim.severity.id())),
        paint.bold(&claim.rule),
        place(found),
    );
    let _ = writeln!(out, "{MARGIN}  {}", paint.bold(&visible(&claim.headline)));
    let _ = writeln!(out, "{MARGIN}  {}", seen(found));
    if let Some(reason) = &found.suppressed {
        let _ = writeln!(out, "{MARGIN}  {}", paint.faint(&format!("suppressed: {}", visible(reason))));
    }
    // Who expects it has read the rest.
    let Some(example) = found.occurrences.first().filter(|_| !found.is_expected()) else { return };
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
