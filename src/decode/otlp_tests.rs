//! Both readers against each other, against `opentelemetry-proto`'s own JSON, and against hostile input.

use std::cell::Cell;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::super::{MAX_DEPTH, NoRoom};
use super::*;

const PLENTY: Room<'_> = &|_| Ok(());

fn up_to(most: usize) -> impl Fn(usize) -> Result<(), NoRoom> {
    let left = Cell::new(most);
    move |bytes| {
        left.set(left.get().checked_sub(bytes).ok_or(NoRoom::Ever)?);
        Ok(())
    }
}

fn request(span: Span) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    }
}

/// The span of a request of one span whose fields are given as JSON.
fn read_span(fields: &str) -> Result<Span, DecodeError> {
    let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#);
    json(text.as_bytes(), PLENTY).map(|mut read| read.remove(0).scope_spans.remove(0).spans.remove(0))
}

fn read_value(value: &str) -> Option<Value> {
    let span = read_span(&format!(r#""attributes":[{{"key":"k","value":{value}}}]"#)).unwrap();
    span.attributes.into_iter().next().unwrap().value.unwrap().value
}

#[test]
fn what_senders_send_is_read_as_they_mean_it() {
    let cases: [(&str, Span); 12] = [
        (r#""kind":3"#, Span { kind: 3, ..Span::default() }),
        (r#""kind":"3""#, Span { kind: 3, ..Span::default() }),
        (r#""kind":"SPAN_KIND_CLIENT""#, Span { kind: 3, ..Span::default() }),
        (r#""kind":"SPAN_KIND_OF_NEXT_YEAR""#, Span::default()),
        (r#""parentSpanId":null,"attributes":null,"name":null,"kind":null,"status":null"#, Span::default()),
        (
            r#""startTimeUnixNano":"15","endTimeUnixNano":1.6e1"#,
            Span { start_time_unix_nano: 15, end_time_unix_nano: 16, ..Span::default() },
        ),
        (
            r#""flags":"257","droppedEventsCount":"2""#,
            Span { flags: 257, dropped_events_count: 2, ..Span::default() },
        ),
        (
            r#""spanId":"00F067aa0ba902B7""#,
            Span { span_id: vec![0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7], ..Span::default() },
        ),
        (
            r#""status":{"code":"STATUS_CODE_ERROR","message":"no"}"#,
            Span { status: Some(Status { code: 2, message: "no".to_owned() }), ..Span::default() },
        ),
        (
            r#""events":[null,{"timeUnixNano":"7"}]"#,
            Span { events: vec![Event { time_unix_nano: 7, ..Event::default() }], ..Span::default() },
        ),
        (
            r#""inNextVersion":{"deep":[1,{"x":null}]},"trace_id":"no such name","name":"a""#,
            Span { name: "a".to_owned(), ..Span::default() },
        ),
        (r#""name":"\u0041\ud83d\ude00\n""#, Span { name: "A😀\n".to_owned(), ..Span::default() }),
    ];
    for (fields, expected) in cases {
        assert_eq!(read_span(fields), Ok(expected), "{fields}");
    }
}

#[test]
fn values_of_attributes_may_be_anything() {
    let array = |values| Some(Value::ArrayValue(ArrayValue { values }));
    let cases = [
        (r#"{"stringValue":""}"#, Some(Value::StringValue(String::new()))),
        (r#"{"boolValue":"true"}"#, Some(Value::BoolValue(true))),
        (r#"{"intValue":"-9223372036854775808"}"#, Some(Value::IntValue(i64::MIN))),
        (r#"{"intValue":5}"#, Some(Value::IntValue(5))),
        (r#"{"doubleValue":"-Infinity"}"#, Some(Value::DoubleValue(f64::NEG_INFINITY))),
        (r#"{"doubleValue":2}"#, Some(Value::DoubleValue(2.0))),
        (r#"{"bytesValue":"-_8"}"#, Some(Value::BytesValue(vec![0xfb, 0xff]))),
        (r#"{"bytesValue":"+/8="}"#, Some(Value::BytesValue(vec![0xfb, 0xff]))),
        (r#"{"arrayValue":{}}"#, array(vec![])),
        (r#"{"arrayValue":{"values":null}}"#, array(vec![])),
        (r#"{"kvlistValue":{}}"#, Some(Value::KvlistValue(KeyValueList::default()))),
        (r#"{"stringValue":null,"intValue":"1"}"#, Some(Value::IntValue(1))),
        (r#"{"intValue":"1","stringValue":null}"#, Some(Value::IntValue(1))),
        (r"{}", None),
        (r#"{"valueOfNextYear":[1]}"#, None),
    ];
    for (value, expected) in cases {
        assert_eq!(read_value(value), expected, "{value}");
    }
    assert!(
        matches!(read_value(r#"{"doubleValue":"NaN"}"#), Some(Value::DoubleValue(number)) if number.is_nan())
    );
}

#[test]
fn an_identifier_that_is_no_hexadecimal_is_wrong_by_itself() {
    for id in ["W47/95gDgQPSabYzgT/GDA==", "abc", "zzzzzzzzzzzzzzzz", "5b8e:fff798038103d269b633813fc60c"] {
        let span = read_span(&format!(r#""traceId":"{id}","parentSpanId":"{id}""#)).unwrap();
        assert_eq!((span.trace_id.len(), span.parent_span_id.len()), (1, 1), "{id}");
    }
}

#[test]
fn what_is_malformed_is_named_with_its_place() {
    let place = |text: &str| match json(text.as_bytes(), PLENTY) {
        Err(DecodeError::Malformed(malformed)) => malformed.to_string(),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(
        place("{\"resourceSpans\":\n  5}"),
        "line 2 column 3: invalid type: integer `5`, expected a list"
    );
    assert_eq!(place(r#"{"resourceSpans":[{"schemaUrl":7}]}"#), "line 1 column 33: expected text, found 7");
    assert_eq!(place("{\"resourceSpans\":["), "line 1 column 18: EOF while parsing a list");
    assert_eq!(place("{} x"), "line 1 column 4: trailing characters");
    for text in ["", "null x", "[]", "\"a\"", "\u{0}", r#"{"resourceSpans":{"a":1}}"#] {
        assert!(!place(text).is_empty());
    }
    let error = protobuf(&[0x0a, 0x05, 0x01], PLENTY).unwrap_err();
    assert_eq!(error.to_string(), "byte 0: field longer than its message");
}

/// An attribute whose value is a list of a list of … so often.
fn nested(depth: u32) -> ExportTraceServiceRequest {
    let mut value = AnyValue { value: Some(Value::BoolValue(true)) };
    for level in 0..depth {
        let inner = if level % 2 == 0 {
            Value::ArrayValue(ArrayValue { values: vec![value] })
        } else {
            let pair = KeyValue { key: "k".to_owned(), value: Some(value), ..KeyValue::default() };
            Value::KvlistValue(KeyValueList { values: vec![pair] })
        };
        value = AnyValue { value: Some(inner) };
    }
    let attributes = vec![KeyValue { key: "deep".to_owned(), value: Some(value), ..KeyValue::default() }];
    request(Span { attributes, ..Span::default() })
}

#[test]
fn both_encodings_nest_equally_deep_and_no_deeper() {
    for (depth, fits) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false)] {
        let request = nested(depth);
        let text = serde_json::to_vec(&request).unwrap();
        for read in [protobuf(&request.encode_to_vec(), PLENTY), json(&text, PLENTY)] {
            match read {
                Ok(read) => assert!(fits && read == request.resource_spans),
                Err(error) => assert!(!fits && error.to_string().contains("nested too deep"), "{error}"),
            }
        }
    }
}

#[test]
fn a_hundred_thousand_levels_do_not_reach_the_stack() {
    // Length-delimited nesting from the inside out: AnyValue.array_value (5), ArrayValue.values (1).
    let mut bytes = Vec::new();
    for level in 0..2_000 {
        let mut outer = vec![if level % 2 == 0 { 0x0a } else { 0x2a }];
        prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.extend(bytes);
        bytes = outer;
    }
    // KeyValue.value, Span.attributes, ScopeSpans.spans, ResourceSpans.scope_spans, request.
    for key in [0x12, 0x4a, 0x12, 0x12, 0x0a] {
        let mut outer = vec![key];
        prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.extend(bytes);
        bytes = outer;
    }
    assert!(protobuf(&bytes, PLENTY).unwrap_err().to_string().contains("nested too deep"));
    let text = r#"{"resourceSpans":"#.to_owned() + &"[".repeat(100_000);
    assert!(matches!(json(text.as_bytes(), PLENTY), Err(DecodeError::Malformed(_))));
}

#[test]
fn millions_of_tiny_spans_are_refused_before_they_take_memory() {
    let spans = [0x12, 0x00].repeat(4 << 20);
    let mut scope_spans = vec![0x12];
    prost::encoding::encode_varint(spans.len() as u64, &mut scope_spans);
    scope_spans.extend(spans);
    let mut bytes = vec![0x0a];
    prost::encoding::encode_varint(scope_spans.len() as u64, &mut bytes);
    bytes.extend(scope_spans);
    let text =
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#, "{},".repeat(1 << 20));
    for read in [protobuf(&bytes, &up_to(64 << 20)), json(text.as_bytes(), &up_to(64 << 20))] {
        assert_eq!(read, Err(DecodeError::NoRoom(NoRoom::Ever)));
    }
}

/// What a request takes in memory besides its outermost list, counted by hand.
fn taken(request: &ExportTraceServiceRequest) -> usize {
    fn list<T>(list: &Vec<T>, inner: impl Fn(&T) -> usize) -> usize {
        list.capacity() * size_of::<T>() + list.iter().map(inner).sum::<usize>()
    }
    fn pairs(attributes: &Vec<KeyValue>) -> usize {
        list(attributes, |pair| pair.key.len() + pair.value.as_ref().map_or(0, value))
    }
    fn value(value: &AnyValue) -> usize {
        match &value.value {
            Some(Value::StringValue(text)) => text.len(),
            Some(Value::BytesValue(bytes)) => bytes.len(),
            Some(Value::ArrayValue(array)) => list(&array.values, self::taken_by),
            Some(Value::KvlistValue(map)) => pairs(&map.values),
            _ => 0,
        }
    }
    list(&request.resource_spans, |resource_spans| {
        list(&resource_spans.scope_spans, |scope_spans| {
            list(&scope_spans.spans, |span| {
                pairs(&span.attributes)
                    + list(&span.events, |event| pairs(&event.attributes))
                    + list(&span.links, |link| pairs(&link.attributes))
            })
        })
    })
}

fn taken_by(value: &AnyValue) -> usize {
    let attributes = vec![KeyValue { key: String::new(), value: Some(value.clone()), ..KeyValue::default() }];
    // Only the inner lists and texts: a lower bound is what the property needs.
    let whole = taken(&request(Span { attributes, ..Span::default() }));
    whole - taken(&request(Span { attributes: vec![KeyValue::default()], ..Span::default() }))
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        ".{0,12}".prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        // Eighths: longer fractions may differ in their last bit from text to number.
        any::<i32>().prop_map(|number| Value::DoubleValue(f64::from(number) / 8.0)),
        vec(any::<u8>(), 0..12).prop_map(Value::BytesValue),
    ];
    let leaf = leaf.prop_map(|value| AnyValue { value: Some(value) });
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec(("[a-z.]{0,8}", inner), 0..4).prop_map(|pairs| {
                let pair = |(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() };
                Value::KvlistValue(KeyValueList { values: pairs.into_iter().map(pair).collect() })
            }),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = |(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() };
    vec(("[a-z.]{1,16}", any_value()).prop_map(pair), 0..6)
}

fn any_span() -> impl Strategy<Value = Span> {
    let event = (any::<u64>(), ".{0,8}", attributes()).prop_map(|(time_unix_nano, name, attributes)| Event {
        time_unix_nano,
        name,
        attributes,
        dropped_attributes_count: 1,
    });
    let link = (vec(any::<u8>(), 16), vec(any::<u8>(), 8)).prop_map(|(trace_id, span_id)| Link {
        trace_id,
        span_id,
        flags: 256,
        ..Link::default()
    });
    let status = (0..3i32, ".{0,8}").prop_map(|(code, message)| Status { message, code });
    let lists = (attributes(), vec(event, 0..3), vec(link, 0..3), option::of(status));
    let plain = (vec(any::<u8>(), 16), vec(any::<u8>(), 8), ".{0,16}", 0..6i32, any::<u64>(), any::<u64>());
    (plain, lists, any::<u32>()).prop_map(|(plain, (attributes, events, links, status), flags)| Span {
        trace_id: plain.0,
        span_id: plain.1,
        parent_span_id: Vec::new(),
        name: plain.2,
        kind: plain.3,
        start_time_unix_nano: plain.4,
        end_time_unix_nano: plain.5,
        attributes,
        events,
        links,
        status,
        flags,
        ..Span::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn protobuf_and_json_and_the_library_agree(span in any_span()) {
        let request = request(span);
        let text = serde_json::to_vec(&request).unwrap();
        let theirs: ExportTraceServiceRequest = serde_json::from_slice(&text).unwrap();
        let ours = json(&text, PLENTY).unwrap();
        prop_assert_eq!(&ours, &theirs.resource_spans);
        prop_assert_eq!(&ours, &request.resource_spans);
        prop_assert_eq!(&ours, &protobuf(&request.encode_to_vec(), PLENTY).unwrap());
    }

    #[test]
    fn what_is_decoded_takes_no_more_than_was_asked_for(span in any_span()) {
        let request = request(span);
        for decode in [
            |request: &ExportTraceServiceRequest, room: Room<'_>| protobuf(&request.encode_to_vec(), room),
            |request: &ExportTraceServiceRequest, room: Room<'_>| json(&serde_json::to_vec(request).unwrap(), room),
        ] {
            let asked = Cell::new(0);
            let room = |bytes| {
                asked.set(asked.get() + bytes);
                Ok(())
            };
            let decoded = ExportTraceServiceRequest { resource_spans: decode(&request, &room).unwrap() };
            let taken = taken(&decoded);
            prop_assert!(taken <= asked.get(), "took {} of {}", taken, asked.get());
            // And it is no wild guess either.
            prop_assert!(asked.get() <= 4 * taken + 4_096, "asked for {}, took {}", asked.get(), taken);
        }
    }

    #[test]
    fn mutated_requests_never_panic(span in any_span(), cuts in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), end in any::<prop::sample::Index>()) {
        let request = request(span);
        for (is_json, mut bytes) in [(false, request.encode_to_vec()), (true, serde_json::to_vec(&request).unwrap())] {
            for (at, byte) in &cuts {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let room = up_to(1 << 20);
            for input in [&bytes[..], &bytes[..end.index(bytes.len())]] {
                let read = if is_json { json(input, &room) } else { protobuf(input, &room) };
                if let Err(DecodeError::Malformed(malformed)) = read {
                    prop_assert!(!malformed.why.is_empty());
                }
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..512)) {
        let room = up_to(1 << 20);
        prop_assert!(json(&bytes, &room).is_err());
        if let Ok(read) = protobuf(&bytes, &room) {
            prop_assert!(read.len() <= bytes.len());
        }
    }
}

/// The recorded traces, where this checkout has them beside it.
#[test]
fn recorded_traces_read_like_the_library_reads_them() {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus"));
    let Ok(entries) = std::fs::read_dir(folder) else {
        return eprintln_skipped("no recorded traces beside this checkout");
    };
    let mut documents = 0;
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| is_trace(path)) {
        for request in super::super::file::Requests::open(&path).unwrap().take(40) {
            let resource_spans = request.unwrap().resource_spans;
            let text = serde_json::to_vec(&ExportTraceServiceRequest { resource_spans }).unwrap();
            let theirs: ExportTraceServiceRequest = serde_json::from_slice(&text).unwrap();
            assert!(json(&text, PLENTY).unwrap() == theirs.resource_spans, "{}", path.display());
            documents += 1;
        }
    }
    assert!(documents > 0);
}

fn is_trace(path: &std::path::Path) -> bool {
    path.to_string_lossy().contains(".jsonl")
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn eprintln_skipped(why: &str) {
    eprintln!("skipped: {why}");
}
