//! What is accepted is stored, once.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

use super::house::{Answer, House, PACKINGS, Packing, TRANSPORTS, Transport, request, spans};

#[tokio::test]
async fn a_success_means_stored_and_a_repeat_changes_nothing() {
    let house = House::open().await;
    for _ in 0..2 {
        for transport in TRANSPORTS {
            assert_eq!(transport.export(&house, &request(1, 100)).await, Answer::Accepted, "{transport:?}");
            assert_eq!(house.stored().await, 100, "{transport:?}");
        }
    }
    assert_eq!(house.metric("debunk_spans_total{outcome=\"stored\"}").as_deref(), Some("100"));
    assert_eq!(house.metric("debunk_spans_total{outcome=\"duplicate\"}").as_deref(), Some("500"));
    assert_eq!(house.metric("debunk_in_flight_bytes").as_deref(), Some("0"));
    house.close().await;
}

#[tokio::test]
async fn every_compression_is_understood() {
    let house = House::open().await;
    let mut trace = 0;
    for transport in TRANSPORTS {
        for packing in PACKINGS {
            trace += 1;
            let body = transport.encode(&request(trace, 10));
            let answer = transport.send(&house, body, packing).await;
            assert_eq!(answer, Answer::Accepted, "{transport:?} {packing:?}");
        }
    }
    assert_eq!(house.stored().await, 120);
    house.close().await;
}

#[tokio::test]
async fn large_exports_are_decoded_aside_and_stored_whole() {
    let house = House::open().await;
    for (trace, transport) in (1..).zip(TRANSPORTS) {
        let body = transport.encode(&request(trace, 5_000));
        assert!(body.len() > 400_000, "{}", body.len());
        assert_eq!(transport.send(&house, body, Packing::Gzip).await, Answer::Accepted, "{transport:?}");
    }
    assert_eq!(house.stored().await, 15_000);
    house.close().await;
}

#[tokio::test]
async fn nothing_is_accepted_as_nothing() {
    let house = House::open().await;
    for transport in TRANSPORTS {
        let empty = request(1, 0);
        assert_eq!(transport.export(&house, &empty).await, Answer::Accepted, "{transport:?}");
    }
    assert_eq!(Transport::HttpProtobuf.send(&house, Vec::new(), Packing::None).await, Answer::Accepted);
    assert_eq!(Transport::HttpJson.send(&house, b"{}".to_vec(), Packing::None).await, Answer::Accepted);
    assert_eq!(Transport::Grpc.send(&house, Vec::new(), Packing::None).await, Answer::Accepted);
    assert_eq!(house.stored().await, 0);
    house.close().await;
}

#[tokio::test]
async fn a_bad_span_is_rejected_alone_and_named() {
    let house = House::open().await;
    for (trace, transport) in (1..).zip(TRANSPORTS) {
        let mut sent = request(trace, 1_000);
        spans(&mut sent)[500].span_id = vec![0; 8];
        let Answer::Partial { rejected, message } = transport.export(&house, &sent).await else {
            panic!("{transport:?}: no partial success");
        };
        assert_eq!(rejected, 1, "{transport:?}");
        assert!(message.contains("1 invalid_span_id") && message.contains("GET /501"), "{message}");
    }
    assert_eq!(house.stored().await, 3 * 999);
    let counted = house.metric("debunk_rejections_total{reason=\"invalid_span_id\"}");
    assert_eq!(counted.as_deref(), Some("3"));
    house.close().await;
}

#[tokio::test]
async fn every_wrong_identifier_is_told_apart() {
    let house = House::open().await;
    for transport in TRANSPORTS {
        let mut sent = request(9, 8);
        let wrong = spans(&mut sent);
        wrong[0].trace_id = vec![1; 15];
        wrong[1].trace_id = Vec::new();
        wrong[2].span_id = vec![1; 9];
        wrong[3].parent_span_id = vec![1; 3];
        wrong[4].parent_span_id = vec![0; 8];
        wrong[5].kind = 99;
        let Answer::Partial { rejected, message } = transport.export(&house, &sent).await else {
            panic!("{transport:?}: no partial success");
        };
        assert_eq!(rejected, 4, "{transport:?}");
        let reasons = "2 invalid_trace_id, 1 invalid_span_id, 1 invalid_parent_span_id";
        assert!(message.contains(reasons), "{message}");
    }
    assert_eq!(house.stored().await, 4);
    house.close().await;
}

#[tokio::test]
async fn secrets_are_not_stored_whichever_way_they_come() {
    let house = House::open().await;
    let secret = "hunter2hunter2";
    for (trace, transport) in (1..).zip(TRANSPORTS) {
        let mut sent = request(trace, 3);
        for span in spans(&mut sent) {
            let value = Value::StringValue(format!("Bearer {secret}"));
            span.attributes.push(KeyValue {
                key: "http.request.header.authorization".to_owned(),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            });
        }
        assert_eq!(transport.export(&house, &sent).await, Answer::Accepted, "{transport:?}");
    }
    assert_eq!((house.stored().await, house.stored_with(secret).await), (9, 0));
    // The key is there, so that this looked at the right place.
    assert_eq!(house.stored_with("http.request.header.authorization").await, 9);
    house.close().await;
}
