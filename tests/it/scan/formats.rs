//! The forms of a report, each read by something that is not ours where there is such a thing, and inert whatever spans
//! say; and the recipe for pipelines in `docs/scan.md`, run as it stands there.

use std::fs;
use std::process::Output;

use debunk::model::Received;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Sent;
use serde_json::Value;

use super::{Folder, LOOP, drawn, err, export, out};
use crate::support::tools::package;

/// What browsers, terminals, spreadsheets, Markdown, XML and templates would each take for more than text.
const HOSTILE: &str = "</style><script>alert(1)</script>\"><img src=x onerror=alert(1)>]]>&{0}=HYPERLINK(\"http://evil\")\
                       \u{1b}[2J\u{9b}31m\u{0}\u{202e}\u{fffe}|`| ``[x](javascript:alert(1)) @everyone\r\n";

/// A second thing that is wrong: six reads of another table, in another operation.
fn other() -> Vec<Received> {
    let mut spans = drawn(&LOOP.replace("GET /cart", "GET /orders").replace("item", "row"));
    for one in &mut spans {
        one.span.trace_id[0] ^= 0x77;
    }
    spans
}

/// Text where spans may hold any: what is named by it is found all the same.
fn hostile() -> Vec<Received> {
    let mut spans = drawn(LOOP);
    for one in &mut spans {
        one.span.name.push_str(HOSTILE);
        append(&mut one.span.attributes, &["http.route", "db.collection.name"]);
        let mut resource = (*one.resource).clone();
        append(&mut resource.attributes, &["service.name"]);
        one.resource = resource.into();
    }
    spans
}

fn append(attributes: &mut [KeyValue], keys: &[&str]) {
    for attribute in attributes.iter_mut().filter(|attribute| keys.contains(&attribute.key.as_str())) {
        if let Some(Sent::StringValue(text)) = attribute.value.as_mut().and_then(|it| it.value.as_mut()) {
            text.push_str(HOSTILE);
        }
    }
}

fn scanned(spans: Vec<Received>, format: &str) -> String {
    let folder = Folder::new();
    folder.file("my traces.jsonl", export(spans));
    let output = folder.debunk(&["scan", "--min-confidence", "low", "--format", format, "my traces.jsonl"]);
    assert!(output.status.success(), "{}", err(&output));
    out(&output)
}

/// What readers need.
#[test]
fn a_report_in_sarif_names_rule_place_and_evidence() {
    let log: Value = serde_json::from_str(&scanned(drawn(LOOP), "sarif")).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), debunk::rules::RULES.len());
    for rule in rules {
        for text in ["shortDescription", "fullDescription", "help"] {
            assert_ne!(rule[text]["text"], "", "{rule}");
        }
    }
    let [result] = run["results"].as_array().unwrap().as_slice() else { panic!("{run}") };
    let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!((&result["ruleId"], &rules[index]["id"]), (&"n_plus_one".into(), &"n_plus_one".into()));
    assert_eq!(result["level"], "error");
    assert!(result.get("baselineState").is_none());
    let place = &result["locations"][0];
    assert_eq!(place["logicalLocations"][0]["fullyQualifiedName"], "shop GET /cart");
    assert_eq!(place["physicalLocation"]["artifactLocation"]["uri"], "my%20traces.jsonl");
    assert_eq!(result["relatedLocations"][1]["message"]["text"], "call at 10 ms, took 40 ms, first of 7");
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
}

#[test]
fn where_several_files_were_read_none_is_named_as_the_place() {
    let folder = Folder::new();
    folder.file("a.jsonl", export(drawn(LOOP)));
    folder.file("b.jsonl", export(other()));
    let log: Value =
        serde_json::from_str(&out(&folder.debunk(&["scan", "--format", "sarif", "a.jsonl", "b.jsonl"])))
            .unwrap();
    let run = &log["runs"][0];
    assert_eq!(run["artifacts"].as_array().unwrap().len(), 2);
    for result in run["results"].as_array().unwrap() {
        assert!(result["locations"][0].get("physicalLocation").is_none(), "{result}");
    }
}

#[test]
fn a_report_in_junit_has_a_case_for_each_finding_and_each_rule_without() {
    let folder = Folder::new();
    folder.file("traces.jsonl", export(drawn(LOOP)));
    let failing = |severity: &str| {
        let output = folder.debunk(&["scan", "--format", "junit", "--fail-on", severity, "traces.jsonl"]);
        let text = out(&output);
        let document = roxmltree::Document::parse(&text).unwrap();
        let root = document.root_element();
        let cases = root.descendants().filter(|node| node.has_tag_name("testcase")).count();
        assert_eq!(root.attribute("tests").unwrap(), cases.to_string());
        assert_eq!(cases, debunk::rules::RULES.len(), "one finding, and every other rule found nothing");
        let failures = root.descendants().filter(|node| node.has_tag_name("failure")).count();
        assert_eq!(root.attribute("failures").unwrap(), failures.to_string());
        (output.status.code(), failures)
    };
    assert_eq!(failing("high"), (Some(1), 1));
    assert_eq!(failing("critical"), (Some(0), 0));
}

#[test]
fn what_spans_say_is_text_in_every_form() {
    for format in ["text", "json", "sarif", "junit", "markdown", "html"] {
        let report = scanned(hostile(), format);
        assert!(report.contains("HYPERLINK"), "{format}: the finding is reported\n{report}");
        let acting = report.chars().find(|letter| {
            (letter.is_control() && *letter != '\n') || matches!(*letter, '\u{202e}' | '\u{9b}')
        });
        assert_eq!(acting, None, "{format}: {report}");
    }
}

#[test]
fn a_hostile_report_in_json_and_sarif_is_whole() {
    for format in ["json", "sarif"] {
        let report: Value = serde_json::from_str(&scanned(hostile(), format)).unwrap();
        let text = report.to_string();
        assert!(text.contains("<script>"), "JSON keeps text as it is: {text}");
    }
    let log: Value = serde_json::from_str(&scanned(hostile(), "sarif")).unwrap();
    let message = log["runs"][0]["results"][0]["message"]["text"].as_str().unwrap();
    assert!(!message.contains("](") && message.contains("{{0}}"), "{message}");
}

#[test]
fn a_hostile_report_in_junit_has_no_element_of_theirs() {
    let report = scanned(hostile(), "junit");
    let document = roxmltree::Document::parse(&report).unwrap();
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        let ours = ["testsuites", "testsuite", "testcase", "failure", "skipped", "system-out"];
        assert!(ours.contains(&name), "<{name}>");
    }
}

#[test]
fn a_hostile_report_in_markdown_keeps_their_text_in_code() {
    let report = scanned(hostile(), "markdown");
    let mut fence: Option<String> = None;
    for line in report.lines() {
        let ticks: String = line.chars().take_while(|letter| *letter == '`').collect();
        match &fence {
            Some(open) if line == open => fence = None,
            Some(_) => {}
            None if ticks.len() > 2 && line == format!("{ticks}text") => fence = Some(ticks),
            None => {
                let plain = without_code(line);
                assert!(!plain.contains(['<', '@', '[']), "{line}\n→ {plain}");
                let bars = plain.matches('|').count();
                assert!(!line.starts_with('|') || bars == 5, "{line}\n→ {plain}");
            }
        }
    }
    assert_eq!(fence, None, "a fence stays open");
}

/// What of a line of Markdown is not within backticks; bars that end no cell are kept out as well.
fn without_code(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('`') {
        plain.push_str(&rest[..at]);
        let length = rest[at..].bytes().take_while(|byte| *byte == b'`').count();
        let inside = &rest[at + length..];
        let mut from = 0;
        let end = loop {
            let next = inside[from..].find('`').unwrap_or_else(|| panic!("code stays open: {line}")) + from;
            let run = inside[next..].bytes().take_while(|byte| *byte == b'`').count();
            if run == length {
                break next;
            }
            from = next + run;
        };
        let bare = inside[..end].replace("\\|", "");
        plain.push_str(if bare.contains('|') { "|" } else { "" });
        rest = &inside[end + length..];
    }
    plain + rest
}

#[test]
fn a_report_in_html_needs_nothing_and_runs_nothing() {
    let report = scanned(hostile(), "html");
    let lower = report.to_ascii_lowercase();
    assert!(lower.starts_with("<!doctype html>"));
    let tags = regex::Regex::new("<([a-z0-9]+)((?:[^>\"]|\"[^\"]*\")*)>").unwrap();
    let values = regex::Regex::new("\"[^\"]*\"").unwrap();
    for tag in tags.captures_iter(&report) {
        let (name, attributes) = (&tag[1], values.replace_all(&tag[2], ""));
        let acts = ["script", "img", "link", "iframe", "object", "embed", "form", "base", "input", "button"];
        assert!(!acts.contains(&name), "<{name}>");
        let foreign = ["src", "srcset", "style", "action", "poster", "data"];
        for attribute in attributes.split([' ', '=']) {
            assert!(!foreign.contains(&attribute) && !attribute.starts_with("on"), "{}", &tag[0]);
        }
    }
    for load in ["url(", "@import"] {
        assert!(!lower.contains(load), "{load}");
    }
    assert_eq!(lower.matches("<style>").count(), 1);
    assert_eq!(lower.matches("</style>").count(), 1);
    let links = regex::Regex::new("href=\"([^\"]*)\"").unwrap();
    for link in links.captures_iter(&report) {
        let target = link[1].to_owned();
        let ours = target.starts_with("#f-") || target == "#main" || target.starts_with("https://");
        assert!(ours, "{target}");
        if let Some(id) = target.strip_prefix('#') {
            assert!(report.contains(&format!("id=\"{id}\"")), "{target} leads nowhere");
        }
    }
}

/// Whatever spans say, and whatever is known or suppressed.
#[test]
fn reports_in_sarif_are_valid_by_the_published_schema() {
    let schema = package("node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json");
    let (Some(schema), Some(python)) = (schema, package("python/bin/python")) else { return };
    let folder = Folder::new();
    folder.file("plain.jsonl", export(drawn(LOOP)) + &export(other()));
    folder.file("hostile.jsonl", export(hostile()));
    folder.file("nothing.jsonl", "{\"resourceSpans\":[]}\n");
    folder.file("known", "00000000000000aa\n");
    folder.file("debunk.toml", "[[suppress]]\noperation = \"* /orders\"\nreason = \"{0} [a](b) known\"\n");
    let mut check = std::process::Command::new(python);
    check.arg("tests/scan/sarif.py").arg(schema);
    for file in ["plain", "hostile", "nothing"] {
        let report =
            folder.debunk(&["scan", "--format", "sarif", "--baseline", "known", &format!("{file}.jsonl")]);
        check.arg(folder.file(&format!("{file}.sarif"), report.stdout));
    }
    let checked = check.output().unwrap();
    assert!(checked.status.success(), "{}{}", out(&checked), err(&checked));
    assert!(out(&checked).contains("plain.sarif: 2 results, 0 errors"), "{}", out(&checked));
}

/// The settings that `docs/scan.md` shows.
#[test]
fn suppressed_findings_are_shown_with_their_reason_and_fail_nothing() {
    let text = fs::read_to_string("docs/scan.md").unwrap();
    let settings = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = Folder::new();
    folder.file("debunk.toml", settings);
    folder.file("traces.jsonl", export(drawn(&LOOP.replace("shop", "legacy-shop"))));
    for format in ["text", "json", "sarif", "junit", "markdown", "html"] {
        let output = folder.debunk(&["scan", "--fail-on", "low", "--format", format, "traces.jsonl"]);
        assert_eq!(output.status.code(), Some(0), "{format}");
        let report = out(&output);
        let said = if format == "markdown" { "suppressed" } else { "decommissioned in May" };
        assert!(report.contains(said) && report.contains("legacy-shop"), "{format}: {report}");
    }
    folder.file("traces.jsonl", export(drawn(LOOP)));
    let output = folder.debunk(&["scan", "--fail-on", "low", "traces.jsonl"]);
    assert_eq!(output.status.code(), Some(1), "another service is none of its business");
}

#[test]
fn known_findings_are_shown_as_known_and_fail_nothing() {
    let folder = Folder::new();
    folder.file("known.jsonl", export(drawn(LOOP)));
    folder.file("more.jsonl", export(drawn(LOOP)) + &export(other()));
    folder.file("known.json", folder.debunk(&["scan", "--format", "json", "known.jsonl"]).stdout);
    let scan = |format: &str, file: &str| {
        let arguments = ["scan", "--baseline", "known.json", "--fail-on", "low", "--format", format, file];
        let output = folder.debunk(&arguments);
        (output.status.code(), out(&output))
    };
    for format in ["text", "json", "sarif", "junit", "markdown", "html"] {
        let (code, report) = scan(format, "known.jsonl");
        assert_eq!(code, Some(0), "{format}: {report}");
        assert!(report.contains(if format == "sarif" { "unchanged" } else { "known" }), "{format}: {report}");
        assert_eq!(scan(format, "more.jsonl").0, Some(1), "{format}");
    }
    let (_, report) = scan("json", "more.jsonl");
    let report: Value = serde_json::from_str(&report).unwrap();
    let marks: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["operation"].as_str().unwrap(), finding["baseline"].as_str().unwrap()))
        .collect();
    assert!(marks.contains(&("GET /cart", "known")) && marks.contains(&("GET /orders", "new")), "{marks:?}");
    let (_, report) = scan("text", "more.jsonl");
    assert!(report.contains("1 new, 1 known"), "{report}");
}

#[test]
fn what_is_no_longer_there_is_said() {
    let folder = Folder::new();
    folder.file("traces.jsonl", export(drawn(LOOP)));
    folder.file("known", "00000000000000aa  a finding of last year\n");
    let output = folder.debunk(&["scan", "--baseline", "known", "traces.jsonl"]);
    assert!(out(&output).contains("1 of the baseline not seen"), "{}", out(&output));
}

#[test]
fn a_baseline_that_cannot_be_read_ends_the_scan_before_it_begins() {
    let folder = Folder::new();
    folder.file("traces.jsonl", export(drawn(LOOP)));
    folder.file("known", "not an id\n");
    for (file, says) in [("absent", "absent"), ("known", "line 1"), ("traces.jsonl", "findings")] {
        let output = folder.debunk(&["scan", "--baseline", file, "traces.jsonl"]);
        assert_eq!(output.status.code(), Some(2), "{file}");
        assert!(err(&output).contains(says) && out(&output).is_empty(), "{file}: {}", err(&output));
    }
}

/// The shell blocks of a document, in order.
fn recipes(document: &str) -> Vec<String> {
    let text = fs::read_to_string(document).unwrap();
    let blocks = text.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_recipe_for_a_pipeline_fails_on_what_is_new_and_passes_on_what_is_known() {
    let [accept, check] = recipes("docs/scan.md").try_into().unwrap();
    let folder = Folder::new();
    let run = |recipe: &str| -> Output {
        let debunk = std::path::Path::new(env!("CARGO_BIN_EXE_debunk"));
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", debunk.parent().unwrap().display());
        let mut shell = std::process::Command::new("sh");
        shell.args(["-e", "-c", recipe]).current_dir(folder.0.path()).env("PATH", path).output().unwrap()
    };
    folder.file("traces.jsonl", export(drawn(LOOP)));
    assert_eq!(run(&accept).status.code(), Some(0));
    let known = run(&check);
    assert_eq!(known.status.code(), Some(0), "{}", err(&known));
    folder.file("traces.jsonl", export(drawn(LOOP)) + &export(other()));
    let new = run(&check);
    assert_eq!(new.status.code(), Some(1), "{}", err(&new));
    let reports = ["debunk.sarif", "debunk.xml", "debunk.md", "debunk.html"];
    for report in reports {
        let text = fs::read_to_string(folder.0.path().join(report)).unwrap();
        assert!(text.contains("GET /orders"), "{report}: {text}");
    }
}
