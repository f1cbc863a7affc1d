//! `debunk replay`: the same rules change nothing, other thresholds change what they decide, and a dry run only tells.

use std::sync::Arc;
use std::time::Duration;

use debunk::alert::Receivers;
use debunk::clock;
use debunk::config::{Config, Period};
use debunk::findings::judge;
use debunk::loops::{Evaluate, Progress};
use debunk::sketch;
use debunk::store::{Days, Writer, encode};
use debunk::telemetry::Metrics;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::support::database::Database;

const LOOP: &str = "\
|========================================================| shop  server  GET /cart
| ========                                               |   shop  db  SELECT item WHERE id = ?
|          ========                                      |   shop  db  SELECT item WHERE id = ?
|                   ========                             |   shop  db  SELECT item WHERE id = ?
|                            ========                    |   shop  db  SELECT item WHERE id = ?
|                                     ========           |   shop  db  SELECT item WHERE id = ?
|                                              ========  |   shop  db  SELECT item WHERE id = ?
";

/// Stores the drawn trace, a few times, and judges it.
async fn judged(database: &Database, traces: u8) {
    let (writer, work) = Writer::start(database.store.clone(), Metrics::new(), 64 << 20);
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    let mut exports = Vec::new();
    for trace in 1..=traces {
        for mut received in sketch::parse(LOOP).unwrap().spans {
            received.span.trace_id = vec![trace; 16];
            let scope_spans = vec![ScopeSpans { spans: vec![received.span], ..ScopeSpans::default() }];
            let resource = Some((*received.resource).clone());
            exports.push(ResourceSpans { resource, scope_spans, ..ResourceSpans::default() });
        }
    }
    let days = Days::new(clock::now().date(), Duration::from_hours(7 * 24));
    writer.write(encode(exports, &days)).await.unwrap();
    let mut config = Config::default();
    config.traces.quiet_period = Period(Duration::ZERO);
    let receivers = Arc::new(Receivers::default());
    let evaluate = Evaluate::new(database.store.clone(), Arc::new(config), receivers, Metrics::new(), judge);
    while evaluate.step().await.unwrap() == Progress::Worked {}
}

async fn findings(database: &Database) -> Vec<String> {
    sqlx::query_scalar("select f::text from findings f order by fingerprint")
        .fetch_all(&database.pool)
        .await
        .unwrap()
}

/// Runs the program on that database and returns what it printed.
async fn replay(database: &Database, settings: &str, arguments: &[&str]) -> String {
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_debunk"));
    command.arg("--config").arg(config.path()).arg("replay").args(arguments);
    let output = command.env("DEBUNK_DATABASE__URL", database.url()).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn todays_rules_are_applied_to_stored_traces() {
    let database = Database::fresh().await;
    judged(&database, 6).await;
    let before = findings(&database).await;
    assert_eq!(before.len(), 1);

    let text = replay(&database, "", &[]).await;
    assert_eq!(text, "6 traces judged again\n0 new, 0 changed, 0 retracted, 1 the same\n");
    assert_eq!(findings(&database).await, before);

    let blind = "[rules.n_plus_one]\nmin_repeats = 50\n";
    let text = replay(&database, blind, &["--dry-run"]).await;
    assert!(text.starts_with("6 traces judged again; nothing was changed\nretracted  n_plus_one"), "{text}");
    assert!(text.contains("6 → 0 traces  shop GET /cart: "), "{text}");
    assert!(text.ends_with("0 new, 0 changed, 1 retracted, 0 the same\n"), "{text}");
    assert_eq!(findings(&database).await, before);
    let text = replay(&database, blind, &["--dry-run", "--rule", "retry_non_idempotent"]).await;
    assert!(text.ends_with("0 new, 0 changed, 0 retracted, 0 the same\n"), "{text}");

    let text = replay(&database, blind, &[]).await;
    assert!(text.ends_with("1 retracted, 0 the same\ntold: 1 finding.resolved\n"), "{text}");
    assert!(findings(&database).await[0].contains("candidate"));

    let text = replay(&database, "", &["--since", "1h"]).await;
    assert!(text.contains("\nnew        n_plus_one"), "{text}");
    assert!(text.ends_with("told: 1 finding.opened\n"), "{text}");
    // What others are about to judge is left to them.
    let all = "insert into pending (trace_id, first_day, last_day) select trace_id, first_day, last_day from traces";
    sqlx::query(all).execute(&database.pool).await.unwrap();
    assert_eq!(
        replay(&database, blind, &[]).await,
        "0 traces judged again\n0 new, 0 changed, 0 retracted, 0 the same\n"
    );
}

#[tokio::test]
async fn an_unknown_rule_is_a_usage_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_debunk"));
    let output = command.args(["replay", "--rule", "no_such"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
}
