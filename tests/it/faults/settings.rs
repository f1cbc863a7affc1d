//! Settings that are wrong, secrets in them, and strings in spans that attack whoever looks at them.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use debunk::sketch;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;

use super::report;
use super::shapes::{SETTLES, judged, of_received};
use crate::alert::peer::Peer;
use crate::support::process::Process;
use crate::support::stored::spans_with;
use crate::support::traffic::text;
use crate::support::transport::{Answer, PATIENCE, TRANSPORTS, Transport};

fn debunk(folder: &tempfile::TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_debunk"));
    command.args(arguments).current_dir(folder.path()).envs(environment.iter().copied()).output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_end_it_at_once_with_their_place_and_no_secret_is_told() {
    const SECRET: &str = "hunter22";
    let folder = tempfile::tempdir().unwrap();
    let wrong = [
        ("[otlp]\nmax_requests = \"1MiB\"\n", "debunk.toml:2:1: unknown key"),
        ("[otlp]\n\n\nmax_request = \"many\"\n", "debunk.toml:4:15"),
        ("[otlp]\nother_signals = \"some\"\n", "debunk.toml:2:17"),
        ("[otlp]\nmax_spans_per_trace = 0\n", "otlp.max_spans_per_trace"),
        ("[traces\n", "debunk.toml:1:"),
        ("[server]\nlisten = \"0.0.0.0:0\"\n", "server.listen"),
        ("[database]\nurl = \"postgres://bob:hunter22@db/x\"\n", "database.url"),
    ];
    for (settings, complaint) in wrong {
        std::fs::write(folder.path().join("debunk.toml"), settings).unwrap();
        let ended = debunk(&folder, &["serve"], &[]);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{settings}: {said}");
        assert!(said.contains(complaint) && !said.contains(SECRET), "{settings}: {said}");
        assert!(said.lines().count() <= 2, "{said}");
    }
    std::fs::write(folder.path().join("debunk.toml"), "").unwrap();
    let unknown = debunk(&folder, &["serve"], &[("DEBUNK_OTLP__MAX_REQUESTS", SECRET)]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&unknown.stderr).contains(SECRET));

    // A password that works nowhere: it waits, complains, and does not tell it.
    let url = format!("postgres://bob:{SECRET}@127.0.0.1:1/x");
    let mut process = Process::on(url, "[database]\nconnect_timeout = \"1s\"\n");
    process.spawn();
    let begun = Instant::now();
    while process.said("the database is away") == 0 {
        assert!(begun.elapsed() < PATIENCE && process.lives(), "{}", process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for path in ["/readyz", "/api/v1/status", "/metrics", "/"] {
        let (_, body) = process.get(path).await;
        assert!(!body.contains(SECRET), "{path}: {body}");
    }
    assert_eq!(process.said(SECRET), 0, "{}", process.log());
    report(
        33,
        &format!(
            "{} wrong settings: exit 2 with their place; a password in no line, page or metric",
            wrong.len() + 1
        ),
    );
}

/// Markup, SQL, a formula, a terminal's escape, a turn of direction, and what hides.
const HOSTILE: &str = "<script>alert(1)</script>'\";drop table spans;--=cmd|'/C calc'!A1 \u{202e}gnp.exe \u{1b}[31mred\u{7} \u{2066}\u{200b}\u{feff}";

/// A finding whose every name is hostile: a loop of statements under a hostile service.
fn hostile(trace: u128) -> opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest {
    let head = "|=============================================| shop  server  GET /cart\n";
    let step = |at: usize| format!("|{}====   |   shop  db  SELECT item\n", " ".repeat(1 + at * 4));
    let drawing = format!("{head}{}", (0..8).map(step).collect::<String>());
    let mut request = of_received(sketch::parse(&drawing).unwrap().spans);
    for one in &mut request.resource_spans {
        let resource = one.resource.as_mut().unwrap();
        for pair in &mut resource.attributes {
            if pair.key == "service.name" {
                *pair = text("service.name", HOSTILE);
            }
        }
        resource.attributes.push(text(HOSTILE, &format!("{HOSTILE}\0")));
        let scope = &mut one.scope_spans[0];
        HOSTILE.clone_into(&mut scope.schema_url);
        HOSTILE.clone_into(&mut scope.scope.get_or_insert_default().name);
        let span = &mut scope.spans[0];
        span.trace_id = trace.to_be_bytes().to_vec();
        taint(span);
    }
    request
}

fn taint(span: &mut Span) {
    span.name = format!("{HOSTILE}\0{}", span.name);
    HOSTILE.clone_into(&mut span.trace_state);
    for pair in &mut span.attributes {
        // The shape of a statement or a route is read from these; the rest of them is anybody's.
        if let Some(Value::StringValue(known)) = pair.value.as_mut().and_then(|value| value.value.as_mut())
            && matches!(pair.key.as_str(), "http.route" | "url.path" | "db.namespace" | "server.address")
        {
            known.push_str(HOSTILE);
        }
    }
    span.attributes.push(text(HOSTILE, &format!("{HOSTILE}\0")));
    span.attributes.push(text("server.address", HOSTILE));
    let attributes = vec![text(HOSTILE, HOSTILE)];
    span.events.push(Event { name: HOSTILE.to_owned(), attributes, ..Event::default() });
    span.status =
        Some(opentelemetry_proto::tonic::trace::v1::Status { message: HOSTILE.to_owned(), code: 0 });
}

/// Letters that would act on a page or a terminal.
const RAW: [&str; 9] =
    ["<script", "onerror=", "\u{202e}", "\u{2066}", "\u{1b}", "\0", "\u{7}", "\u{feff}", "\u{200b}"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_strings_are_stored_and_act_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("ops.key");
    std::fs::write(&key, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let peer = Peer::start([]).await;
    let mut process = Process::with(&format!(
        "{SETTLES}[findings]\ngate_high = 1\ngate_medium = 1\n[[receivers]]\nname = \"ops\"\nurl = \"{}\"\n\
         secret_file = \"{}\"\nallow_private = true\n",
        peer.url,
        key.display()
    ));
    process.start().await;
    let mut connection = process.connect().await;
    for (trace, transport) in (1..).zip(TRANSPORTS) {
        assert_eq!(transport.export(&process, &hostile(trace)).await, Answer::Accepted, "{transport:?}");
        judged(&mut connection, trace).await;
    }
    let stored = spans_with(&process.options(), HOSTILE).await;
    assert_eq!(stored, 27);

    let begun = Instant::now();
    while peer.seen().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "nobody was told: {}", process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = peer.seen().remove(0);
    assert_eq!(told.json()["data"]["finding"]["service"], HOSTILE);
    assert!(!told.body.iter().any(u8::is_ascii_control), "a control character is raw in JSON");

    let id = told.json()["data"]["finding"]["id"].as_str().unwrap().to_owned();
    let pages =
        ["/".to_owned(), "/findings".to_owned(), format!("/findings/{id}"), format!("/traces/{:032x}", 1)];
    for path in &pages {
        let (status, page) = process.get(path).await;
        assert_eq!(status, 200, "{path}");
        for raw in RAW {
            assert!(!page.contains(raw), "{path}: {raw:?}");
        }
    }
    let file = folder.path().join("hostile.jsonl");
    std::fs::write(&file, Transport::HttpJson.encode(&hostile(9))).unwrap();
    for format in ["text", "json"] {
        let scanned = debunk(
            &folder,
            &["scan", "--min-confidence", "low", "--format", format, "hostile.jsonl"],
            &[("NO_COLOR", "1")],
        );
        let said = String::from_utf8(scanned.stdout).unwrap();
        assert!(said.contains("n_plus_one") || said.contains("chatty"), "{said}");
        let raw = said.chars().find(|letter| {
            letter.is_control() && *letter != '\n'
                || format == "text" && "\u{202e}\u{2066}\u{feff}".contains(*letter)
        });
        assert_eq!(raw, None, "{said}");
    }
    assert_eq!(process.said("\u{1b}[31m"), 0);
    report(
        30,
        &format!(
            "markup, SQL, escapes, NUL and turned text in every field over each transport: {stored} spans stored as sent; inert on {} pages, in scan, in the log and in a webhook",
            pages.len()
        ),
    );
}
