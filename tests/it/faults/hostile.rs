//! Requests that want to do harm: damaged, bombs, small on the wire and large in memory, and ids that are none.

use debunk::decode::file;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};

use super::shapes::{export, span};
use super::{long, report};
use crate::support::process::Process;
use crate::support::traffic::text;
use crate::support::transport::{
    Answer, Doors, EXPORT, Packing, TRANSPORTS, Transport, call, client, http2_client, pack,
};

/// `otlp.max_request`, as it is by default.
const MAX_REQUEST: usize = 16 << 20;
/// Bytes that all bodies may hold at once, `otlp.max_in_flight`, by default.
const MAX_IN_FLIGHT: u64 = 256 << 20;

async fn started() -> Process {
    let mut process = Process::new();
    process.start().await;
    // What the first request of each kind needs anyway.
    for transport in TRANSPORTS {
        assert_eq!(transport.export(&process, &export("first", vec![span(1, 1, 0)])).await, Answer::Accepted);
    }
    process
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// It still serves, nothing of it panicked, and no request was answered with an error of its own.
async fn well(process: &Process) {
    assert_eq!(process.get("/livez").await.0, 200);
    assert_eq!(process.said("panicked"), 0, "{}", process.log());
    for transport in TRANSPORTS {
        let answer = transport.export(process, &export("last", vec![span(2, 2, 0)])).await;
        assert_eq!(answer, Answer::Accepted, "{transport:?}");
    }
    assert_eq!(process.metric("debunk_in_flight_bytes").await, 0);
}

/// One change of a body.
#[derive(Clone, Debug)]
enum Damage {
    Byte(Index, u8),
    Cut(Index),
    Twice(Index, Index),
    Without(Index, Index),
}

impl Damage {
    fn strategy() -> impl Strategy<Value = Self> {
        prop_oneof![
            4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Self::Byte(at, byte)),
            1 => any::<Index>().prop_map(Self::Cut),
            1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Self::Twice(from, to)),
            1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Self::Without(from, to)),
        ]
    }

    fn harm(&self, body: &mut Vec<u8>) {
        if body.is_empty() {
            return;
        }
        let length = body.len();
        let range = |from: &Index, to: &Index| {
            let (from, to) = (from.index(length), to.index(length));
            from.min(to)..from.max(to)
        };
        match self {
            Self::Byte(at, byte) => body[at.index(length)] = *byte,
            Self::Cut(at) => body.truncate(at.index(length)),
            Self::Twice(from, to) => {
                let part = body[range(from, to)].to_vec();
                body.extend(part);
            }
            Self::Without(from, to) => drop(body.drain(range(from, to))),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_requests_are_rejected_and_harm_nobody() {
    let process = started().await;
    let recorded: Vec<ExportTraceServiceRequest> =
        ["tests/data/lab-python.jsonl.gz", "tests/data/lab-node.jsonl.gz"]
            .iter()
            .flat_map(|path| file::Requests::open(path.as_ref()).unwrap().take(20))
            .map(|request| ExportTraceServiceRequest { resource_spans: request.unwrap().resource_spans })
            .collect();
    let before = process.peak_memory();
    let cases = if long() { 20_000 } else { 200 };
    // Seeds of what failed are kept there, and tried first.
    let kept = FileFailurePersistence::Direct("tests/it/faults/damaged.txt");
    let config = Config { cases, failure_persistence: Some(Box::new(kept)), ..Config::default() };
    let case = (
        any::<Index>(),
        prop::sample::select(TRANSPORTS.to_vec()),
        prop::sample::select(vec![Packing::None, Packing::Gzip, Packing::Zstd]),
        prop::collection::vec(Damage::strategy(), 1..6),
        any::<bool>(),
    );
    let (doors, runtime) = (Doors::from(&process), tokio::runtime::Handle::current());
    let answers = std::cell::RefCell::new(std::collections::BTreeMap::<&str, usize>::new());
    let run =
        |(which, transport, packing, damage, packed): (Index, Transport, Packing, Vec<Damage>, bool)| {
            let mut body = transport.encode(&recorded[which.index(recorded.len())]);
            // Over gRPC the client compresses by itself.
            let packed = packed && packing != Packing::None && transport != Transport::Grpc;
            if packed {
                body = pack(packing, &body);
            }
            for damage in &damage {
                damage.harm(&mut body);
            }
            let sent = async {
                if packed {
                    send_as(doors, transport, packing, body).await
                } else {
                    transport.send(doors, body, packing).await
                }
            };
            let word = match runtime.block_on(sent) {
                Answer::Accepted => "accepted",
                Answer::Partial { .. } => "accepted in part",
                Answer::Malformed(why) if !why.is_empty() => "malformed",
                Answer::TooLarge => "too large",
                other => return Err(TestCaseError::fail(format!("{transport:?}: {other:?}"))),
            };
            *answers.borrow_mut().entry(word).or_default() += 1;
            Ok(())
        };
    tokio::task::block_in_place(|| TestRunner::new(config).run(&case, run)).unwrap();
    let peak = process.peak_memory();
    report(
        12,
        &format!(
            "{cases} damaged requests: {:?}; RSS {} MiB before, {} MiB at most",
            answers.borrow(),
            mib(before),
            mib(peak)
        ),
    );
    well(&process).await;
    assert!(peak < before + (64 << 20), "{} MiB", mib(peak));
}

/// Bytes that claim to be compressed.
async fn send_as(doors: Doors, transport: Transport, packing: Packing, body: Vec<u8>) -> Answer {
    let kind = if transport == Transport::HttpJson { "application/json" } else { "application/x-protobuf" };
    let sent = client()
        .post(format!("http://{}/v1/traces", doors.http))
        .header("content-type", kind)
        .header("content-encoding", format!("{packing:?}").to_lowercase())
        .body(body);
    let reply = sent.send().await.unwrap();
    match reply.status().as_u16() {
        200 => Answer::Accepted,
        400 => Answer::Malformed("as it should be".to_owned()),
        413 => Answer::TooLarge,
        other => Answer::Other(other.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_span_costs_none_of_its_neighbours() {
    let process = started().await;
    let mut connection = process.connect().await;
    for (trace, transport) in (10..).zip(TRANSPORTS) {
        let mut spans: Vec<Span> = (1..=1_000).map(|id| span(trace, id, 0)).collect();
        spans[500].span_id = vec![0; 8];
        let answer = transport.export(&process, &export("bad", spans)).await;
        assert!(
            matches!(&answer, Answer::Partial { rejected: 1, message } if message.contains("invalid_span_id")),
            "{transport:?} {answer:?}"
        );
    }
    let query = "select count(*) from spans where trace_id > '00000000-0000-0000-0000-000000000009'";
    let stored: i64 = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
    report(13, &format!("one of 1,000 over each transport: 3 rejected by name, {stored} of 2,997 stored"));
    assert_eq!(stored, 2_997);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_and_values_that_are_none_are_rejected_one_by_one_or_get_their_default() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use prost::Message as _;

    let process = started().await;
    let good = || span(20, rand::random::<u64>() | 1, 0);
    let bad: [Span; 8] = [
        Span { trace_id: vec![0; 16], ..good() },
        Span { trace_id: vec![1; 15], ..good() },
        Span { trace_id: vec![1; 17], ..good() },
        Span { trace_id: Vec::new(), ..good() },
        Span { span_id: vec![0; 8], ..good() },
        Span { span_id: vec![1; 7], ..good() },
        Span { span_id: vec![1; 64], ..good() },
        Span { parent_span_id: vec![1; 3], ..good() },
    ];
    let odd = |key: &str, value| KeyValue { key: key.to_owned(), value, ..KeyValue::default() };
    let defaulted: [Span; 4] = [
        Span { kind: 99, parent_span_id: vec![0; 8], ..good() },
        Span { kind: 0, name: String::new(), ..good() },
        Span { status: Some(Status { code: 77, message: String::new() }), ..good() },
        Span {
            attributes: vec![odd("a", None), odd("", None), odd("b", Some(AnyValue { value: None }))],
            ..good()
        },
    ];
    let mut connection = process.connect().await;
    for transport in TRANSPORTS {
        let sent = export("odd", bad.iter().chain(&defaulted).cloned().collect());
        let answer = transport.export(&process, &sent).await;
        assert!(matches!(answer, Answer::Partial { rejected: 8, .. }), "{transport:?} {answer:?}");
    }
    let record = LogRecord { time_unix_nano: 5, trace_id: vec![1; 16], ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let logs = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }],
    };
    for transport in [Transport::Grpc, Transport::HttpProtobuf] {
        let answer = transport.send(&process, logs.encode_to_vec(), Packing::None).await;
        assert!(matches!(answer, Answer::Malformed(_) | Answer::Partial { rejected: 1, .. }), "{answer:?}");
    }
    let id = r#""traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331""#;
    let of = |fields: &str| format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#);
    for (body, is_taken) in [
        (of(&format!(r#"{id},"kind":"SPAN_KIND_SERVER","startTimeUnixNano":"7","flags":"257""#)), true),
        (of(&format!(r#"{id},"attributes":null,"parentSpanId":null,"status":null,"unknown":[{{}}]"#)), true),
        (of(&format!(r#"{id},"attributes":[{{"key":"x"}},{{}},{{"key":"y","value":{{}}}}]"#)), true),
        (of(&format!(r#"{id},"name":"\ud800 alone""#)), false),
        (of(&format!(r#"{id},"name":"\u0000 nul""#)), true),
        (of(&format!(r#"{id},"kind":{{}}"#)), false),
        (of(r#""traceId":"xyz","spanId":"1""#), false),
        ("[]".to_owned(), false),
        ("{\"resourceSpans\":7}".to_owned(), false),
        ("{\"resourceLogs\":[{\"scopeLogs\":[]}]}".to_owned(), true),
    ] {
        let answer = Transport::HttpJson.send(&process, body.clone().into_bytes(), Packing::None).await;
        let taken = answer == Answer::Accepted;
        let named = matches!(answer, Answer::Malformed(_) | Answer::Partial { .. });
        assert!(taken == is_taken && (taken || named), "{body}: {answer:?}");
    }
    let query = "select count(*) from spans where trace_id = '00000000-0000-0000-0000-000000000014'";
    let stored: i64 = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
    report(
        14,
        &format!(
            "8 wrong ids rejected one by one, 4 odd spans of their request stored ({stored} rows), logs and 10 odd JSON bodies answered, none with an error of ours"
        ),
    );
    assert_eq!(stored, 4);
    well(&process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_too_large_before_they_take_memory() {
    let process = started().await;
    let before = process.peak_memory();
    // Members and frames follow each other: gigabytes of zeros, made in no time.
    let part = vec![0; 64 << 20];
    let mut sizes = Vec::new();
    let mut small = 0;
    for packing in [Packing::Zstd, Packing::Deflate, Packing::Gzip] {
        let member = pack(packing, &part);
        // As received it must be small enough; deflate is one stream.
        let fits = (MAX_REQUEST - 1) / member.len();
        let times = if packing == Packing::Deflate { 1 } else { fits.min(160) };
        let bomb = member.repeat(times);
        sizes.push(format!("{packing:?} {} KiB for {} MiB", bomb.len() >> 10, times * 64));
        for transport in [Transport::HttpProtobuf, Transport::HttpJson] {
            let answer = send_as((&process).into(), transport, packing, bomb.clone()).await;
            assert_eq!(answer, Answer::TooLarge, "{transport:?} {packing:?}");
        }
        let answer = grpc_compressed((&process).into(), packing, bomb).await;
        assert_eq!(answer, Answer::TooLarge, "{packing:?}");
        if packing == Packing::Deflate {
            small = process.peak_memory();
        }
    }
    // Layers: stacked by name they are unknown, stacked in secret they are no trace.
    let twice = pack(Packing::Gzip, &pack(Packing::Gzip, &part));
    let doors = Doors::from(&process);
    assert!(matches!(
        send_as(doors, Transport::HttpProtobuf, Packing::Gzip, twice.clone()).await,
        Answer::Malformed(_)
    ));
    let layered = client()
        .post(format!("http://{}/v1/traces", doors.http))
        .header("content-type", "application/json")
        .header("content-encoding", "gzip, gzip")
        .body(twice);
    assert_eq!(layered.send().await.unwrap().status(), 415);
    let peak = process.peak_memory();
    report(
        15,
        &format!(
            "{}; over each transport, and two layers: too large or unknown; RSS {} MiB before, {} MiB at most after \
             the small ones, {} MiB after all",
            sizes.join(", "),
            mib(before),
            mib(small),
            mib(peak)
        ),
    );
    well(&process).await;
    // What comes out, once and while it grows, and zstd's window; what a thread's allocator keeps for the next one. A
    // bomb of the full size as received is there twice as well.
    assert!(small < before + 3 * MAX_REQUEST as u64, "{} MiB", mib(small));
    assert!(peak < before + 6 * MAX_REQUEST as u64, "{} MiB", mib(peak));
}

/// A call whose message says that it is compressed, framed by hand: no client would send it.
async fn grpc_compressed(doors: Doors, packing: Packing, body: Vec<u8>) -> Answer {
    let mut framed = vec![1];
    framed.extend((body.len() as u32).to_be_bytes());
    framed.extend(body);
    let sent = http2_client()
        .post(format!("http://{}{EXPORT}", doors.grpc))
        .header("content-type", "application/grpc")
        .header("grpc-encoding", format!("{packing:?}").to_lowercase())
        .body(framed);
    let reply = sent.send().await.unwrap();
    match reply.headers().get("grpc-status").map(|code| code.to_str().unwrap()) {
        Some("8") => Answer::TooLarge,
        Some("3") => Answer::Malformed("as it should be".to_owned()),
        other => Answer::Other(format!("{other:?}")),
    }
}

fn inside(key: u8, inner: &[u8]) -> Vec<u8> {
    let mut outer = vec![key];
    prost::encoding::encode_varint(inner.len() as u64, &mut outer);
    outer.extend(inner);
    outer
}

fn value(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_small_on_the_wire_takes_no_more_memory_than_allowed() {
    let process = started().await;
    let before = process.peak_memory();
    // Spans of two bytes each, as many as fit.
    let many = inside(0x0a, &inside(0x12, &[0x12, 0x00].repeat(MAX_REQUEST / 2 - 64)));
    let mut text_of_many = r#"{"resourceSpans":[{"scopeSpans":[{"spans":["#.to_owned();
    text_of_many.push_str(&"{},".repeat(MAX_REQUEST / 3 - 64));
    text_of_many.push_str("{}]}]}]}");
    for packing in [Packing::None, Packing::Gzip] {
        for transport in [Transport::Grpc, Transport::HttpProtobuf] {
            let answer = transport.send(&process, many.clone(), packing).await;
            assert_eq!(answer, Answer::TooLarge, "{transport:?} {packing:?}");
        }
        let answer = Transport::HttpJson.send(&process, text_of_many.clone().into_bytes(), packing).await;
        assert_eq!(answer, Answer::TooLarge, "{packing:?}");
    }
    // A hundred thousand lists within each other.
    let mut deep = vec![0x08, 0x01];
    for _ in 0..100_000 {
        deep = if deep.len() < 1 << 20 { inside(0x2a, &inside(0x0a, &deep)) } else { break };
    }
    let attribute = inside(0x4a, &[inside(0x0a, b"deep"), inside(0x12, &deep)].concat());
    let deep = inside(0x0a, &inside(0x12, &inside(0x12, &attribute)));
    for transport in [Transport::Grpc, Transport::HttpProtobuf] {
        let answer = transport.send(&process, deep.clone(), Packing::None).await;
        assert!(matches!(answer, Answer::Malformed(_)), "{transport:?} {answer:?}");
    }
    let deep = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(100_000), "]}}".repeat(100_000));
    let deep =
        format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"deep","value":{deep}}}]}}}}]}}"#);
    let answer = Transport::HttpJson.send(&process, deep.into_bytes(), Packing::None).await;
    assert!(matches!(answer, Answer::Malformed(_)), "{answer:?}");

    let mut wide = span(30, 1, 0);
    wide.attributes = (0..10_000).map(|number| text(&number.to_string(), "x")).collect();
    let mut large = span(30, 2, 0);
    large.attributes = vec![text("large", &"x".repeat(10_000_000))];
    let mut list = span(30, 3, 0);
    let values = vec![value(Value::BoolValue(true)); 100_000];
    list.attributes = vec![KeyValue {
        key: "list".to_owned(),
        value: Some(value(Value::ArrayValue(ArrayValue { values }))),
        ..KeyValue::default()
    }];
    for transport in TRANSPORTS {
        for span in [&wide, &large, &list] {
            let answer = transport.export(&process, &export("wide", vec![span.clone()])).await;
            assert_eq!(answer, Answer::Accepted, "{transport:?}");
        }
    }
    let peak = process.peak_memory();
    let mut connection = process.connect().await;
    let query = "select max(octet_length(rest)) from spans";
    let largest: i32 = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
    report(
        16,
        &format!(
            "16 MiB of spans of two bytes, 100,000 nested lists, 10,000 attributes, one of 10 MB, over each transport: \
             too large, malformed or cut to {largest} bytes; RSS {} MiB before, {} MiB at most",
            mib(before),
            mib(peak)
        ),
    );
    // A list of as many truth values as a text may have letters.
    assert!(largest < 20 << 10, "{largest}");
    well(&process).await;
    assert!(peak < before + MAX_IN_FLIGHT, "{} MiB", mib(peak));
    let unknown = call(&process, EXPORT, Vec::new(), Packing::None, Some("gzip, gzip")).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::Unimplemented);
}
