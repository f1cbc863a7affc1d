//! The rows of a trace: removed and written anew, all under one day.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::PgConnection;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::super::findings::{confidence_rank, severity_rank};
use super::super::text;
use super::Mine;
use crate::findings::{Call, Evidence, Judged, Judgement, Unit};
use crate::store::Claimed;

/// Longest time that counts as lost in one occurrence: clocks lie, and sums must hold.
const MOST_LOST: Duration = Duration::from_hours(24);

/// An occurrence as the numbers of its finding see it.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) fingerprint: i64,
    pub(super) trace_id: Uuid,
    pub(super) seen_at: OffsetDateTime,
    pub(super) confidence: i16,
    pub(super) time_ns: i64,
    pub(super) counted: bool,
}

/// What an earlier look left to keep.
pub(super) struct Before {
    pub(super) received_at: OffsetDateTime,
    pub(super) looks: i32,
}

/// Removes what earlier looks wrote of these traces: what to keep of it, by trace, and the occurrences that counted.
pub(super) async fn remove(
    connection: &mut PgConnection,
    standing: &[&(Claimed, Judgement)],
) -> Result<(HashMap<u128, Before>, Vec<Tally>), sqlx::Error> {
    let ids: Vec<Uuid> = standing.iter().map(|(claimed, _)| Uuid::from_u128(claimed.trace_id.0)).collect();
    // The days of an earlier look lie within those of the claim, which asked `traces`.
    let first = standing.iter().map(|(claimed, _)| claimed.first_day).min();
    let last = standing.iter().map(|(claimed, _)| claimed.last_day).max();
    let mut counted = sqlx::query_as!(
        Tally,
        r#"
        delete from occurrences
        where trace_id = any($1) and day between $2 and $3
        returning fingerprint, trace_id, seen_at, confidence, time_ns, counted
        "#,
        &ids,
        first,
        last
    )
    .fetch_all(&mut *connection)
    .await?;
    counted.retain(|one| one.counted);
    sqlx::query!("delete from units where trace_id = any($1) and day between $2 and $3", &ids, first, last)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from calls where trace_id = any($1) and day between $2 and $3", &ids, first, last)
        .execute(&mut *connection)
        .await?;
    let removed = sqlx::query!(
        r#"
        delete from traces
        where trace_id = any($1) and day between $2 and $3
        returning trace_id, received_at, looks
        "#,
        &ids,
        first,
        last
    );
    let rows = removed.fetch_all(&mut *connection).await?;
    let before = |received_at, looks| Before { received_at, looks };
    let kept = rows.into_iter().map(|row| (row.trace_id.as_u128(), before(row.received_at, row.looks)));
    Ok((kept.collect(), counted))
}

/// Writes what this look saw; the occurrences that count come back.
pub(super) async fn insert(
    connection: &mut PgConnection,
    mine: &[Mine<'_>],
) -> Result<Vec<Tally>, sqlx::Error> {
    insert_traces(connection, mine).await?;
    insert_units(connection, mine).await?;
    insert_calls(connection, mine).await?;
    let mut counted = insert_occurrences(connection, mine).await?;
    counted.retain(|one| one.counted);
    Ok(counted)
}

async fn insert_traces(connection: &mut PgConnection, mine: &[Mine<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into traces (
            day, trace_id, first_day, last_day, start_ns, duration_ns, received_at, evaluated_at, spans, services,
            errors, occurrences, looks, complete, environment, service, operation, defects
        )
        select
            w.first_day, w.trace_id, w.first_day, w.last_day, w.start_ns, w.duration_ns, w.received_at, now(),
            w.spans, w.services, w.errors, w.occurrences, w.looks, w.complete, w.environment, w.service,
            w.operation, array(select jsonb_array_elements_text(w.defects::jsonb))
        from unnest(
            $1::uuid[], $2::date[], $3::date[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::int[], $8::int[],
            $9::int[], $10::int[], $11::int[], $12::boolean[], $13::text[], $14::text[], $15::text[], $16::text[]
        ) as w (
            trace_id, first_day, last_day, start_ns, duration_ns, received_at, spans, services, errors, occurrences,
            looks, complete, environment, service, operation, defects
        )
        "#,
        &column(mine, trace_id),
        &column(mine, |one| one.claimed.first_day),
        &column(mine, |one| one.claimed.last_day),
        &column(mine, |one| one.judgement.summary.start_ns),
        &column(mine, |one| one.judgement.summary.duration_ns),
        &column(mine, |one| one.received_at),
        &column(mine, |one| number(one.judgement.summary.spans)),
        &column(mine, |one| number(one.judgement.summary.services)),
        &column(mine, |one| number(one.judgement.summary.errors)),
        &column(mine, |one| one.judgement.occurrences.iter().filter(|found| one.counts(found)).count() as i32),
        &column(mine, |one| one.looks),
        &column(mine, |one| one.judgement.summary.complete),
        &column(mine, |one| text(one.judgement.summary.environment.clone())),
        &column(mine, |one| text(one.judgement.summary.service.clone())),
        &column(mine, |one| text(one.judgement.summary.operation.clone())),
        &column(mine, |one| list(&one.judgement.summary.defects))
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_units(connection: &mut PgConnection, mine: &[Mine<'_>]) -> Result<(), sqlx::Error> {
    let units: Vec<(&Mine, &Unit)> =
        mine.iter().flat_map(|one| one.judgement.units.iter().map(move |unit| (one, unit))).collect();
    sqlx::query!(
        r#"
        insert into units (
            day, trace_id, span_id, received_at, duration_ns, root, orphan, kind, outcome, environment, service,
            operation, instance, version
        )
        select *
        from unnest(
            $1::date[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::boolean[], $7::boolean[],
            $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[]
        )
        "#,
        &column(&units, |(one, _)| day(one)),
        &column(&units, |(one, _)| trace_id(one)),
        &column(&units, |(_, unit)| unit.span_id.0 as i64),
        &column(&units, |(one, _)| one.received_at),
        &column(&units, |(_, unit)| unit.duration_ns),
        &column(&units, |(_, unit)| unit.root),
        &column(&units, |(_, unit)| unit.orphan),
        &column(&units, |(_, unit)| unit.kind.to_owned()),
        &column(&units, |(_, unit)| unit.outcome.id().to_owned()),
        &column(&units, |(_, unit)| text(unit.environment.clone())),
        &column(&units, |(_, unit)| text(unit.service.clone())),
        &column(&units, |(_, unit)| text(unit.operation.clone())),
        &column(&units, |(_, unit)| unit.instance.clone().map(text)) as &[Option<String>],
        &column(&units, |(_, unit)| unit.version.clone().map(text)) as &[Option<String>]
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_calls(connection: &mut PgConnection, mine: &[Mine<'_>]) -> Result<(), sqlx::Error> {
    let calls: Vec<(&Mine, &Call)> =
        mine.iter().flat_map(|one| one.judgement.calls.iter().map(move |call| (one, call))).collect();
    sqlx::query!(
        r#"
        insert into calls (
            day, trace_id, span_id, unit_span_id, received_at, duration_ns, server_duration_ns, attempts, role, class,
            outcome, effect, environment, caller, callee, operation, callee_instance, code
        )
        select *
        from unnest(
            $1::date[], $2::uuid[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::bigint[], $7::bigint[],
            $8::int[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
            $16::text[], $17::text[], $18::text[]
        )
        "#,
        &column(&calls, |(one, _)| day(one)),
        &column(&calls, |(one, _)| trace_id(one)),
        &column(&calls, |(_, call)| call.span_id.0 as i64),
        &column(&calls, |(_, call)| call.unit_span_id.0 as i64),
        &column(&calls, |(one, _)| one.received_at),
        &column(&calls, |(_, call)| call.duration_ns),
        &column(&calls, |(_, call)| call.server_duration_ns) as &[Option<i64>],
        &column(&calls, |(_, call)| number(call.attempts)),
        &column(&calls, |(_, call)| call.role.id().to_owned()),
        &column(&calls, |(_, call)| call.class.id().to_owned()),
        &column(&calls, |(_, call)| call.outcome.id().to_owned()),
        &column(&calls, |(_, call)| call.effect.id().to_owned()),
        &column(&calls, |(_, call)| text(call.environment.clone())),
        &column(&calls, |(_, call)| text(call.caller.clone())),
        &column(&calls, |(_, call)| text(call.callee.clone())),
        &column(&calls, |(_, call)| text(call.operation.clone())),
        &column(&calls, |(_, call)| call.callee_instance.clone().map(text)) as &[Option<String>],
        &column(&calls, |(_, call)| call.code.clone().map(text)) as &[Option<String>]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Low and absorbed ones are kept as well; they are not counted. The same finding twice at one span is one row.
async fn insert_occurrences(
    connection: &mut PgConnection,
    mine: &[Mine<'_>],
) -> Result<Vec<Tally>, sqlx::Error> {
    let found: Vec<(&Mine, &Judged)> =
        mine.iter().flat_map(|one| one.judgement.occurrences.iter().map(move |found| (one, found))).collect();
    sqlx::query_as!(
        Tally,
        r#"
        insert into occurrences (
            day, trace_id, fingerprint, span_id, seen_at, absorbed_by, time_ns, bytes, calls, unknown_outcomes,
            duplicate_effects, exposed_calls, severity, confidence, counted, rule, version, why, evidence,
            not_visible, drawing
        )
        select
            w.day, w.trace_id, w.fingerprint, w.span_id, w.seen_at, w.absorbed_by, w.time_ns, w.bytes, w.calls,
            w.unknown_outcomes, w.duplicate_effects, w.exposed_calls, w.severity, w.confidence, w.counted, w.rule,
            w.version, w.why, w.evidence::jsonb,
            array(select jsonb_array_elements_text(w.not_visible::jsonb)), w.drawing
        from unnest(
            $1::date[], $2::uuid[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::bigint[], $7::bigint[],
            $8::bigint[], $9::int[], $10::int[], $11::int[], $12::int[], $13::smallint[], $14::smallint[],
            $15::boolean[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[]
        ) as w (
            day, trace_id, fingerprint, span_id, seen_at, absorbed_by, time_ns, bytes, calls, unknown_outcomes,
            duplicate_effects, exposed_calls, severity, confidence, counted, rule, version, why, evidence,
            not_visible, drawing
        )
        on conflict do nothing
        returning fingerprint, trace_id, seen_at, confidence, time_ns, counted
        "#,
        &column(&found, |(one, _)| day(one)),
        &column(&found, |(one, _)| trace_id(one)),
        &column(&found, |(_, found)| found.fingerprint.0 as i64),
        &column(&found, |(_, found)| found.span_id.0 as i64),
        &column(&found, |(one, _)| one.received_at),
        &column(&found, |(_, found)| found.absorbed_by.map(|by| by.0 as i64)) as &[Option<i64>],
        &column(&found, |(_, found)| nanos(found.cost.time)),
        &column(&found, |(_, found)| i64::try_from(found.cost.bytes).unwrap_or(i64::MAX)),
        &column(&found, |(_, found)| number(found.cost.calls)),
        &column(&found, |(_, found)| number(found.cost.unknown_outcomes)),
        &column(&found, |(_, found)| number(found.cost.duplicate_effects)),
        &column(&found, |(_, found)| number(found.cost.exposed_calls)),
        &column(&found, |(_, found)| severity_rank(found.severity)),
        &column(&found, |(_, found)| confidence_rank(found.confidence)),
        &column(&found, |(one, found)| one.counts(found)),
        &column(&found, |(_, found)| found.rule.to_owned()),
        &column(&found, |(_, found)| found.version.clone().map(text)) as &[Option<String>],
        &column(&found, |(_, found)| text(found.why.clone())),
        &column(&found, |(_, found)| evidence(&found.evidence)),
        &column(&found, |(_, found)| list(&found.not_visible)),
        &column(&found, |(_, found)| text(found.drawing.clone()))
    )
    .fetch_all(connection)
    .await
}

pub(super) fn column<Row, Value>(rows: &[Row], of: impl Fn(&Row) -> Value) -> Vec<Value> {
    rows.iter().map(of).collect()
}

fn trace_id(one: &Mine) -> Uuid {
    Uuid::from_u128(one.claimed.trace_id.0)
}

fn day(one: &Mine) -> Date {
    one.claimed.first_day
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn nanos(time: Duration) -> i64 {
    time.min(MOST_LOST).as_nanos() as i64
}

/// A list inside a row: `unnest` flattens arrays of arrays, so it goes as JSON.
fn list(lines: &[String]) -> String {
    let clean: Vec<String> = lines.iter().cloned().map(text).collect();
    serde_json::to_string(&clean).expect("strings are JSON")
}

fn evidence(spans: &[Evidence]) -> String {
    let clean: Vec<Evidence> = spans
        .iter()
        .map(|one| Evidence {
            span_id: text(one.span_id.clone()),
            role: text(one.role.clone()),
            service: text(one.service.clone()),
            operation: text(one.operation.clone()),
            note: text(one.note.clone()),
            ..*one
        })
        .collect();
    serde_json::to_string(&clean).expect("evidence is JSON")
}
