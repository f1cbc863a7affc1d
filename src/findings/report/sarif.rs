//! The report as SARIF 2.1.0, for tools that gather what scanners found.
//!
//! A finding lies in a service and an operation: these are its logical location. Where one file was scanned, that file is
//! the physical one, as some readers show no result without any; lines of a trace file mean nothing to people.
//!
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::words::broken;
use super::{Found, Novelty, Report};
use crate::findings::Evidence;
use crate::findings::shape::words_ms;
use crate::rules::{self, Rule, Severity};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// Spans of evidence that a result lists; the drawing shows the rest.
const MAX_EVIDENCE: usize = 30;

/// Writes the whole report.
pub fn sarif(report: &Report, out: impl Write) -> io::Result<()> {
    let asked: Vec<&Rule> = report.asked.rules.iter().filter_map(|id| rules::find(id)).collect();
    let files: Vec<String> =
        report.asked.files.iter().filter(|file| *file != "-").map(|file| uri(file)).collect();
    let artifacts: Vec<Value> =
        files.iter().map(|file| json!({"location": {"uri": file}, "roles": ["analysisTarget"]})).collect();
    let only = <[String; 1]>::try_from(files).ok().map(|[file]| file);
    let results: Vec<Value> =
        report.findings.iter().map(|found| result(found, &asked, only.as_deref())).collect();
    let broke: Vec<Value> = report
        .panicked
        .iter()
        .map(|(rule, traces)| json!({"level": "error", "message": {"text": broken(rule, *traces)}}))
        .collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "Debunk",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": asked.iter().map(|rule| descriptor(rule)).collect::<Vec<_>>(),
            }},
            "invocations": [{
                "executionSuccessful": broke.is_empty(),
                "toolExecutionNotifications": broke,
            }],
            "artifacts": artifacts,
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    super::json::write(&log, out)
}

fn descriptor(rule: &Rule) -> Value {
    let remedy = rule.section("Remedy");
    json!({
        "id": rule.id,
        "name": camel(rule.id),
        "shortDescription": {"text": message(&rule.title())},
        "fullDescription": {"text": message(&rule.section("Why it matters"))},
        "help": {"text": message(&remedy), "markdown": message(&remedy)},
        "properties": {"tags": [rule.fallacy.id()]},
    })
}

fn result(found: &Found, rules: &[&Rule], file: Option<&str>) -> Value {
    let claim = &found.claim;
    let example = found.occurrences.first();
    let why = example.map(|example| format!(". {}", example.why)).unwrap_or_default();
    let mut location = logical(&claim.service, &claim.operation);
    if let Some(file) = file {
        location["physicalLocation"] = json!({"artifactLocation": {"uri": file}, "region": {"startLine": 1}});
    }
    let evidence = example.map(|example| example.evidence.as_slice()).unwrap_or_default();
    let mut result = json!({
        "ruleId": claim.rule,
        "level": level(claim.severity),
        "message": {"text": message(&format!("{}{why}", claim.headline))},
        "locations": [location],
        "relatedLocations":
            evidence.iter().take(MAX_EVIDENCE).zip(1..).map(|(span, id)| related(span, id)).collect::<Vec<_>>(),
        // The second is what code hosts know a result by: without it they would hash a line of the trace file.
        "partialFingerprints": {"debunk/v1": claim.id, "primaryLocationLineHash": format!("{}:1", claim.id)},
        "occurrenceCount": found.occurrences.len(),
        "properties": {
            "fallacy": claim.fallacy,
            "variant": claim.variant,
            "severity": claim.severity,
            "confidence": claim.confidence,
            "environment": claim.environment,
            "service": claim.service,
            "operation": claim.operation,
            "callee": claim.callee,
            "cost": claim.cost,
            "traces": found.gate.traces,
            "trace_id": example.map(|example| &example.trace_id),
            "not_visible": example.map(|example| &example.not_visible),
            "drawing": example.map(|example| &example.drawing),
        },
    });
    if let Some(index) = rules.iter().position(|rule| rule.id == claim.rule) {
        result["ruleIndex"] = index.into();
    }
    if let Some(novelty) = found.novelty {
        result["baselineState"] = match novelty {
            Novelty::New => "new",
            Novelty::Known => "unchanged",
        }
        .into();
    }
    if let Some(reason) = &found.suppressed {
        // §3.35.2: not in the code that was scanned, but beside it.
        result["suppressions"] =
            json!([{"kind": "external", "status": "accepted", "justification": message(reason)}]);
    }
    result
}

fn related(span: &Evidence, id: u32) -> Value {
    let mut location = logical(&span.service, &span.operation);
    let (offset, took) = (words_ms(span.offset_ms), words_ms(span.duration_ms));
    let note = if span.note.is_empty() { String::new() } else { format!(", {}", span.note) };
    location["id"] = id.into();
    location["message"] =
        json!({"text": message(&format!("{} at {offset}, took {took}{note}", span.role.replace(':', " ")))});
    location
}

fn logical(service: &str, operation: &str) -> Value {
    json!({"logicalLocations": [{
        "name": operation,
        "fullyQualifiedName": format!("{service} {operation}"),
        "kind": "function",
    }]})
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "note",
    }
}

/// Text in a message: braces would be places for arguments (§3.11.5), and brackets before parentheses a link (§3.11.6).
fn message(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}").replace("](", "] (")
}

/// `n_plus_one` as names of rules are written: `NPlusOne`.
fn camel(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    for word in id.split('_') {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

/// A path as a reference (RFC 3986): relative to where the scan ran, unless it starts at the root.
fn uri(path: &str) -> String {
    let mut out = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_spans_is_neither_an_argument_nor_a_link() {
        assert_eq!(
            message("GET /users/{id} {0} [here](http://x)"),
            "GET /users/{{id}} {{0}} [here] (http://x)"
        );
    }

    #[test]
    fn a_path_becomes_a_reference() {
        assert_eq!(uri("out/my traces#1.jsonl"), "out/my%20traces%231.jsonl");
        assert_eq!(uri("/tmp/ä.json"), "file:///tmp/%C3%A4.json");
    }

    #[test]
    fn a_rule_has_a_name_in_camels() {
        assert_eq!(camel("n_plus_one"), "NPlusOne");
    }
}
