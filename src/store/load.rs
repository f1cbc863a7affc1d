//! Reading spans back: the rows of a few traces become spans as they were received.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt as _;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1 as resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use time::Date;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::decode::dictionary::{self, Dictionary, Unpacker};
use crate::model::{Received, SpanId, TraceId};
use crate::semconv::exceptions;

/// A trace and the days its spans may lie in: without them every partition is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceDays {
    /// Which trace.
    pub trace_id: TraceId,
    /// Earliest day.
    pub first_day: Date,
    /// Latest day.
    pub last_day: Date,
}

/// The spans of one trace.
#[derive(Debug)]
pub struct Loaded {
    /// Which trace.
    pub trace_id: TraceId,
    /// Its spans, earliest first, each with the exceptions that came as log records.
    pub spans: Vec<Received>,
    /// There are more than were asked for, or some that cannot be read.
    pub truncated: bool,
}

/// How much may be loaded at once.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Spans of one trace; of a larger one the earliest come.
    pub of_trace: u32,
    /// No further trace begins above so many spans.
    pub spans: usize,
    /// Bytes of spans as they are stored. A trace that does not fit waits, or is cut where it is the first.
    pub bytes: usize,
}

impl Store {
    /// Spans of traces, of each the earliest `most`. Up to `most` times the number of traces come back, so
    /// ask for a few traces at a time. A trace whose days were dropped comes back empty.
    pub async fn load(&self, wanted: &[TraceDays], most: u32) -> Result<Vec<Loaded>, StoreError> {
        self.load_some(wanted, Room { of_trace: most, spans: usize::MAX, bytes: usize::MAX }).await
    }

    /// The same for as many of the first traces as there is room for, one at the least.
    pub async fn load_some(&self, wanted: &[TraceDays], room: Room) -> Result<Vec<Loaded>, StoreError> {
        let ids: Vec<Uuid> = wanted.iter().map(|one| Uuid::from_u128(one.trace_id.0)).collect();
        let first: Vec<Date> = wanted.iter().map(|one| one.first_day).collect();
        let last: Vec<Date> = wanted.iter().map(|one| one.last_day).collect();
        // One more than asked for tells whether there are more.
        let mut rows = sqlx::query_as!(
            Row,
            r#"
            select
                s.trace_id as "trace_id!", s.span_id as "span_id!", s.parent_id, s.start_ns as "start_ns!",
                s.duration_ns as "duration_ns!", s.resource_id as "resource_id!", s.scope_id as "scope_id!",
                s.kind as "kind!", s.status as "status!", s.dictionary as "dictionary!", s.name as "name!",
                s.rest as "rest!", s.content as "content!"
            from unnest($1::uuid[], $2::date[], $3::date[]) as w (trace_id, first_day, last_day)
            cross join lateral (
                select *
                from spans
                where spans.trace_id = w.trace_id and spans.day between w.first_day and w.last_day
                order by spans.start_ns, spans.span_id, spans.content, spans.day
                limit $4
            ) s
            "#,
            &ids,
            &first,
            &last,
            i64::from(room.of_trace) + 1
        )
        .fetch(self.pool());
        let mut taken = Taken::new(&ids, room);
        while let Some(row) = rows.try_next().await? {
            if !taken.take(row)? {
                break;
            }
        }
        drop(rows);
        let emitters = Emitters::load(self, &taken.rows).await?;
        let dictionaries = self.dictionaries(taken.rows.iter().map(|row| row.dictionary)).await?;
        if taken.rows.len() < MANY_ROWS {
            return Ok(taken.decode(&emitters, &dictionaries));
        }
        let decoded = tokio::task::spawn_blocking(move || taken.decode(&emitters, &dictionaries)).await;
        decoded.map_err(|error| StoreError::Invariant(format!("spans were not decoded: {error}")))
    }
}

/// Decoding so many rows would hold up whoever shares the thread.
const MANY_ROWS: usize = 256;
/// What a row takes besides its name and body.
const ROW_BYTES: usize = 128;

/// Rows of traces, in the order in which they were asked for, as far as there is room.
struct Taken {
    traces: Vec<Uuid>,
    room: Room,
    rows: Vec<Row>,
    /// For each trace so far, where its rows end, and whether there are more of it.
    ends: Vec<(usize, bool)>,
    bytes: usize,
}

impl Taken {
    fn new(traces: &[Uuid], room: Room) -> Self {
        Self { traces: traces.to_vec(), room, rows: Vec::new(), ends: Vec::new(), bytes: 0 }
    }

    /// The rows of a trace come one after another, and traces in the order in which they were asked for. False when
    /// nothing more is wanted.
    fn take(&mut self, row: Row) -> Result<bool, StoreError> {
        let begins = self.rows.last().is_none_or(|last| last.trace_id != row.trace_id);
        if begins {
            let behind = &self.traces[self.ends.len()..];
            let skipped = behind.iter().position(|trace| *trace == row.trace_id).ok_or_else(|| {
                StoreError::Invariant(format!("spans of trace {} out of order", row.trace_id))
            })?;
            self.ends.resize(self.ends.len() + skipped, (self.rows.len(), false));
            if self.room.spans <= self.rows.len() || (self.room.bytes <= self.bytes && !self.rows.is_empty())
            {
                self.traces.truncate(self.ends.len());
                return Ok(false);
            }
            self.ends.push((self.rows.len(), false));
        }
        let from = self.ends.len().checked_sub(2).map_or(0, |before| self.ends[before].0);
        // The same row under two days: a redelivery that crossed the edge of the window.
        if !begins && self.rows.last().is_some_and(|last| last.key() == row.key()) {
            return Ok(true);
        }
        if self.rows.len() - from == self.room.of_trace as usize {
            self.end(true);
            return Ok(true);
        }
        self.bytes += ROW_BYTES + row.name.len() + row.rest_length();
        if self.room.bytes < self.bytes && !self.rows.is_empty() {
            if from == 0 {
                self.end(true);
            } else {
                // It comes whole the next time.
                self.rows.truncate(from);
                self.ends.pop();
            }
            self.traces.truncate(self.ends.len());
            return Ok(false);
        }
        self.rows.push(row);
        self.end(false);
        Ok(true)
    }

    fn end(&mut self, truncated: bool) {
        if let Some(end) = self.ends.last_mut() {
            *end = (self.rows.len(), truncated);
        }
    }

    fn decode(mut self, emitters: &Emitters, dictionaries: &HashMap<i16, Arc<Dictionary>>) -> Vec<Loaded> {
        self.ends.resize(self.traces.len(), (self.rows.len(), false));
        let mut unpackers: HashMap<i16, Unpacker<'_>> =
            dictionaries.iter().map(|(id, dictionary)| (*id, dictionary.unpacker())).collect();
        let mut rows = self.rows.into_iter();
        let mut from = 0;
        let mut loaded = Vec::with_capacity(self.traces.len());
        for (trace, (end, truncated)) in self.traces.into_iter().zip(self.ends) {
            let trace_id = TraceId(trace.as_u128());
            let mut one = Loaded { trace_id, spans: Vec::with_capacity(end - from), truncated };
            for row in rows.by_ref().take(end - from) {
                let span_id = SpanId(row.span_id as u64);
                match row.unpack(&mut unpackers).and_then(|row| row.received(emitters)) {
                    Ok(received) => one.spans.push(received),
                    // The trace is then not whole, and others are spared.
                    Err(why) => {
                        tracing::error!(trace = %trace_id, span = %span_id, why, "a stored span cannot be read");
                        one.truncated = true;
                    }
                }
            }
            one.spans = exceptions::attach(one.spans);
            loaded.push(one);
            from = end;
        }
        loaded
    }
}

/// A span as it is stored.
pub(super) struct Row {
    pub(super) trace_id: Uuid,
    pub(super) span_id: i64,
    pub(super) parent_id: Option<i64>,
    pub(super) start_ns: i64,
    pub(super) duration_ns: i64,
    pub(super) resource_id: i64,
    pub(super) scope_id: i32,
    pub(super) kind: i16,
    pub(super) status: i16,
    pub(super) dictionary: i16,
    pub(super) name: String,
    pub(super) rest: Vec<u8>,
    pub(super) content: i32,
}

impl Row {
    fn key(&self) -> (Uuid, i64, i32) {
        (self.trace_id, self.span_id, self.content)
    }

    /// Bytes of its rest, unpacked.
    fn rest_length(&self) -> usize {
        if self.dictionary == 0 { self.rest.len() } else { dictionary::plain_length(&self.rest) }
    }

    fn unpack(mut self, unpackers: &mut HashMap<i16, Unpacker<'_>>) -> Result<Self, String> {
        if self.dictionary != 0 {
            let unpacker = unpackers.get_mut(&self.dictionary);
            let unpacker = unpacker.ok_or_else(|| format!("there is no dictionary {}", self.dictionary))?;
            self.rest = unpacker.unpack(&self.rest).map_err(|error| error.to_string())?.to_vec();
        }
        Ok(self)
    }

    /// Of a row whose rest is plain.
    pub(super) fn received(self, emitters: &Emitters) -> Result<Received, String> {
        let mut span = Span::decode(self.rest.as_slice()).map_err(|error| error.to_string())?;
        span.trace_id = self.trace_id.as_bytes().to_vec();
        span.span_id = self.span_id.to_be_bytes().to_vec();
        if let Some(parent) = self.parent_id {
            span.parent_span_id = parent.to_be_bytes().to_vec();
        }
        span.start_time_unix_nano = self.start_ns as u64;
        span.end_time_unix_nano = (self.start_ns as u64).wrapping_add(self.duration_ns as u64);
        if self.kind != 0 {
            span.kind = i32::from(self.kind);
        }
        if self.status != 0 {
            span.status.get_or_insert_default().code = i32::from(self.status);
        }
        if span.name.is_empty() {
            span.name = self.name;
        }
        Ok(Received {
            resource: emitters.resource(self.resource_id),
            scope: emitters.scope(self.scope_id),
            span,
        })
    }
}

/// Resources and scopes of some rows, each decoded once and shared.
#[derive(Default)]
pub(super) struct Emitters {
    resources: HashMap<i64, Arc<resource::Resource>>,
    scopes: HashMap<i32, Arc<InstrumentationScope>>,
    unknown_resource: Arc<resource::Resource>,
    unknown_scope: Arc<InstrumentationScope>,
}

impl Emitters {
    async fn load(store: &Store, rows: &[Row]) -> Result<Self, StoreError> {
        let undecodable =
            |error| StoreError::Invariant(format!("a stored resource cannot be decoded: {error}"));
        let mut emitters = Self::default();
        let mut resources: Vec<i64> = rows.iter().map(|row| row.resource_id).collect();
        resources.sort_unstable();
        resources.dedup();
        let found = sqlx::query!("select id, body from resources where id = any($1)", &resources);
        for row in found.fetch_all(store.pool()).await? {
            let body = resource::Resource::decode(row.body.as_slice()).map_err(undecodable)?;
            emitters.resources.insert(row.id, Arc::new(body));
        }
        let mut scopes: Vec<i32> = rows.iter().map(|row| row.scope_id).collect();
        scopes.sort_unstable();
        scopes.dedup();
        let found = sqlx::query!("select id, body from scopes where id = any($1)", &scopes);
        for row in found.fetch_all(store.pool()).await? {
            let body = InstrumentationScope::decode(row.body.as_slice()).map_err(undecodable)?;
            emitters.scopes.insert(row.id, Arc::new(body));
        }
        Ok(emitters)
    }

    fn resource(&self, id: i64) -> Arc<resource::Resource> {
        Arc::clone(self.resources.get(&id).unwrap_or(&self.unknown_resource))
    }

    fn scope(&self, id: i32) -> Arc<InstrumentationScope> {
        Arc::clone(self.scopes.get(&id).unwrap_or(&self.unknown_scope))
    }
}
