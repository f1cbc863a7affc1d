//! How many spans one trace may have: as many as set, whatever is sent again, and other traces do not notice.

use debunk::config;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use super::house::{Answer, House, TRANSPORTS, request, spans};

fn at_most(max_spans_per_trace: u32) -> config::Otlp {
    config::Otlp { max_spans_per_trace, ..config::Otlp::default() }
}

/// Spans `first..first + count` of a trace.
fn part(trace: u8, first: u64, count: u64) -> ExportTraceServiceRequest {
    let mut part = request(trace, count);
    for (number, span) in (first..).zip(spans(&mut part)) {
        span.span_id = number.to_be_bytes().to_vec();
    }
    part
}

#[tokio::test]
async fn what_is_too_much_of_a_trace_is_rejected_and_other_traces_are_not() {
    let house = House::with(at_most(100)).await;
    for (trace, transport) in (1..).zip(TRANSPORTS) {
        assert_eq!(transport.export(&house, &part(trace, 1, 60)).await, Answer::Accepted, "{transport:?}");
        // One more of the same trace, and another trace in the same request.
        let mut sent = part(trace, 61, 60);
        spans(&mut sent).append(spans(&mut request(100 + trace, 30)));
        let Answer::Partial { rejected, message } = transport.export(&house, &sent).await else {
            panic!("{transport:?}: no partial success");
        };
        assert_eq!(rejected, 20, "{transport:?}");
        assert!(message.contains("20 trace_too_large") && message.contains("GET /41"), "{message}");
        let again = transport.export(&house, &part(trace, 500, 10)).await;
        assert!(matches!(again, Answer::Partial { rejected: 10, .. }), "{transport:?} {again:?}");
    }
    assert_eq!(house.stored().await, 3 * 130);
    assert_eq!(house.metric("debunk_rejections_total{reason=\"trace_too_large\"}").as_deref(), Some("90"));
    assert_eq!(house.metric("debunk_refusals_total{bound=\"trace_size\"}").as_deref(), Some("6"));
    house.close().await;
}

#[tokio::test]
async fn what_is_sent_again_takes_no_room() {
    let house = House::with(at_most(100)).await;
    for (trace, transport) in (1..).zip(TRANSPORTS) {
        for _ in 0..6 {
            let again = transport.export(&house, &part(trace, 1, 40)).await;
            assert_eq!(again, Answer::Accepted, "{transport:?}");
        }
        assert_eq!(transport.export(&house, &part(trace, 41, 60)).await, Answer::Accepted, "{transport:?}");
    }
    assert_eq!(house.stored().await, 300);
    house.close().await;
}

#[tokio::test]
async fn replicas_together_store_little_more_than_a_trace_may_have() {
    let house = House::with(at_most(800)).await;
    let replica = house.replica(at_most(800)).await;
    let mut rejected_in_all = 0;
    for first in (0..2_000).step_by(20) {
        let door = if first % 40 == 0 { &house } else { &replica };
        let transport = TRANSPORTS[first as usize / 20 % 3];
        match transport.export(door, &part(1, first + 1, 20)).await {
            Answer::Accepted => {}
            Answer::Partial { rejected, .. } => rejected_in_all += rejected,
            other => panic!("{other:?}"),
        }
    }
    let stored = house.stored().await;
    println!("a trace of 2,000 spans sent to two replicas, 800 allowed: {stored} stored");
    assert_eq!(stored + rejected_in_all, 2_000);
    assert!((800..=900).contains(&stored), "{stored}");
    replica.close().await;
    house.close().await;
}
