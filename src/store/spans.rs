//! Spans as rows: what is written of an export.
//!
//! A row has typed columns for what SQL asks and the other fields of OTLP as protobuf; together they give back the
//! span as it was received (`load.rs`), the same ones whichever way it came. Attributes are not looked at here.

use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span, Status};
use prost::Message;
use time::Date;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::text;
use crate::decode::dictionary::Dictionary;
use crate::decode::plain::Plain;
use crate::model::{SpanId, TraceId};
use crate::semconv;

const NANOS_PER_DAY: i64 = 86_400_000_000_000;
/// Julian day of 1970-01-01.
const EPOCH: i32 = 2_440_588;
/// Room for so many spans is made at once, or for as many as there are.
const LEAST_ADDED: usize = 16;

/// The days that spans may be kept under: partitions exist for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    first: Date,
    today: Date,
    last: Date,
}

/// Rows of one export, ready to be written. Spans are of the resource and the scope that came before them.
#[derive(Debug)]
pub struct Batch {
    days: Days,
    resource_id: i64,
    scope_id: i32,
    spans: Vec<Fixed>,
    /// Names of all spans, one behind the other; likewise what remains of them.
    names: String,
    rests: Vec<u8>,
    pub(super) resources: Vec<Emitter<i64>>,
    pub(super) scopes: Vec<Emitter<i32>>,
}

/// What of a row has a fixed length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixed {
    pub(super) trace_id: Uuid,
    pub(super) span_id: i64,
    pub(super) parent_id: Option<i64>,
    pub(super) start_ns: i64,
    pub(super) duration_ns: i64,
    pub(super) resource_id: i64,
    pub(super) day: Date,
    pub(super) content: i32,
    pub(super) scope_id: i32,
    pub(super) kind: i16,
    pub(super) status: i16,
    pub(super) dictionary: i16,
    /// Where its name and its rest end, in those of its batch.
    name_end: usize,
    rest_end: usize,
}

/// A row of `spans`.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanRow<'a> {
    pub(super) fixed: &'a Fixed,
    pub(super) name: &'a str,
    pub(super) rest: &'a [u8],
}

/// A resource or a scope. Its id is a hash of its body, so that every replica gives it the same.
#[derive(Clone, Debug)]
pub(super) struct Emitter<Id> {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) body: Vec<u8>,
}

impl Days {
    /// The window for spans that arrive `today`.
    pub fn new(today: Date, retention: Duration) -> Self {
        let kept = i64::try_from(retention.as_secs().div_ceil(86_400)).unwrap_or(i64::MAX).clamp(1, 3_650);
        let first = today.checked_sub(time::Duration::days(kept)).unwrap_or(Date::MIN);
        Self { first, today, last: today.next_day().unwrap_or(today) }
    }

    /// Earliest day that is kept.
    pub fn first(&self) -> Date {
        self.first
    }

    /// Latest day that a span may be kept under.
    pub fn last(&self) -> Date {
        self.last
    }

    /// The day of a start that lies in the window, else the day of arrival: no clock can make a partition.
    fn of(&self, start_ns: i64) -> Date {
        let days = i32::try_from(start_ns.div_euclid(NANOS_PER_DAY)).unwrap_or(i32::MAX);
        let start = Date::from_julian_day(days.saturating_add(EPOCH)).unwrap_or(Date::MAX);
        if self.first <= start && start <= self.last { start } else { self.today }
    }
}

impl Batch {
    /// Holds nothing yet.
    pub fn new(days: Days) -> Self {
        Self {
            days,
            resource_id: 0,
            scope_id: 0,
            spans: Vec::new(),
            names: String::new(),
            rests: Vec::new(),
            resources: Vec::new(),
            scopes: Vec::new(),
        }
    }

    /// Number of spans.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Holds no span.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// About how much memory it holds.
    pub fn bytes(&self) -> usize {
        let emitters: usize = self.resources.iter().map(|one| one.body.len()).sum::<usize>()
            + self.scopes.iter().map(|one| one.body.len()).sum::<usize>();
        self.names.len() + self.rests.len() + emitters + self.len() * size_of::<Fixed>()
    }

    /// The trace of each span.
    pub fn traces(&self) -> impl Iterator<Item = TraceId> {
        self.spans.iter().map(|fixed| TraceId(fixed.trace_id.as_u128()))
    }

    /// Memory that one more span will take beside its name and attributes: none, or enough for many.
    pub fn growth(&self) -> usize {
        if self.spans.len() < self.spans.capacity() { 0 } else { self.added() * size_of::<Fixed>() }
    }

    fn added(&self) -> usize {
        self.spans.len().max(LEAST_ADDED)
    }

    /// The spans that follow are of this resource.
    pub fn resource(&mut self, sent: &Resource) {
        let emitter = resource_of(sent);
        self.resource_id = emitter.id;
        self.resources.push(emitter);
    }

    /// The spans that follow are of this scope.
    pub fn scope(&mut self, sent: &InstrumentationScope) {
        let emitter = scope_of(sent);
        self.scope_id = emitter.id;
        self.scopes.push(emitter);
    }

    /// Adds a span that is stored as it came.
    pub fn plain(&mut self, span: &Plain<'_>) {
        let columns = Columns {
            trace: span.trace_id,
            id: span.span_id,
            parent: span.parent,
            start: span.start,
            end: span.end,
            kind: span.kind,
            status: span.status,
            name: span.name,
        };
        self.add(&columns, |rest| span.write_rest(rest));
    }

    /// Adds a span: what has a column is taken out of it, and what remains is `rest`. One without a valid id is left
    /// out: the door has rejected and counted it.
    pub fn span(&mut self, mut span: Span) {
        let (Some(trace), Some(id)) =
            (TraceId::from_bytes(&span.trace_id), SpanId::from_bytes(&span.span_id))
        else {
            return;
        };
        span.trace_id = Vec::new();
        span.span_id = Vec::new();
        let parent = SpanId::from_bytes(&span.parent_span_id);
        if parent.is_some() {
            span.parent_span_id = Vec::new();
        }
        let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
        (span.start_time_unix_nano, span.end_time_unix_nano) = (0, 0);
        let kind = take_small(&mut span.kind);
        let status = take_status(&mut span.status);
        let name = &take_name(&mut span.name);
        self.add(&Columns { trace, id, parent, start, end, kind, status, name }, |rest| {
            rest.reserve(span.encoded_len());
            span.encode_raw(rest);
        });
    }

    fn add(&mut self, columns: &Columns<'_>, write_rest: impl FnOnce(&mut Vec<u8>)) {
        let Columns { trace, id, parent, start, end, kind, status, name } = *columns;
        let parent_id = parent.map(|parent| parent.0 as i64);
        // The wire's numbers are unsigned; the same bits as signed ones keep every value, the oddest too.
        let (start_ns, duration_ns) = (start as i64, end.wrapping_sub(start) as i64);
        // What is hashed stands together for a moment.
        let begin = self.rests.len();
        for number in [start_ns, duration_ns, parent_id.unwrap_or(0), i64::from(kind), i64::from(status)] {
            self.rests.extend_from_slice(&number.to_le_bytes());
        }
        self.rests.extend_from_slice(&name.len().to_le_bytes());
        self.rests.extend_from_slice(name.as_bytes());
        let columns_end = self.rests.len();
        write_rest(&mut self.rests);
        let content = xxh3_64(&self.rests[begin..]) as i32;
        self.rests.drain(begin..columns_end);
        self.names.push_str(name);
        if self.spans.len() == self.spans.capacity() {
            self.spans.reserve_exact(self.added());
        }
        self.spans.push(Fixed {
            trace_id: Uuid::from_u128(trace.0),
            span_id: id.0 as i64,
            parent_id,
            start_ns,
            duration_ns,
            resource_id: self.resource_id,
            day: self.days.of(start_ns),
            content,
            scope_id: self.scope_id,
            kind,
            status,
            dictionary: 0,
            name_end: self.names.len(),
            rest_end: self.rests.len(),
        });
    }

    /// Leaves out the spans for which `keep`, given the trace and the name, says no.
    pub fn retain(&mut self, mut keep: impl FnMut(TraceId, &str) -> bool) {
        let (mut spans, mut names, mut rests) = (Vec::with_capacity(self.len()), String::new(), Vec::new());
        for SpanRow { fixed, name, rest } in self.rows() {
            if keep(TraceId(fixed.trace_id.as_u128()), name) {
                names.push_str(name);
                rests.extend_from_slice(rest);
                spans.push(Fixed { name_end: names.len(), rest_end: rests.len(), ..*fixed });
            }
        }
        (self.spans, self.names, self.rests) = (spans, names, rests);
    }

    /// What is stored of each span beside its columns.
    pub fn rests(&self) -> impl Iterator<Item = &[u8]> {
        self.rows().map(|row| row.rest)
    }

    /// With the rests packed, where that makes them shorter.
    pub(super) fn packed(mut self, id: i16, dictionary: &Dictionary) -> Self {
        let plain = std::mem::take(&mut self.rests);
        let mut packer = dictionary.packer();
        let mut start = 0;
        for span in &mut self.spans {
            let rest = &plain[std::mem::replace(&mut start, span.rest_end)..span.rest_end];
            match packer.pack(rest) {
                Some(packed) => {
                    self.rests.extend_from_slice(packed);
                    span.dictionary = id;
                }
                None => self.rests.extend_from_slice(rest),
            }
            span.rest_end = self.rests.len();
        }
        self
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = SpanRow<'_>> {
        let (mut name, mut rest) = (0, 0);
        self.spans.iter().map(move |fixed| SpanRow {
            fixed,
            name: &self.names[std::mem::replace(&mut name, fixed.name_end)..fixed.name_end],
            rest: &self.rests[std::mem::replace(&mut rest, fixed.rest_end)..fixed.rest_end],
        })
    }
}

/// What of a span has a column.
#[derive(Clone, Copy)]
struct Columns<'a> {
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    start: u64,
    end: u64,
    kind: i16,
    status: i16,
    name: &'a str,
}

/// Makes rows of an export.
///
/// Budget: 1.5 µs a span.
pub fn encode(exports: Vec<ResourceSpans>, days: &Days) -> Batch {
    let mut batch = Batch::new(*days);
    for of_resource in exports {
        batch.resource(&of_resource.resource.unwrap_or_default());
        for of_scope in of_resource.scope_spans {
            batch.scope(&of_scope.scope.unwrap_or_default());
            of_scope.spans.into_iter().for_each(|span| batch.span(span));
        }
    }
    batch
}

fn resource_of(sent: &Resource) -> Emitter<i64> {
    let body = sent.encode_to_vec();
    Emitter { id: hash(&body), name: text(semconv::service(sent)), body }
}

fn scope_of(sent: &InstrumentationScope) -> Emitter<i32> {
    let body = sent.encode_to_vec();
    Emitter { id: hash(&body) as i32, name: text(sent.name.clone()), body }
}

/// Resources speak for spans of others, so their ids must not be forgeable: a cryptographic hash.
fn hash(body: &[u8]) -> i64 {
    let hash = blake3::hash(body);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    i64::from_be_bytes(first)
}

/// Enumerations are open: a number that has no room in its column stays where it was.
fn take_small(number: &mut i32) -> i16 {
    match i16::try_from(*number) {
        Ok(small) => {
            *number = 0;
            small
        }
        Err(_) => 0,
    }
}

fn take_status(status: &mut Option<Status>) -> i16 {
    let Some(sent) = status else { return 0 };
    let code = take_small(&mut sent.code);
    if code != 0 && sent.message.is_empty() {
        *status = None;
    }
    code
}

/// PostgreSQL's text has no NUL; `rest` keeps a name that had one.
fn take_name(name: &mut String) -> String {
    if name.contains('\0') { text(name.clone()) } else { std::mem::take(name) }
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::super::load::{Emitters, Row};
    use super::*;

    fn days() -> Days {
        Days::new(date!(2026 - 05 - 10), Duration::from_hours(7 * 24))
    }

    fn export(span: Span) -> Vec<ResourceSpans> {
        use opentelemetry_proto::tonic::trace::v1::ScopeSpans;
        vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }]
    }

    fn ids(span: Span) -> Span {
        Span { trace_id: vec![1; 16], span_id: vec![2; 8], ..span }
    }

    /// Encodes a span and reads its row again.
    fn round_trip(span: Span) -> Span {
        let batch = encode(export(span), &days());
        let SpanRow { fixed, name, rest } = batch.rows().next().unwrap();
        let row = Row {
            trace_id: fixed.trace_id,
            span_id: fixed.span_id,
            parent_id: fixed.parent_id,
            start_ns: fixed.start_ns,
            duration_ns: fixed.duration_ns,
            resource_id: fixed.resource_id,
            scope_id: fixed.scope_id,
            kind: fixed.kind,
            status: fixed.status,
            dictionary: fixed.dictionary,
            name: name.to_owned(),
            rest: rest.to_vec(),
            content: fixed.content,
        };
        assert!(!row.name.contains('\0'));
        row.received(&Emitters::default()).unwrap().span
    }

    #[test]
    fn a_row_gives_back_the_span_whatever_its_values() {
        let status = |code, message: &str| Some(Status { code, message: message.to_owned() });
        let spans = [
            Span { name: "GET /cart".into(), kind: 3, status: status(2, ""), ..Span::default() },
            Span { name: "with\0nul".into(), parent_span_id: vec![7; 8], ..Span::default() },
            Span { name: "\0".into(), parent_span_id: vec![0; 8], status: status(0, ""), ..Span::default() },
            Span { kind: i32::MAX, status: status(i32::MIN, "broken"), flags: 257, ..Span::default() },
            Span { kind: -1, status: status(70_000, ""), trace_state: "a=b".into(), ..Span::default() },
            Span { start_time_unix_nano: u64::MAX, end_time_unix_nano: 1, ..Span::default() },
            Span {
                start_time_unix_nano: 9,
                end_time_unix_nano: 3,
                status: status(1, "fine"),
                ..Span::default()
            },
            Span { parent_span_id: vec![1, 2], dropped_links_count: 4, ..Span::default() },
        ];
        for span in spans {
            let span = ids(span);
            assert_eq!(round_trip(span.clone()), span);
        }
    }

    #[test]
    fn every_field_makes_another_content() {
        let base = ids(Span { name: "a".into(), start_time_unix_nano: 5, ..Span::default() });
        let content = |span: &Span| encode(export(span.clone()), &days()).spans[0].content;
        let others = [
            Span { name: "b".into(), ..base.clone() },
            Span { kind: 1, ..base.clone() },
            Span { end_time_unix_nano: 9, ..base.clone() },
            Span { parent_span_id: vec![3; 8], ..base.clone() },
            Span { dropped_events_count: 1, ..base.clone() },
            Span { status: Some(Status { code: 1, message: String::new() }), ..base.clone() },
        ];
        assert_eq!(content(&base), content(&base.clone()));
        for other in others {
            assert_ne!(content(&base), content(&other), "{other:?}");
        }
    }

    #[test]
    fn only_days_of_the_window_have_rows() {
        let days = days();
        let at = |date: Date| i64::from(date.to_julian_day() - EPOCH) * NANOS_PER_DAY;
        assert_eq!(days.of(at(date!(2026 - 05 - 10))), date!(2026 - 05 - 10));
        assert_eq!(days.of(at(date!(2026 - 05 - 03))), date!(2026 - 05 - 03));
        assert_eq!(days.of(at(date!(2026 - 05 - 03)) - 1), date!(2026 - 05 - 10));
        assert_eq!(days.of(at(date!(2026 - 05 - 12)) - 1), date!(2026 - 05 - 11));
        assert_eq!(days.of(at(date!(2026 - 05 - 12))), date!(2026 - 05 - 10));
        for odd in [0, -1, i64::MIN, i64::MAX] {
            assert_eq!(days.of(odd), date!(2026 - 05 - 10));
        }
    }

    #[test]
    fn a_span_without_an_id_makes_no_row() {
        assert!(encode(export(Span::default()), &days()).is_empty());
        assert!(encode(export(Span { span_id: vec![0; 8], ..ids(Span::default()) }), &days()).is_empty());
    }
}
