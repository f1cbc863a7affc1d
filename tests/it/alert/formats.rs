//! The forms in which a change reaches receivers, over real HTTP, and what they do with what spans say.

use debunk::alert::{Answer, Receiver, Receivers};
use debunk::config;
use debunk::findings::life::{Event, Status};
use debunk::loops::Deliver;
use debunk::rules::Severity;
use debunk::store::Change;
use debunk::telemetry::Metrics;
use serde_json::Value;
use uuid::Uuid;

use super::peer::{Peer, Reply};
use super::{change, deliver_all, enqueue, only, quick};
use crate::support::database::Database;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Receivers of one, called `ops`, in a form that keeps no secret or the one given.
pub(super) fn opened(format: &str, url: &str, secret: Option<&str>) -> Receivers {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), secret.unwrap_or_default()).unwrap();
    let secret = secret.map(|_| format!("secret_file = \"{}\"\n", file.path().display())).unwrap_or_default();
    let text = format!(
        "name = \"ops\"\nurl = \"{url}\"\nformat = \"{format}\"\nallow_private = true\nmax_per_minute = 1000\n{secret}"
    );
    let settings: config::Receiver = toml::from_str(&text).unwrap();
    Receivers::open(&[settings], "http://127.0.0.1:4320").unwrap()
}

fn form(format: &str, url: &str) -> Receiver {
    let secret = match format {
        "standard" => Some(super::SECRET),
        "pagerduty" => Some(KEY),
        _ => None,
    };
    only(&opened(format, url, secret))
}

const FORMS: [&str; 5] = ["standard", "alertmanager", "alertmanager_push", "slack", "pagerduty"];

#[tokio::test]
async fn every_form_is_told_that_a_finding_opened_and_that_it_went() {
    for format in FORMS {
        let database = Database::fresh().await;
        let peer = Peer::start([]).await;
        let receiver = form(format, &peer.url);
        let [began, ended] = [Event::Opened, Event::Quiet].map(|event| change(1, event));
        for told in [&began, &ended] {
            let answer = receiver.post(Uuid::now_v7(), receiver.delivery(told).payload).await;
            assert_eq!(answer, Answer::Delivered { status: 200 }, "{format}");
        }
        let seen: Vec<Value> = peer.seen().iter().map(super::Seen::json).collect();
        let states: Vec<&str> = seen.iter().map(|body| state(format, body)).collect();
        let expected = match format {
            "standard" => ["finding.opened", "finding.resolved"],
            "alertmanager" => ["firing", "resolved"],
            "alertmanager_push" => ["no end", "an end"],
            "slack" => ["New", "Resolved"],
            _ => ["trigger", "resolve"],
        };
        assert_eq!(states, expected, "{format}");
        drop(database);
    }
}

/// Whether a body says that something began or ended, in its own words.
fn state<'a>(format: &str, body: &'a Value) -> &'a str {
    match format {
        "standard" => body["type"].as_str().unwrap(),
        "alertmanager" => body["status"].as_str().unwrap(),
        "alertmanager_push" => body[0].get("endsAt").map_or("no end", |_| "an end"),
        "slack" => body["text"].as_str().unwrap().split(' ').next().unwrap(),
        _ => body["event_action"].as_str().unwrap(),
    }
}

#[tokio::test]
async fn a_test_reaches_every_form_and_says_that_nothing_is_wrong() {
    for format in FORMS {
        let peer = Peer::start([]).await;
        let answer = form(format, &peer.url).test(Uuid::now_v7(), debunk::clock::now()).await;
        assert_eq!(answer, Answer::Delivered { status: 200 }, "{format}");
        let body = peer.seen()[0].json().to_string();
        assert!(body.contains("nothing is wrong") || body.contains("\"test\""), "{format}: {body}");
    }
}

#[tokio::test]
async fn what_spans_say_is_text_in_every_form() {
    let hostile =
        "<!channel> <script>alert(1)</script> <http://evil|here> {{ .Labels }} \u{1b}[2J\u{202e}\n=1+1";
    let mut told = change(1, Event::Opened);
    let claim = &mut told.finding.claim;
    for field in [&mut claim.headline, &mut claim.service, &mut claim.operation, &mut claim.environment] {
        hostile.clone_into(field);
    }
    claim.callee = Some(hostile.to_owned());
    told.example.as_mut().unwrap().why = hostile.to_owned();
    for format in FORMS {
        let peer = Peer::start([]).await;
        let receiver = form(format, &peer.url);
        receiver.post(Uuid::now_v7(), receiver.delivery(&told).payload).await;
        let seen = peer.seen();
        // A body of JSON whatever they say, and no letter in it that does something to a terminal.
        let body = String::from_utf8(seen[0].body.to_vec()).unwrap();
        assert!(!body.chars().any(char::is_control), "{format}: {body}");
        if format == "standard" {
            continue; // For programs: values are as they are, and escaping is their reader's business.
        }
        assert!(!body.contains('\u{202e}'), "{format}: {body}");
        if format == "slack" {
            let text = seen[0].json()["text"].as_str().unwrap().to_owned();
            assert!(!text.contains('<'), "a mention or a link: {text}");
        }
    }
}

#[tokio::test]
async fn the_key_of_pagerduty_is_sent_and_stored_nowhere() {
    let database = Database::fresh().await;
    let peer = Peer::start([Reply::Status(202)]).await;
    let receivers = opened("pagerduty", &peer.url, Some(KEY));
    enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    deliver_all(&deliver, &database).await;
    assert_eq!(peer.seen()[0].json()["routing_key"], KEY);
    let stored: String =
        sqlx::query_scalar("select payload from deliveries").fetch_one(&database.pool).await.unwrap();
    assert!(!stored.contains(KEY), "{stored}");
    assert!(!format!("{receivers:?}").contains(KEY));
}

#[tokio::test]
async fn a_token_goes_with_what_alertmanager_would_send() {
    let peer = Peer::start([]).await;
    let receivers = opened("alertmanager", &peer.url, Some("hunter22\n"));
    let receiver = only(&receivers);
    receiver.post(Uuid::now_v7(), receiver.delivery(&change(1, Event::Opened)).payload).await;
    assert_eq!(peer.seen()[0].headers["authorization"], "Bearer hunter22");
    assert!(!format!("{receivers:?}").contains("hunter22"));
}

/// A finding that people know as high, and that one trace shows as critical, fires as high until people are told.
#[tokio::test]
async fn labels_bear_the_severity_that_people_know() {
    let mut told = change(1, Event::Reminded);
    told.finding.claim.severity = Severity::Critical;
    let escalated = Change {
        event: Event::Escalated,
        told: Severity::Critical,
        previous: Some((Status::Open, Severity::High)),
        ..told.clone()
    };
    let peer = Peer::start([]).await;
    let receiver = form("alertmanager_push", &peer.url);
    for one in [&told, &escalated] {
        receiver.post(Uuid::now_v7(), receiver.delivery(one).payload).await;
    }
    let severities: Vec<Vec<String>> = peer
        .seen()
        .iter()
        .map(|seen| {
            let alerts = seen.json();
            let alerts = alerts.as_array().unwrap().iter();
            alerts
                .map(|alert| format!("{} {}", alert["labels"]["severity"], alert.get("endsAt").is_some()))
                .collect()
        })
        .collect();
    assert_eq!(severities, [vec!["\"high\" false"], vec!["\"critical\" false", "\"high\" true"]]);
}
