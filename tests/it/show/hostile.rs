//! Strings that attack whoever looks at them, in every field that comes from outside.

use debunk::config::Config;
use http::StatusCode;

use super::get;
use super::seed::{self, Finding, Occurrence};
use crate::support::database::Database;

const TRACE: u128 = 0xabc0_0000_0000_0000_0000_0000_0000_0002;

/// Markup, a broken attribute, a turn of direction, a terminal's escape, and what hides.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> \u{202e}gnp.exe \u{1b}[31mred\u{7} \u{2066}\u{200b}\u{feff}";

async fn seeded() -> Database {
    let database = Database::fresh().await;
    let text = HOSTILE.to_owned();
    let row = Finding {
        service: text.clone(),
        operation: text.clone(),
        callee: Some(text.clone()),
        headline: text.clone(),
        ..Finding::default()
    };
    seed::finding(&database, &row).await;
    let evidence = serde_json::json!([{
        "span_id": HOSTILE, "role": HOSTILE, "service": HOSTILE, "operation": HOSTILE, "offset_ms": -1e300,
        "duration_ms": 1e300, "note": HOSTILE,
    }]);
    let occurrence = Occurrence {
        trace: TRACE,
        why: text.clone(),
        evidence,
        not_visible: vec![text.clone()],
        drawing: format!("{HOSTILE}   <<\n{HOSTILE}"),
        ..Occurrence::default()
    };
    seed::occurrence(&database, &occurrence).await;
    let mut span = seed::span(TRACE, 1, 0, &format!("{HOSTILE}\0"), 0, 100);
    span.attributes = vec![seed::text(HOSTILE, &format!("{HOSTILE}\0"))];
    span.events = vec![seed::event(HOSTILE, vec![seed::text(HOSTILE, HOSTILE)])];
    HOSTILE.clone_into(&mut span.trace_state);
    span.status = Some(seed::error(HOSTILE));
    span.links = vec![opentelemetry_proto::tonic::trace::v1::span::Link {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        attributes: vec![seed::text(HOSTILE, HOSTILE)],
        ..Default::default()
    }];
    let mut reversed = seed::span(TRACE, 2, 1, HOSTILE, 90, 0);
    reversed.end_time_unix_nano = 0;
    seed::spans(&database, HOSTILE, vec![span, reversed]).await;
    seed::judged(&database, TRACE).await;
    database
}

#[tokio::test]
async fn hostile_strings_are_inert_on_every_page() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    let query = HOSTILE.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
    let trace = format!("{TRACE:032x}");
    for path in [
        "/".to_owned(),
        "/findings".to_owned(),
        format!("/findings?q={query}&service={query}"),
        "/findings/0000000000000001".to_owned(),
        format!("/traces/{trace}"),
        format!("/traces/{trace}?span=0000000000000001"),
        format!("/findings?{query}=1"),
        format!("/findings?status={query}"),
        format!("/findings/{query}"),
        format!("/rules/{query}"),
    ] {
        let page = get(&routes, &path).await;
        assert!(page.status != StatusCode::INTERNAL_SERVER_ERROR, "{path}: {}", page.body);
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        for raw in [
            "<script",
            "<img",
            "onerror=alert(2)>",
            "\u{202e}",
            "\u{2066}",
            "\u{1b}",
            "\0",
            "\u{7}",
            "\u{feff}",
            "\u{200b}",
        ] {
            let place = page.body.find(raw);
            assert_eq!(
                place,
                None,
                "{path}: {raw:?} in {:?}",
                place.map(|at| &page.body[at.saturating_sub(80)..])
            );
        }
    }
    let finding = get(&routes, "/findings/0000000000000001").await;
    assert_eq!(finding.status, StatusCode::OK);
    assert!(finding.body.contains("&lt;script&gt;alert(1)"), "{}", finding.body);
    assert!(finding.body.contains("\\u{202e}gnp.exe"), "{}", finding.body);
    let shown = get(&routes, &format!("/traces/{trace}")).await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(shown.body.contains("\\u{0}"), "{}", shown.body);
}

#[tokio::test]
async fn hostile_strings_come_back_whole_in_json_and_no_browser_takes_them_for_a_page() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    let finding = get(&routes, "/api/v1/findings/0000000000000001").await;
    assert_eq!(finding.status, StatusCode::OK, "{}", finding.body);
    assert_eq!(finding.json()["headline"], HOSTILE);
    assert_eq!(finding.json()["example"]["evidence"][0]["note"], HOSTILE);
    let trace = get(&routes, &format!("/api/v1/traces/{TRACE:032x}")).await;
    assert_eq!(trace.status, StatusCode::OK, "{}", trace.body);
    assert_eq!(trace.json()["spans"][0]["attributes"][HOSTILE], format!("{HOSTILE}\0"));
    let list = get(&routes, "/api/v1/findings").await;
    for answer in [finding, trace, list] {
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
        // No control character is raw in JSON.
        assert!(!answer.body.contains(|c: char| c.is_ascii_control()), "{:?}", answer.body);
    }
}
