//! What is read of recorded spans: statements that hold for every one of them, whatever SDK wrote it.

use std::collections::BTreeMap;
use std::path::Path;

use debunk::model::{Effect, EffectClass, Kind, Outcome, Role, Span};
use debunk::semconv;

use crate::support::recorded::{elsewhere, read};

fn spans(folder: &Path, name: &str) -> Vec<Span> {
    let traces = read(folder, name);
    traces.values().flat_map(|received| semconv::spans(received, &BTreeMap::new())).collect()
}

/// What is wrong with a span of our own recordings, whose truth is known; `None` where nothing is.
fn oddity(span: &Span) -> Option<&'static str> {
    let facts = &span.facts;
    let verdict = facts.verdict;
    let is_call = matches!(span.kind, Kind::Client | Kind::Producer) && facts.role != Role::ConnectionPhase;
    let status = facts.http.status;
    let has_data =
        |text: &str| text.split(['/', ' ']).any(|word| word.len() >= 4 && word.parse::<u64>().is_ok());
    let wrong = [
        (is_call && matches!(facts.role, Role::Internal | Role::Remote), "a call of no protocol"),
        (is_call && verdict.outcome == Outcome::Unknown, "a call of unknown outcome"),
        (is_call && facts.class == EffectClass::Unknown, "a call that may do anything"),
        (is_call && facts.role == Role::Http && facts.host.is_none(), "a request to nowhere"),
        (
            is_call && facts.role == Role::Http && !facts.arguments_visible,
            "a request without visible arguments",
        ),
        (is_call && facts.role == Role::Http && !facts.always_records_code, "a client that may be silent"),
        (status.is_some_and(|status| status < 400) && verdict.failed(), "a good answer that failed"),
        (status.is_some_and(|status| 500 <= status) && !verdict.failed(), "a failure that went well"),
        (verdict.outcome == Outcome::Ok && verdict.effect != Effect::Applied, "well, and without effect"),
        (verdict.never_sent && verdict.effect != Effect::None, "never sent, and an effect"),
        (facts.role == Role::Db && facts.db.operation.is_none(), "a statement without a verb"),
        (facts.db.truncated, "a statement that was cut"),
        (facts.role == Role::Messaging && facts.messaging.message_id.is_none(), "a message without an id"),
        (span.kind == Kind::Server && facts.role == Role::Internal, "a server of no protocol"),
        (has_data(&facts.operation), "data in an operation"),
        (facts.self_defence, "traffic taken for a probe"),
        (facts.streaming, "an exchange taken for a stream"),
    ];
    wrong.into_iter().find_map(|(is_so, what)| is_so.then_some(what))
}

#[test]
fn every_recorded_span_of_ours_is_read_sensibly() {
    let mut odd: BTreeMap<String, usize> = BTreeMap::new();
    let mut read = 0;
    for name in ["lab-python", "lab-node"] {
        for span in spans(Path::new("tests/data"), name) {
            read += 1;
            if let Some(what) = oddity(&span) {
                *odd.entry(format!("{what}: {name} {} {:?} `{}`", span.scope.name, span.kind, span.name))
                    .or_default() += 1;
            }
        }
    }
    assert!(1000 < read, "{read} spans were read");
    assert!(odd.is_empty(), "{odd:#?}");
}

/// Writes of the recorded shop, by what doing them twice would do.
#[test]
fn recorded_statements_have_the_class_that_their_text_says() {
    for name in ["lab-python", "lab-node"] {
        for span in spans(Path::new("tests/data"), name).iter().filter(|span| span.facts.role == Role::Db) {
            let facts = &span.facts;
            let shape = facts.db.shape.as_deref().unwrap_or_default();
            let expected = match facts.db.operation.as_deref() {
                Some("INSERT") if shape.contains("ON CONFLICT") => EffectClass::Idempotent,
                Some("INSERT") => EffectClass::NonIdempotent,
                Some("UPDATE") if shape.contains("qty + ?") || shape.contains("qty - ?") => {
                    EffectClass::NonIdempotent
                }
                Some("UPDATE") => EffectClass::Idempotent,
                _ => EffectClass::Safe,
            };
            assert_eq!(facts.class, expected, "{shape}");
        }
    }
}

/// Recordings of others: no truth is known but what no span may break.
#[test]
fn other_recordings_break_no_promise() {
    let Some(folder) = elsewhere() else { return };
    for name in [
        "hotrod",
        "otel-demo",
        "zipkin-lens-small",
        "kiali-bookinfo",
        "opensearch-catalog-gantt",
        "dsb-hotel",
    ] {
        for span in spans(&folder, name) {
            let facts = &span.facts;
            let verdict = facts.verdict;
            let is_call = matches!(span.kind, Kind::Client | Kind::Producer);
            assert!(!is_call || facts.role != Role::Internal, "{name} {}", span.name);
            assert!((1..=10).contains(&verdict.row), "{name} {}", span.name);
            assert_eq!(verdict.failed(), (1..=8).contains(&verdict.row), "{name} {}", span.name);
            assert!(
                !facts.operation.is_empty() && facts.template.starts_with(&facts.operation),
                "{name} {}",
                span.name
            );
        }
    }
    let redis_timeouts = spans(&folder, "hotrod")
        .iter()
        .filter(|span| span.name == "GetDriver" && span.facts.verdict.outcome == Outcome::Timeout)
        .count();
    assert_eq!(redis_timeouts, 20, "the words of an event on a failed span count");
    let unreachable = spans(&folder, "otel-demo").iter().filter(|span| span.facts.verdict.never_sent).count();
    assert!(20 < unreachable, "{unreachable} calls never left");
}
