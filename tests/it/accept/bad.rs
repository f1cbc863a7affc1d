//! Bad input: rejected for good, with the reason, and without harm.

use super::house::{Answer, EXPORT, House, PACKINGS, Packing, TRANSPORTS, Transport, call, client, request};

#[tokio::test]
async fn truncated_and_random_bytes_are_malformed() {
    let house = House::open().await;
    for transport in TRANSPORTS {
        let whole = transport.encode(&request(1, 10));
        let random: Vec<u8> =
            (1..500u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect();
        for body in [whole[..whole.len() - 3].to_vec(), whole[..whole.len() / 2].to_vec(), random] {
            let answer = transport.send(&house, body, Packing::None).await;
            assert!(matches!(&answer, Answer::Malformed(why) if !why.is_empty()), "{transport:?} {answer:?}");
        }
    }
    assert_eq!(house.stored().await, 0);
    assert_eq!(house.metric("debunk_rejections_total{reason=\"malformed\"}").as_deref(), Some("9"));
    house.close().await;
}

#[tokio::test]
async fn compressed_rubbish_is_malformed() {
    let house = House::open().await;
    for kind in ["application/json", "application/x-protobuf"] {
        for encoding in ["gzip", "deflate", "zstd"] {
            let sent = client()
                .post(format!("http://{}/v1/traces", house.http))
                .header("content-type", kind)
                .header("content-encoding", encoding)
                .body("no such thing")
                .send();
            assert_eq!(sent.await.unwrap().status(), 400, "{kind} {encoding}");
        }
    }
    house.close().await;
}

#[tokio::test]
async fn logs_on_the_path_of_traces_are_malformed_or_rejected_span_by_span() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use prost::Message as _;

    let house = House::open().await;
    let record = LogRecord { time_unix_nano: 5, trace_id: vec![1; 16], ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let logs = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }],
    };
    for transport in [Transport::Grpc, Transport::HttpProtobuf] {
        let answer = transport.send(&house, logs.encode_to_vec(), Packing::None).await;
        assert!(matches!(answer, Answer::Malformed(_) | Answer::Partial { rejected: 1, .. }), "{answer:?}");
    }
    assert_eq!(house.stored().await, 0);
    house.close().await;
}

#[tokio::test]
async fn unknown_encodings_are_named() {
    let house = House::open().await;
    let status = call(&house, EXPORT, Vec::new(), Packing::None, Some("snappy")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    assert!(status.message().contains("snappy"), "{}", status.message());
    let url = format!("http://{}/v1/traces", house.http);
    for (kind, encoding) in [
        ("application/json", "snappy"),
        ("application/json", "gzip, gzip"),
        ("text/plain", "identity"),
        ("", "identity"),
    ] {
        let sent = client().post(&url).header("content-type", kind).header("content-encoding", encoding);
        let response = sent.body("{}").send().await.unwrap();
        assert_eq!(response.status(), 415, "{kind} {encoding}");
        assert_eq!(response.headers()["content-type"], "application/json");
        let status: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(status["code"], 12, "{status}");
    }
    house.close().await;
}

#[tokio::test]
async fn without_the_database_nothing_is_acknowledged_and_all_may_come_again() {
    let house = House::without_database().await;
    for transport in TRANSPORTS {
        for packing in PACKINGS {
            let body = transport.encode(&request(1, 10));
            let answer = transport.send(&house, body, packing).await;
            assert!(
                matches!(answer, Answer::Later(after) if after.as_secs() >= 1),
                "{transport:?} {answer:?}"
            );
        }
    }
    assert_eq!(house.metric("debunk_refusals_total{bound=\"database\"}").as_deref(), Some("12"));
    assert_eq!(house.metric("debunk_in_flight_bytes").as_deref(), Some("0"));
    house.close().await;
}
