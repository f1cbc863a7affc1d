//! The commands that need no database, as a shell sees them: output, exit codes, and what is said of bad input.

mod download;
mod formats;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use debunk::model::Received;
use debunk::sketch;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use tempfile::TempDir;

/// Seven reads, one after another, that one statement could make.
const LOOP: &str = "\
|=============================================| shop  server  GET /cart
| ====                                        |   shop  db  SELECT item
|      ====                                   |   shop  db  SELECT item
|           ====                              |   shop  db  SELECT item
|                ====                         |   shop  db  SELECT item
|                     ====                    |   shop  db  SELECT item
|                          ====               |   shop  db  SELECT item
|                               ====          |   shop  db  SELECT item
";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn debunk(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_debunk"));
        command.args(arguments).current_dir(self.0.path()).env("NO_COLOR", "1");
        command
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// One line of OTLP/JSON.
fn export(spans: Vec<Received>) -> String {
    let resource_spans = spans
        .into_iter()
        .map(|one| ResourceSpans {
            resource: Some((*one.resource).clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some((*one.scope).clone()),
                spans: vec![one.span],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        })
        .collect();
    serde_json::to_string(&ExportTraceServiceRequest { resource_spans }).unwrap() + "\n"
}

fn drawn(drawing: &str) -> Vec<Received> {
    sketch::parse(drawing).unwrap().spans
}

#[test]
fn a_loop_in_a_file_is_reported_with_its_drawing() {
    let folder = Folder::new();
    folder.file("traces.jsonl", export(drawn(LOOP)));
    let output = folder.debunk(&["scan", "traces.jsonl"]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(err(&output), "");
    insta::assert_snapshot!(out(&output));
}

#[test]
fn the_report_for_programs_has_the_names_of_the_api() {
    let folder = Folder::new();
    folder.file("traces.jsonl", export(drawn(LOOP)));
    let output = folder.debunk(&["scan", "--format", "json", "traces.jsonl"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // The id is part of it: a finding that is known by another id tomorrow is a new one for everybody.
    insta::assert_json_snapshot!(report);
}

#[test]
fn a_finding_as_bad_as_asked_for_fails_the_scan() {
    let folder = Folder::new();
    folder.file("traces.jsonl", export(drawn(LOOP)));
    let code = |severity| folder.debunk(&["scan", "--fail-on", severity, "traces.jsonl"]).status.code();
    assert_eq!(code("low"), Some(1));
    assert_eq!(code("critical"), Some(0));
    assert_eq!(folder.debunk(&["scan", "--fail-on", "awful", "traces.jsonl"]).status.code(), Some(2));
}

#[test]
fn only_the_asked_rule_speaks() {
    let folder = Folder::new();
    folder.file("traces.jsonl", export(drawn(LOOP)));
    let only = |rule| out(&folder.debunk(&["scan", "--rule", rule, "traces.jsonl"]));
    assert!(only("n_plus_one").contains("1 finding"));
    assert!(only("chatty_sequential_calls").contains("no finding"));
    let unknown = folder.debunk(&["scan", "--rule", "n_plus_two", "traces.jsonl"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        err(&unknown).contains("n_plus_two") && err(&unknown).contains("n_plus_one"),
        "{}",
        err(&unknown)
    );
}

#[test]
fn a_trace_split_over_files_and_lines_is_judged_whole() {
    let folder = Folder::new();
    let spans = drawn(LOOP);
    let (early, late) = spans.split_at(4);
    folder.file("a.jsonl", export(early.to_vec()));
    folder.file("b.jsonl", late.iter().map(|one| export(vec![one.clone()])).collect::<String>());
    let output = folder.debunk(&["scan", "b.jsonl", "a.jsonl"]);
    assert!(out(&output).contains("read 1 trace, 8 spans (0 rejected)"), "{}", out(&output));
    assert!(out(&output).contains("1 finding"), "{}", out(&output));
}

#[test]
fn standard_input_is_a_file() {
    let folder = Folder::new();
    let mut child =
        folder.command(&["scan", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(export(drawn(LOOP)).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(out(&output).contains("1 finding"), "{}", out(&output));
}

#[test]
fn what_is_no_trace_is_named_with_its_place() {
    let folder = Folder::new();
    folder.file("bad.jsonl", format!("{}{{\"resourceSpans\": 7}}\n", export(drawn(LOOP))));
    let output = folder.debunk(&["scan", "bad.jsonl"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(out(&output), "");
    assert!(err(&output).contains("bad.jsonl") && err(&output).contains("line 2"), "{}", err(&output));
    let absent = folder.debunk(&["scan", "absent.jsonl"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(err(&absent).contains("absent.jsonl"), "{}", err(&absent));
}

#[test]
fn a_bad_span_costs_itself_alone() {
    let folder = Folder::new();
    let mut spans = drawn(LOOP);
    spans[7].span.span_id = vec![0; 8];
    folder.file("traces.jsonl", export(spans));
    let output = folder.debunk(&["scan", "traces.jsonl"]);
    assert!(out(&output).contains("7 spans (1 rejected)"), "{}", out(&output));
    assert!(out(&output).contains("1 finding"), "{}", out(&output));
    assert!(err(&output).contains("traces.jsonl"), "{}", err(&output));
}

#[test]
fn text_from_spans_cannot_drive_the_terminal() {
    let folder = Folder::new();
    let hostile = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}\r\n";
    let mut spans = drawn(LOOP);
    for one in &mut spans {
        one.span.name.push_str(hostile);
        for attribute in &mut one.span.attributes {
            use opentelemetry_proto::tonic::common::v1::any_value::Value;
            if let Some(Value::StringValue(text)) =
                attribute.value.as_mut().and_then(|value| value.value.as_mut())
            {
                text.push_str(hostile);
            }
        }
    }
    folder.file("traces.jsonl", export(spans));
    let output = folder.debunk(&["scan", "--min-confidence", "low", "traces.jsonl"]);
    assert!(output.status.success(), "{}", err(&output));
    let bad =
        out(&output).chars().find(|letter| letter.is_control() && *letter != '\n' || *letter == '\u{202e}');
    assert_eq!(bad, None, "{}", out(&output));
}

#[test]
fn secrets_do_not_reach_the_report() {
    let folder = Folder::new();
    let drawing =
        LOOP.replace("db  SELECT item", "client  GET bob:hunter22@stock/items?access_token=s3cr3tvalue9");
    folder.file("traces.jsonl", export(drawn(&drawing)));
    for format in ["text", "json"] {
        let output = folder.debunk(&["scan", "--min-confidence", "low", "--format", format, "traces.jsonl"]);
        assert!(output.status.success(), "{}", err(&output));
        assert!(!out(&output).contains("hunter22") && !out(&output).contains("s3cr3t"), "{}", out(&output));
    }
}

#[test]
fn an_empty_file_holds_no_trace_and_no_finding() {
    let folder = Folder::new();
    folder.file("traces.jsonl", "{\"resourceSpans\":[]}\n");
    let output = folder.debunk(&["scan", "traces.jsonl"]);
    assert_eq!(out(&output), "read 0 traces, 0 spans (0 rejected)\nno finding\n");
}

#[test]
fn rules_are_listed_and_explained() {
    let folder = Folder::new();
    let list = out(&folder.debunk(&["rules"]));
    let ids: BTreeSet<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids, debunk::rules::RULES.iter().map(|rule| rule.id).collect());
    folder.file("debunk.toml", "[rules.n_plus_one]\nenabled = false\n");
    let page = out(&folder.debunk(&["rules", "n_plus_one"]));
    assert!(page.contains("## Remedy") && page.contains("enabled = false"), "{page}");
    assert!(page.contains("(profile balanced)") && page.contains("min_repeats = 5"), "{page}");
    folder.file("debunk.toml", "[rules]\nprofile = \"strict\"\n[rules.n_plus_one]\nmin_total = \"1s\"\n");
    let page = out(&folder.debunk(&["rules", "n_plus_one"]));
    for line in ["(profile strict)", "min_repeats = 10", "min_total = \"1s\"", "many_hidden = 10"] {
        assert!(page.contains(line), "{line}: {page}");
    }
    assert_eq!(folder.debunk(&["rules", "n_plus_two"]).status.code(), Some(2));
}

#[test]
fn settings_are_checked_and_printed_without_secrets() {
    let folder = Folder::new();
    assert_eq!(out(&folder.debunk(&["check"])), "ok (profile balanced)\n");
    let printed = folder
        .command(&["check", "--print"])
        .env("DEBUNK_DATABASE__URL", "postgres://bob:hunter22@db/x")
        .output()
        .unwrap();
    assert!(out(&printed).contains("[otlp]") && out(&printed).contains("***"), "{}", out(&printed));
    assert!(!out(&printed).contains("hunter22"));
    folder.file("debunk.toml", "[otlp]\nmax_requests = \"1MiB\"\n");
    let bad = folder.debunk(&["check"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(err(&bad).contains("debunk.toml:2:1: unknown key"), "{}", err(&bad));
    let other = folder.debunk(&["--config", "absent.toml", "check"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(err(&other).contains("absent.toml"), "{}", err(&other));
}

#[test]
fn check_finds_what_would_end_serve() {
    let folder = Folder::new();
    let receiver = |url: &str, key: &str| {
        format!("[[receivers]]\nname = \"ops\"\nurl = \"{url}\"\nsecret_file = \"{key}\"\n")
    };
    folder.file("ops.key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    for (settings, complaint) in [
        (receiver("https://hooks.example/x", "absent.key"), "absent.key"),
        (receiver("ftp://hooks.example/x", "ops.key"), "neither http nor https"),
        (receiver("https://bob:hunter22@hooks.example/x", "ops.key"), "credentials"),
        ("[database]\nurl_file = \"absent.url\"\n".to_owned(), "absent.url"),
        ("[database]\nurl_file = \"ops.key\"\n".to_owned(), "postgres://"),
    ] {
        folder.file("debunk.toml", &settings);
        for command in [&["check", "--print"][..], &["serve"]] {
            let bad = folder.debunk(command);
            assert_eq!(bad.status.code(), Some(2), "{settings}: {}", err(&bad));
            assert!(err(&bad).contains(complaint) && out(&bad).is_empty(), "{settings}: {}", err(&bad));
            assert!(!err(&bad).contains("hunter22"));
        }
    }
    folder.file("debunk.toml", receiver("https://hooks.example/x", "ops.key"));
    assert_eq!(out(&folder.debunk(&["check"])), "ok (profile balanced)\n");
}

#[test]
fn the_example_of_settings_can_be_used() {
    let folder = Folder::new();
    fs::copy(Path::new("config.example.toml"), folder.0.path().join("debunk.toml")).unwrap();
    assert_eq!(out(&folder.debunk(&["check"])), "ok (profile balanced)\n");
}
