//! Other signals, other paths, other ports: accepted where that helps, and told the way where not.

use bytes::Bytes;
use debunk::config;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::house::{
    Answer, EXPORT, House, Packing, TRANSPORTS, call, call_at, client, http2_client, request,
};

#[tokio::test]
async fn logs_and_metrics_are_accepted_and_their_sender_is_told_once() {
    let house = House::open().await;
    let mut notices = Vec::new();
    for signal in ["logs", "metrics", "logs"] {
        let url = format!("http://{}/v1/{signal}", house.http);
        let sent = client().post(url).header("content-type", "application/x-protobuf").body(vec![0x0a, 0x00]);
        let response = sent.send().await.unwrap();
        assert_eq!(response.status(), 200, "{signal}");
        notices.push(response.bytes().await.unwrap());
    }
    for path in [
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    ] {
        notices.push(call(&house, path, vec![0x0a, 0x00], Packing::Gzip, None).await.unwrap());
    }
    // The client is the same for both transports: this machine.
    let first = ExportTraceServiceResponse::decode(notices.remove(0)).unwrap().partial_success.unwrap();
    assert_eq!(first.rejected_spans, 0);
    assert!(first.error_message.starts_with("debunk analyses traces only"), "{}", first.error_message);
    assert_eq!(notices, vec![Bytes::new(); 4]);
    house.close().await;
}

#[tokio::test]
async fn other_signals_are_refused_where_that_is_set_and_traces_are_not() {
    let other_signals = config::OtherSignals::Refuse;
    let house = House::with(config::Otlp { other_signals, ..config::Otlp::default() }).await;
    for signal in ["logs", "metrics"] {
        let url = format!("http://{}/v1/{signal}", house.http);
        let sent = client().post(url).header("content-type", "application/json").body("{}");
        let response = sent.send().await.unwrap();
        assert_eq!(response.status(), 404, "{signal}");
        let status: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert!(status["message"].as_str().unwrap().contains("OTEL_LOGS_EXPORTER=none"), "{status}");
    }
    for path in [
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    ] {
        let status = call(&house, path, vec![0x0a, 0x00], Packing::None, None).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
    }
    for transport in TRANSPORTS {
        assert_eq!(transport.export(&house, &request(1, 10)).await, Answer::Accepted, "{transport:?}");
    }
    assert_eq!(house.metric("debunk_rejections_total{reason=\"other_signal\"}").as_deref(), Some("4"));
    house.close().await;
}

#[tokio::test]
async fn health_is_told_over_grpc() {
    const CHECK: &str = "/grpc.health.v1.Health/Check";
    let house = House::open().await;
    assert_eq!(TRANSPORTS[0].export(&house, &request(1, 1)).await, Answer::Accepted);
    let serving = Bytes::from_static(&[8, 1]);
    let check = |body| call(&house, CHECK, body, Packing::None, None);
    assert_eq!(check(Vec::new()).await.unwrap(), serving);
    let name = b"opentelemetry.proto.collector.trace.v1.TraceService";
    assert_eq!(check([&[0x0a, name.len() as u8], &name[..]].concat()).await.unwrap(), serving);
    assert_eq!(check(b"\x0a\x01x".to_vec()).await.unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(check(vec![0; 2_000]).await.unwrap_err().code(), tonic::Code::ResourceExhausted);
    house.close().await;

    let house = House::without_database().await;
    assert_eq!(call(&house, CHECK, Vec::new(), Packing::None, None).await.unwrap(), &[8, 2][..]);
    house.close().await;
}

#[tokio::test]
async fn whoever_knocks_at_the_wrong_place_is_told_the_way() {
    let house = House::open().await;
    let json = |response: reqwest::Response| async {
        assert_eq!(response.headers()["content-type"], "application/json");
        serde_json::from_slice::<serde_json::Value>(&response.bytes().await.unwrap()).unwrap()
    };
    let base = format!("http://{}", house.http);
    let post = |path: &str| {
        client().post(format!("{base}{path}")).header("content-type", "application/json").body("{}").send()
    };

    for path in ["", "/", "/v1/traces/v1/traces"] {
        let response = post(path).await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        let status = json(response).await;
        assert!(status["message"].as_str().unwrap().contains("did you mean /v1/traces"), "{status}");
    }
    assert_eq!(post("/v1/traces/").await.unwrap().status(), 200);
    assert_eq!(post("/v1development/profiles").await.unwrap().status(), 404);

    let response = client().get(format!("{base}/v1/traces")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"POST".parse().unwrap()));
    assert_eq!(json(response).await["code"], 12);

    let response = client().post(format!("http://{}/v1/traces", house.grpc)).body("{}").send().await.unwrap();
    assert_eq!(response.status(), 415);
    assert!(response.text().await.unwrap().contains("4318"));

    let status = call_at(house.http, EXPORT, Vec::new(), Packing::None, None).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    assert!(status.message().contains("4317"), "{}", status.message());

    for path in ["/opentelemetry.proto.collector.trace.v1.TraceService/Import", "/a.B/C"] {
        let status = call(&house, path, Vec::new(), Packing::None, None).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
        assert!(status.message().contains(path), "{}", status.message());
    }
    house.close().await;
}

#[tokio::test]
async fn http_2_without_tls_is_served_on_the_same_port() {
    let house = House::open().await;
    let client = http2_client();
    let sent = client
        .post(format!("http://{}/v1/traces", house.http))
        .header("content-type", "application/json")
        .body("{}")
        .send();
    let response = sent.await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, ::http::Version::HTTP_2));
    house.close().await;
}
