//! How the service says it is.

use debunk::clock;
use debunk::config::Config;
use debunk::loops::{Progress, Supervisor};
use debunk::telemetry::{Metrics, Sent};
use debunk::view::Shown;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;

use super::{get, seed};
use crate::support::database::Database;

#[tokio::test]
async fn status_says_what_runs_what_is_bounded_and_what_is_stored() {
    let database = Database::fresh().await;
    let start = clock::now().unix_timestamp() as u64 * 1_000_000_000;
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1,
        ..Span::default()
    };
    seed::spans(&database, "shop", vec![span]).await;
    let metrics = Metrics::new();
    metrics.refusal("bytes");
    metrics.in_flight(77);
    metrics.spans("duplicate", 4);
    metrics.connection("grpc", 1);
    let (quiet, loud) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    metrics.client(quiet, Sent { requests: 1, rejected: 1, ..Sent::default() });
    for _ in 0..2 {
        metrics.client(loud, Sent { requests: 1, stored: 5, duplicates: 2, ..Sent::default() });
    }
    let mut supervisor = Supervisor::new(metrics.clone());
    supervisor
        .repeat("keep", std::time::Duration::from_secs(1), || async { Ok::<_, String>(Progress::Idle) });
    supervisor
        .repeat("age", std::time::Duration::from_secs(1), || async { Err::<Progress, _>("no".to_owned()) });
    let soon = std::time::Duration::from_millis(300);
    supervisor.supervise(tokio::time::sleep(soon), soon).await.unwrap();

    let shown = Shown {
        store: database.store.clone(),
        metrics,
        config: Config::default().into(),
        receivers: debunk::alert::Receivers::default().into(),
    };
    let status = get(&debunk::api::router(shown), "/api/v1/status").await.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(7 <= status["schema"].as_i64().unwrap(), "{status}");
    assert!(300 <= status["uptime_ms"].as_i64().unwrap(), "{status}");
    let [age, keep] = status["loops"].as_array().unwrap().as_slice() else { panic!("{status}") };
    assert_eq!((&age["name"], &age["last_step_at"]), (&json!("age"), &json!(null)));
    assert!(1 <= age["failures"].as_i64().unwrap());
    assert_eq!((&keep["name"], &keep["failures"]), (&json!("keep"), &json!(0)));
    assert!(keep["last_step_at"].is_string());
    assert_eq!(status["pending"]["traces"], 1);
    assert_eq!(status["bounds"]["in_flight_bytes"], 77);
    assert_eq!(status["bounds"]["max_in_flight_bytes"], 256 << 20);
    assert_eq!(
        status["bounds"]["refused"][0],
        json!({"bound": "bytes", "requests": 1, "used": 77, "most": 256 << 20})
    );
    assert_eq!(
        (&status["bounds"]["grpc_connections"], &status["bounds"]["http_connections"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(status["spans"], json!({"stored": 0, "duplicate": 4, "rejected": 0}));
    let [first, second] = status["clients"].as_array().unwrap().as_slice() else { panic!("{status}") };
    assert_eq!((&first["address"], &second["address"]), (&json!("10.0.0.2"), &json!("10.0.0.1")));
    assert_eq!((&first["stored_spans"], &first["duplicate_spans"]), (&json!(10), &json!(4)));
    assert_eq!(second["rejected_requests"], 1);
    assert_eq!(status.get("former_clients"), None);
    assert_eq!(status["storage"]["days"][0]["day"], clock::now().date().to_string());
    assert_eq!(status["storage"]["days"].as_array().unwrap().len(), 1);
    assert!(0 < status["storage"]["bytes"].as_i64().unwrap());
    assert_eq!(status["storage"]["max_bytes"], 20_u64 << 30);
}
