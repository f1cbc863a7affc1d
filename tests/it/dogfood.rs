//! The service under load, traced into itself: its own rules find nothing in it.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use sqlx::PgConnection;
use tokio::task::JoinSet;

use crate::support::process::Process;
use crate::support::{client, traffic};

/// Load, and then as long as it takes to judge what it left.
const LOAD: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_mins(1);

/// What a well-behaved reader asks for while exporters send.
const ASKED: [&str; 6] =
    ["/", "/findings", "/api/v1/findings", "/api/v1/findings/0000000000000001", "/api/v1/status", "/nowhere"];

async fn exporter(url: String, until: Instant) {
    let client = client();
    while Instant::now() < until {
        let (request, _) = traffic::request(100);
        let sent = client.post(&url).header("content-type", "application/x-protobuf");
        let answer = sent.body(request.encode_to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

async fn count(database: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_trace_under_load_has_no_finding() {
    let mut process = Process::new();
    process
        .set(&format!("[telemetry]\notlp_endpoint = \"http://{}\"\nlog_format = \"json\"\n", process.grpc));
    process.start().await;
    let until = Instant::now() + LOAD;
    let mut load = JoinSet::new();
    for _ in 0..4 {
        load.spawn(exporter(format!("http://{}/v1/traces", process.http), until));
    }
    while Instant::now() < until {
        for path in ASKED {
            process.get(path).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    load.join_all().await;

    let mut database = process.connect().await;
    let wanted = "
        select count(distinct operation) from units
        where service = 'debunk' and operation in (
            'opentelemetry.proto.collector.trace.v1.TraceService/Export', 'POST /v1/traces', 'GET /',
            'GET /api/v1/findings/{}', 'GET /{}', 'commit', 'evaluate'
        )";
    let begun = Instant::now();
    while count(&mut database, wanted).await < 7 && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let operations: Vec<String> =
        sqlx::query_scalar("select distinct operation from units where service = 'debunk' order by 1")
            .fetch_all(&mut database)
            .await
            .unwrap();
    assert_eq!(count(&mut database, wanted).await, 7, "{operations:#?}\n{}", process.log());
    assert!(0 < count(&mut database, "select count(*) from calls where caller = 'debunk'").await);
    // Not even one that would not count.
    let found: Vec<String> = sqlx::query_scalar("select rule || ': ' || why from occurrences order by 1")
        .fetch_all(&mut database)
        .await
        .unwrap();
    assert_eq!(found, Vec::<String>::new());
    assert!(process.log().lines().all(|line| line.starts_with('{')), "{}", process.log());
    assert!(process.terminate().0);
}

#[tokio::test]
async fn our_own_spans_are_rejected_where_nobody_asked_for_them() {
    let mut process = Process::new();
    process.start().await;
    let (mut request, _) = traffic::request(3);
    let (own, _) = traffic::request(2);
    request.resource_spans.extend(own.resource_spans.into_iter().map(|mut of_resource| {
        let attributes = &mut of_resource.resource.as_mut().unwrap().attributes;
        *attributes = vec![traffic::text("service.name", "debunk")];
        of_resource
    }));
    let url = format!("http://{}/v1/traces", process.http);
    let sent = client().post(url).header("content-type", "application/x-protobuf");
    let answer = sent.body(request.encode_to_vec()).send().await.unwrap();
    let body = answer.bytes().await.unwrap();
    let answer = ExportTraceServiceResponse::decode(body);
    let partial = answer.unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 2);
    assert!(partial.error_message.contains("own_service"), "{}", partial.error_message);
    let mut database = process.connect().await;
    assert_eq!(count(&mut database, "select count(*) from spans").await, 3);
    assert!(process.terminate().0);
}
