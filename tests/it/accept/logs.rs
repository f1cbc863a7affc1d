//! Log records that tell of an exception of a span become events of that span, whichever comes first; the rest is
//! accepted and forgotten.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use debunk::alert::Receivers;
use debunk::config::{self, Config, Period};
use debunk::findings::judge;
use debunk::loops::{Evaluate, Progress};
use debunk::telemetry::Metrics;
use opentelemetry::logs::{AnyValue as Said, LogRecord as _, Logger as _, LoggerProvider as _};
use opentelemetry::{SpanId, TraceFlags, TraceId};
use opentelemetry_otlp::{LogExporter, WithExportConfig};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use prost::Message as _;

use super::house::{Answer, House, Packing, Transport, call, client, request};
use crate::support::traffic::{drawn, text};

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// A caller that gave up, as its exception tells; what it asked for was done.
const GAVE_UP: &str = "
    |=====================| web  server  POST /order  {http.response.status_code=504}
    | ==========x         |   web  client  POST inventory/reserve  {exception.type=ReadTimeout}
    |  ================== |     inventory  server  POST /reserve
    |                 ==  |       inventory  db  UPDATE stock SET qty = qty - ?";

fn logs(records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
}

fn thrown(trace: u8, span: u8, message: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: 1_700_000_000_000_000_000,
        trace_id: vec![trace; 16],
        span_id: vec![span; 8],
        event_name: "exception".to_owned(),
        attributes: vec![text("exception.type", "ReadTimeout"), text("exception.message", message)],
        ..LogRecord::default()
    }
}

/// The status, the pause before another try, and the partial success.
async fn send(
    house: &House,
    transport: Transport,
    sent: &ExportLogsServiceRequest,
) -> (u16, Option<String>, Option<i64>) {
    if transport == Transport::Grpc {
        return match call(house, EXPORT, sent.encode_to_vec(), Packing::Gzip, None).await {
            Ok(reply) => (200, None, rejected(reply)),
            Err(status) => (status.code() as u16, Some(status.message().to_owned()), None),
        };
    }
    let (kind, body) = match transport {
        Transport::HttpJson => ("application/json", serde_json::to_vec(sent).unwrap()),
        _ => ("application/x-protobuf", sent.encode_to_vec()),
    };
    let url = format!("http://{}/v1/logs", house.http);
    let response = client().post(url).header("content-type", kind).body(body).send().await.unwrap();
    let status = response.status().as_u16();
    let after = response.headers().get("retry-after").map(|after| after.to_str().unwrap().to_owned());
    let body = response.bytes().await.unwrap();
    if kind == "application/json" {
        let reply: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let rejected = &reply["partialSuccess"]["rejectedLogRecords"];
        return (status, after, rejected.as_str().map(|count| count.parse().unwrap()));
    }
    (status, after, if status == 200 { rejected(body) } else { None })
}

fn rejected(reply: Bytes) -> Option<i64> {
    let partial = ExportLogsServiceResponse::decode(reply).unwrap().partial_success?;
    Some(partial.rejected_log_records)
}

const TRANSPORTS: [Transport; 3] = [Transport::Grpc, Transport::HttpProtobuf, Transport::HttpJson];

#[tokio::test]
async fn an_exception_of_a_span_is_stored_once_and_other_records_are_not() {
    let house = House::open().await;
    let aside = LogRecord { body: None, ..LogRecord::default() };
    let foreign = LogRecord { trace_id: vec![7; 16], ..thrown(7, 7, "whose?") };
    let nobodys = LogRecord { span_id: Vec::new(), ..foreign };
    for _ in 0..2 {
        for transport in TRANSPORTS {
            let sent = logs(vec![aside.clone(), thrown(1, 2, "no answer"), nobodys.clone()]);
            assert_eq!(send(&house, transport, &sent).await, (200, None, None), "{transport:?}");
            assert_eq!(house.stored().await, 1, "{transport:?}");
        }
    }
    let counted = |outcome| house.metric(&format!("debunk_log_records_total{{outcome=\"{outcome}\"}}"));
    assert_eq!((counted("kept").as_deref(), counted("ignored").as_deref()), (Some("6"), Some("12")));
    // Nothing to keep: it is told, once, what logs are good for.
    let sent = logs(vec![aside]);
    assert_eq!(send(&house, Transport::Grpc, &sent).await, (200, None, Some(0)));
    assert_eq!(send(&house, Transport::HttpProtobuf, &sent).await, (200, None, None));
    house.close().await;
}

#[tokio::test]
async fn success_is_not_said_where_nothing_can_be_stored() {
    let house = House::without_database().await;
    for transport in TRANSPORTS {
        let (status, hint, _) = send(&house, transport, &logs(vec![thrown(1, 2, "no answer")])).await;
        let later = if transport == Transport::Grpc { tonic::Code::Unavailable as u16 } else { 503 };
        assert!(status == later && hint.is_some(), "{transport:?}: {status} {hint:?}");
    }
    // Others need no database.
    assert_eq!(send(&house, Transport::HttpJson, &logs(vec![LogRecord::default()])).await.0, 200);
    house.close().await;
}

#[tokio::test]
async fn exceptions_are_redacted_and_cut_to_size_like_spans() {
    let limits = config::Otlp { max_value: config::Bytes(64), ..config::Otlp::default() };
    let house = House::with(limits).await;
    assert_eq!(Transport::Grpc.export(&house, &request(1, 1)).await, Answer::Accepted);
    let secret = "hunter2hunter2";
    let mut record = thrown(1, 2, &format!("Authorization: Bearer {secret}"));
    record.attributes.push(text("exception.stacktrace", &"at\0line ".repeat(1_000)));
    record.event_name.push_str("\0.exception");
    record.span_id = 1_u64.to_be_bytes().to_vec();
    assert_eq!(send(&house, Transport::HttpProtobuf, &logs(vec![record])).await, (200, None, None));
    assert_eq!((house.stored().await, house.stored_with(secret).await), (2, 0));
    assert_eq!(house.stored_with("exception.message").await, 1);
    assert_eq!(house.stored_with(&"line at".repeat(10)).await, 0);
    house.close().await;
}

#[tokio::test]
async fn exceptions_count_towards_what_a_trace_may_have() {
    let house = House::with(config::Otlp { max_spans_per_trace: 16, ..config::Otlp::default() }).await;
    let many = (0..20).map(|number| thrown(1, 2, &number.to_string())).collect();
    assert_eq!(send(&house, Transport::HttpJson, &logs(many)).await, (200, None, Some(4)));
    assert_eq!(house.stored().await, 16);
    let rejected = house.metric("debunk_log_records_total{outcome=\"rejected\"}");
    assert_eq!(rejected.as_deref(), Some("4"));
    house.close().await;
}

/// Drawn spans of a trace, without their events, and these as log records.
fn split(trace: u8, drawing: &str) -> (ExportTraceServiceRequest, ExportLogsServiceRequest) {
    let mut spans = drawn(u128::from_be_bytes([trace; 16]), drawing);
    let mut records = Vec::new();
    let of_scopes = spans.resource_spans.iter_mut().flat_map(|one| &mut one.scope_spans);
    for span in of_scopes.flat_map(|one| &mut one.spans) {
        records.extend(span.events.drain(..).map(|event| LogRecord {
            observed_time_unix_nano: span.end_time_unix_nano,
            trace_id: span.trace_id.clone(),
            span_id: span.span_id.clone(),
            event_name: event.name,
            attributes: event.attributes,
            ..LogRecord::default()
        }));
    }
    (spans, logs(records))
}

async fn judged(house: &House) {
    let mut config = Config::default();
    config.traces.quiet_period = Period(Duration::ZERO);
    let (receivers, store) = (Arc::new(Receivers::default()), house.database().store.clone());
    let evaluate = Evaluate::new(store, Arc::new(config), receivers, Metrics::new(), judge);
    while evaluate.step().await.unwrap() == Progress::Worked {}
}

/// What was found in a trace.
async fn found(house: &House, trace: u8) -> Vec<String> {
    let query = "select format('%s %s %s %s', rule, why, confidence, evidence) from occurrences
        where trace_id = $1 order by 1";
    let trace = uuid::Uuid::from_bytes([trace; 16]);
    sqlx::query_scalar(query).bind(trace).fetch_all(&house.database().pool).await.unwrap()
}

#[tokio::test]
async fn an_exception_may_come_before_its_span_or_after_its_trace_was_judged() {
    let house = House::open().await;
    let inline = drawn(u128::from_be_bytes([1; 16]), GAVE_UP);
    assert_eq!(Transport::Grpc.export(&house, &inline).await, Answer::Accepted);
    judged(&house).await;
    let expected = found(&house, 1).await;
    assert!(expected.iter().any(|line| line.starts_with("timeout_partial_failure")), "{expected:?}");

    let (spans, records) = split(2, GAVE_UP);
    assert_eq!(send(&house, Transport::HttpProtobuf, &records).await, (200, None, None));
    judged(&house).await;
    assert_eq!(found(&house, 2).await, Vec::<String>::new());
    assert_eq!(Transport::HttpJson.export(&house, &spans).await, Answer::Accepted);
    judged(&house).await;
    assert_eq!(found(&house, 2).await, expected);

    let (spans, records) = split(3, GAVE_UP);
    assert_eq!(Transport::HttpJson.export(&house, &spans).await, Answer::Accepted);
    judged(&house).await;
    assert_ne!(found(&house, 3).await, expected);
    for _ in 0..2 {
        assert_eq!(send(&house, Transport::Grpc, &records).await, (200, None, None));
        judged(&house).await;
        assert_eq!(found(&house, 3).await, expected);
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_exporter_of_logs_is_accepted() {
    let house = House::open().await;
    assert_eq!(Transport::Grpc.export(&house, &request(9, 1)).await, Answer::Accepted);
    let endpoint = format!("http://{}", house.grpc);
    let exporter = LogExporter::builder().with_tonic().with_endpoint(endpoint).build().unwrap();
    let sent = tokio::task::spawn_blocking(|| {
        let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();
        let logger = provider.logger("test");
        for event in ["http.client.request.exception", "order.placed"] {
            let mut record = logger.create_log_record();
            record.set_event_name(event);
            record.set_trace_context(
                TraceId::from_bytes([9; 16]),
                SpanId::from_bytes(1_u64.to_be_bytes()),
                Some(TraceFlags::SAMPLED),
            );
            record.set_body(Said::from("it did not answer"));
            logger.emit(record);
        }
        provider.shutdown()
    });
    sent.await.unwrap().unwrap();
    let counted = |outcome| house.metric(&format!("debunk_log_records_total{{outcome=\"{outcome}\"}}"));
    assert_eq!((counted("kept").as_deref(), counted("ignored").as_deref()), (Some("1"), Some("1")));
    judged(&house).await;
    let query = "select spans from traces where trace_id = $1";
    let trace = uuid::Uuid::from_bytes([9; 16]);
    let spans: i32 = sqlx::query_scalar(query).bind(trace).fetch_one(&house.database().pool).await.unwrap();
    assert_eq!(spans, 1);
    house.close().await;
}
