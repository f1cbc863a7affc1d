//! Exceptions that came as log records, which is where SDKs are moving them: which records tell of one, and back to
//! their spans. A record may come before or after its span, from anywhere, and as an event of the span as well.

use std::collections::HashMap;

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use crate::model::{EVENT_KIND, Received, SpanId, TraceId};

const TYPE: &str = "exception.type";
const MESSAGE: &str = "exception.message";
/// Where the name stood before records had a field for it.
const FORMER_NAME: &str = "event.name";
/// What a record is called that has no name: some logger was told of an exception, and the span may have got over it.
const LOGGED: &str = "log";
/// Events that a span has at most once records have been added.
const MOST_EVENTS: usize = 128;

/// The exceptions among some records, in the form in which they are kept, and how many records were none.
#[derive(Debug, Default)]
pub struct Exceptions {
    /// Spans of [`EVENT_KIND`], one event each.
    pub exports: Vec<ResourceSpans>,
    /// How many.
    pub kept: u64,
    /// Records that tell of no exception, or not of whose it is.
    pub ignored: u64,
}

/// Takes what tells of an exception of a span.
pub fn of_records(records: impl Iterator<Item = LogRecord>) -> Exceptions {
    let (mut spans, mut ignored) = (Vec::new(), 0);
    for record in records {
        match of_record(record) {
            Some(span) => spans.push(span),
            None => ignored += 1,
        }
    }
    let kept = spans.len() as u64;
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let exports = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    Exceptions { exports: if kept == 0 { Vec::new() } else { exports }, kept, ignored }
}

fn of_record(record: LogRecord) -> Option<Span> {
    TraceId::from_bytes(&record.trace_id)?;
    SpanId::from_bytes(&record.span_id)?;
    let former = || text(&record.attributes, FORMER_NAME).unwrap_or_default().to_owned();
    let mut name = if record.event_name.is_empty() { former() } else { record.event_name };
    if !super::errors::is_exception(&name) {
        text(&record.attributes, TYPE).or_else(|| text(&record.attributes, MESSAGE))?;
        if name.is_empty() {
            LOGGED.clone_into(&mut name);
        }
    }
    let times = [record.time_unix_nano, record.observed_time_unix_nano];
    let time = times.into_iter().find(|time| *time != 0).unwrap_or_default();
    let event = Event {
        time_unix_nano: time,
        name,
        attributes: record.attributes,
        dropped_attributes_count: record.dropped_attributes_count,
    };
    Some(Span {
        trace_id: record.trace_id,
        span_id: record.span_id,
        kind: EVENT_KIND,
        start_time_unix_nano: time,
        end_time_unix_nano: time,
        events: vec![event],
        ..Span::default()
    })
}

/// Gives events that came by themselves back to their spans, among the spans of one trace or of many. What has no
/// span here stays out; a span with too many is told to lack some.
pub fn attach(received: Vec<Received>) -> Vec<Received> {
    if !received.iter().any(Received::is_event) {
        return received;
    }
    let (mut events, mut spans): (Vec<_>, Vec<_>) = received.into_iter().partition(Received::is_event);
    // In whatever order they came, a span gets them in one: its own words first.
    events.sort_by_cached_key(|one| {
        let logged = one.span.events.iter().any(|event| !super::errors::is_exception(&event.name));
        (logged, one.span.start_time_unix_nano, one.span.encode_to_vec())
    });
    let mut places: HashMap<(Vec<u8>, Vec<u8>), Vec<usize>> = HashMap::new();
    for (at, one) in spans.iter().enumerate() {
        places.entry((one.span.trace_id.clone(), one.span.span_id.clone())).or_default().push(at);
    }
    for one in events {
        let Some(places) = places.get(&(one.span.trace_id, one.span.span_id)) else { continue };
        for at in places {
            one.span.events.iter().for_each(|event| add(&mut spans[*at].span, event));
        }
    }
    spans
}

fn add(span: &mut Span, event: &Event) {
    if MOST_EVENTS <= span.events.len() {
        span.dropped_events_count = span.dropped_events_count.saturating_add(1);
    } else if !span.events.iter().any(|own| is_same(own, event)) {
        span.events.push(event.clone());
    }
}

/// One exception, told both ways or by two who saw it pass.
fn is_same(own: &Event, other: &Event) -> bool {
    let told = |event: &Event| super::errors::is_exception(&event.name);
    let same = |key| text(&own.attributes, key) == text(&other.attributes, key);
    (told(own) || !told(other)) && same(TYPE) && same(MESSAGE)
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::AnyValue;

    use super::*;

    fn pair(key: &str, value: &str) -> KeyValue {
        let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
        KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
    }

    fn record(event_name: &str, attributes: &[(&str, &str)]) -> LogRecord {
        LogRecord {
            time_unix_nano: 7,
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            event_name: event_name.to_owned(),
            attributes: attributes.iter().map(|(key, value)| pair(key, value)).collect(),
            ..LogRecord::default()
        }
    }

    fn name_of(record: LogRecord) -> Option<String> {
        of_record(record).map(|span| span.events[0].name.clone())
    }

    fn received(spans: impl IntoIterator<Item = Span>) -> Vec<Received> {
        let scope_spans = vec![ScopeSpans { spans: spans.into_iter().collect(), ..ScopeSpans::default() }];
        Received::flatten(vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }])
    }

    fn span(id: u8) -> Span {
        Span { trace_id: vec![1; 16], span_id: vec![id; 8], kind: 3, ..Span::default() }
    }

    fn thrown(class: &str) -> Span {
        of_record(record("exception", &[(TYPE, class)])).unwrap()
    }

    #[test]
    fn exceptions_of_a_span_are_told_from_other_records() {
        let timeout = [(TYPE, "ReadTimeout")];
        assert_eq!(name_of(record("exception", &[])).as_deref(), Some("exception"));
        let named = "http.client.request.exception";
        assert_eq!(name_of(record(named, &timeout)).as_deref(), Some(named));
        assert_eq!(name_of(record("", &[(FORMER_NAME, "exception")])).as_deref(), Some("exception"));
        // A logger was told of it: that is no word of the span's own.
        assert_eq!(name_of(record("", &timeout)).as_deref(), Some("log"));
        assert_eq!(name_of(record("order.failed", &timeout)).as_deref(), Some("order.failed"));
        assert_eq!(name_of(record("order.failed", &[("why", "it did")])), None);
        assert_eq!(name_of(record("", &[])), None);
        for (trace_id, span_id) in [(vec![], vec![2; 8]), (vec![1; 16], vec![0; 8]), (vec![1; 9], vec![2; 8])]
        {
            assert_eq!(name_of(LogRecord { trace_id, span_id, ..record("exception", &timeout) }), None);
        }
    }

    #[test]
    fn a_record_without_a_time_has_the_time_when_it_was_seen() {
        let seen = LogRecord { time_unix_nano: 0, observed_time_unix_nano: 9, ..record("exception", &[]) };
        assert_eq!(of_record(seen).unwrap().events[0].time_unix_nano, 9);
    }

    #[test]
    fn events_find_their_spans_wherever_they_stand_and_once() {
        let spans = [thrown("A"), span(2), thrown("A"), thrown("B"), span(3)];
        let attached = attach(received(spans));
        let names = |at: usize| {
            let events = attached[at].span.events.iter();
            events.map(|event| text(&event.attributes, TYPE).unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(attached.len(), 2);
        assert_eq!((names(0), names(1)), (vec!["A".to_owned(), "B".to_owned()], vec![]));
        let own = Span { events: thrown("A").events, ..span(2) };
        assert_eq!(attach(received([own, thrown("A")]))[0].span.events.len(), 1);
        // Its span is not here.
        assert_eq!(attach(received([span(3), thrown("A")])).len(), 1);
        assert_eq!(attach(received([thrown("A")])).len(), 0);
    }

    #[test]
    fn a_span_with_more_events_than_it_may_have_is_told_to_lack_some() {
        let many = (0..200).map(|number| thrown(&number.to_string()));
        let attached = attach(received(many.chain([span(2)])));
        let span = &attached[0].span;
        assert_eq!((span.events.len(), span.dropped_events_count), (MOST_EVENTS, 200 - 128));
    }
}
