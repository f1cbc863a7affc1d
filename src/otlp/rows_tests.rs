//! A span becomes the same row whichever way it is read.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use time::macros::date;

use super::*;
use crate::decode::file::Requests;

const PLENTY: Room<'_> = &|_| Ok(());

fn rules() -> Rules {
    let days = Days::new(date!(2026 - 05 - 10), Duration::from_hours(24));
    Rules { own: Own::Rejected, limits: Limits { count: 4, length: 40 }, days }
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    }
}

/// Everything of both, for comparison.
fn written(rows: &(Batch, Rejections)) -> String {
    format!("{rows:?}")
}

/// Decodes the whole request first, as is done with JSON.
fn decoded(bytes: &[u8]) -> Result<String, DecodeError> {
    let exports = otlp::protobuf(bytes, PLENTY)?;
    let mut intake = Intake::new(rules());
    intake.exports(exports, PLENTY).unwrap();
    Ok(written(&(intake.batch, intake.rejections)))
}

fn read(bytes: &[u8]) -> Result<String, DecodeError> {
    protobuf(rules(), &Bytes::copy_from_slice(bytes), PLENTY).map(|rows| written(&rows))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z./]{0,12}",
        1 => ".{0,20}",
        1 => "[a-z]{41,50}",
        1 => Just("https://bob:hunter2@host/".to_owned()),
        1 => Just("/search?token=abcdef0123456789&x=1".to_owned()),
        1 => Just("nul\0".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        4 => text().prop_map(Value::StringValue),
        1 => any::<bool>().prop_map(Value::BoolValue),
        1 => any::<i64>().prop_map(Value::IntValue),
        1 => any::<f64>().prop_map(Value::DoubleValue),
        1 => vec(any::<u8>(), 0..50).prop_map(Value::BytesValue),
        1 => text().prop_map(|text| Value::BytesValue(text.into_bytes())),
    ];
    let leaf = option::weighted(0.95, leaf).prop_map(|value| AnyValue { value });
    leaf.prop_recursive(6, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec((key(), inner), 0..4).prop_map(|pairs| {
                let pair = |(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() };
                Value::KvlistValue(KeyValueList { values: pairs.into_iter().map(pair).collect() })
            }),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z.]{0,12}",
        1 => Just("user.password".to_owned()),
        1 => Just("request.header.set-cookie".to_owned()),
        1 => "[a-z]{41,50}",
    ]
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = |(key, value)| KeyValue { key, value, ..KeyValue::default() };
    vec((key(), option::weighted(0.9, value())).prop_map(pair), 0..6)
}

fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![20 => vec(any::<u8>(), length), 1 => Just(vec![0; length]), 1 => vec(any::<u8>(), 0..length)]
}

fn span() -> impl Strategy<Value = Span> {
    let few = || prop_oneof![3 => Just(0), 1 => any::<u32>()];
    let event = (any::<u64>(), text(), attributes(), few()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    );
    let link = (id(16), id(8), text(), attributes(), few(), few()).prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    );
    let status = (-1..4i32, text()).prop_map(|(code, message)| Status { message, code });
    let lists = (attributes(), vec(event, 0..3), vec(link, 0..3), option::of(status));
    let ids = (id(16), id(8), prop_oneof![Just(Vec::new()), id(8)]);
    let plain = (text(), text(), -1..8i32, any::<u64>(), any::<u64>());
    let numbers = (few(), few(), few(), few());
    (ids, plain, lists, numbers).prop_map(|(ids, plain, (attributes, events, links, status), numbers)| Span {
        trace_id: ids.0,
        span_id: ids.1,
        parent_span_id: ids.2,
        trace_state: plain.0,
        name: plain.1,
        kind: plain.2,
        start_time_unix_nano: plain.3,
        end_time_unix_nano: plain.4,
        attributes,
        events,
        links,
        status,
        flags: numbers.0,
        dropped_attributes_count: numbers.1,
        dropped_events_count: numbers.2,
        dropped_links_count: numbers.3,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_row_does_not_depend_on_how_the_span_was_read(spans in vec(span(), 0..4)) {
        let bytes = request(spans).encode_to_vec();
        prop_assert_eq!(read(&bytes), decoded(&bytes));
    }

    #[test]
    fn nor_on_what_became_of_it_on_the_way(span in span(), hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = request(vec![span]).encode_to_vec();
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Fields that nobody keeps are not looked at, so what a decoder refuses may be read, but not the reverse.
        if let Ok(expected) = decoded(&bytes) {
            prop_assert_eq!(read(&bytes), Ok(expected));
        }
    }

    #[test]
    fn nor_on_the_order_of_its_fields(span in span(), other in span(), cut in any::<prop::sample::Index>()) {
        // Behind each other, two messages are one: later fields win, and lists are joined.
        let (mut first, second) = (span.encode_to_vec(), other.encode_to_vec());
        first.splice(0..0, second[..cut.index(second.len())].iter().copied());
        let bytes = request_of(&first);
        if let Ok(expected) = decoded(&bytes) {
            prop_assert_eq!(read(&bytes), Ok(expected));
        }
    }
}

/// A request of one span that is encoded already.
fn request_of(span: &[u8]) -> Vec<u8> {
    let scope = [&[0x12][..], length(span.len()).as_slice(), span].concat();
    let resource = [&[0x12][..], length(scope.len()).as_slice(), &scope].concat();
    [&[0x0a][..], length(resource.len()).as_slice(), &resource].concat()
}

fn length(bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(bytes as u64, &mut out);
    out
}

#[test]
fn what_sdks_send_is_stored_as_it_came() {
    let limits = Limits { count: 128, length: 64 << 10 };
    let (mut plain, mut others) = (0, 0);
    for name in ["lab-node", "lab-python"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.jsonl.gz"));
        for request in Requests::open(&path).unwrap() {
            let resource_spans = request.unwrap().resource_spans;
            let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
            let count = &mut |item: Item<'_>| {
                plain += usize::from(matches!(item, Item::Plain(_)));
                others += usize::from(matches!(item, Item::Decoded(_)));
                Ok(())
            };
            items::protobuf(&bytes, &limits, PLENTY, count).unwrap();
        }
    }
    assert!(others * 20 < plain, "{plain} as they came, {others} decoded");
}

#[test]
fn zeros_that_some_senders_write_change_nothing() {
    let event = Event { name: "e".to_owned(), ..Event::default() };
    let attributes = vec![KeyValue { key: "a".to_owned(), ..KeyValue::default() }];
    let ids = Span { trace_id: vec![1; 16], span_id: vec![2; 8], ..Span::default() };
    let span = Span { attributes: attributes.clone(), events: vec![event.clone()], ..ids.clone() };
    let parts = [
        Span { attributes, ..ids }.encode_to_vec(),
        vec![10 << 3, 0],
        Span { events: vec![event], ..Span::default() }.encode_to_vec(),
        vec![12 << 3, 0, 14 << 3, 0],
    ];
    let with_zeros = parts.concat();
    let limits = Limits { count: 4, length: 40 };
    let mut plain = 0;
    let bytes = request_of(&with_zeros);
    let count = &mut |item: Item<'_>| {
        plain += usize::from(matches!(item, Item::Plain(_)));
        Ok(())
    };
    items::protobuf(&bytes, &limits, PLENTY, count).unwrap();
    assert_eq!(plain, 1);
    assert_eq!(read(&bytes), read(&request(vec![span]).encode_to_vec()));
}

#[test]
fn a_resource_in_parts_is_one_and_may_come_last() {
    let part = |key: &str| {
        let attributes = vec![KeyValue { key: key.to_owned(), ..KeyValue::default() }];
        let resource =
            Some(opentelemetry_proto::tonic::resource::v1::Resource { attributes, ..Default::default() });
        ResourceSpans { resource, ..ResourceSpans::default() }.encode_to_vec()
    };
    let span = Span { trace_id: vec![1; 16], span_id: vec![2; 8], ..Span::default() };
    let whole = request(vec![span]).resource_spans[0].encode_to_vec();
    let resource = [part("a"), whole, part("b")].concat();
    let bytes = [&[0x0a][..], length(resource.len()).as_slice(), &resource].concat();
    assert_eq!(read(&bytes), decoded(&bytes));
}

#[test]
fn memory_is_asked_for_before_it_is_taken() {
    let span = Span { trace_id: vec![1; 16], span_id: vec![2; 8], ..Span::default() };
    let bytes = Bytes::from(request(vec![span; 10_000]).encode_to_vec());
    let asked = Cell::new(0);
    let room = |bytes| {
        asked.set(asked.get() + bytes);
        Ok(())
    };
    let (batch, _) = protobuf(rules(), &bytes, &room).unwrap();
    assert!(
        batch.bytes() <= asked.get() && asked.get() < 4 * batch.bytes(),
        "{} of {}",
        batch.bytes(),
        asked.get()
    );
    let none = |wanted| if wanted <= bytes.len() { Ok(()) } else { Err(NoRoom::Now) };
    assert_eq!(protobuf(rules(), &bytes, &none).err(), Some(DecodeError::NoRoom(NoRoom::Now)));
}
