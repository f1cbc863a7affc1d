//! The findings that some traces touch, derived anew from what is stored of them.
//!
//! A finding's row is locked before its numbers are read, so of two transactions that touch it the second sees what
//! the first wrote. Rows are locked in the order of their fingerprints.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::super::error::StoreError;
use super::super::findings::{confidence_rank, severity, severity_rank};
use super::super::pending::interval;
use super::super::text;
use super::rows::{Tally, column};
use super::told::{Moved, put_into_outbox};
use super::{Mine, Policy, Tell, TryError, hours};
use crate::findings::Judged;
use crate::findings::life::{self, Counts, Event, Observed, Status};
use crate::store::suppressions::suppress;

/// Occurrences that medians, severity, confidence and the gate are read from: the newest so many.
const SAMPLE: i64 = 1_000;

/// One finding as it was and as it is now.
struct Derived {
    sums: Sums,
    recent: Recent,
    settled_severity: i16,
    before: Status,
    status: Status,
    event: Option<Event>,
}

/// All that is on record of it.
struct Sums {
    fingerprint: i64,
    status: String,
    severity: i16,
    told_severity: Option<i16>,
    resolved_at: Option<OffsetDateTime>,
    occurrences: i64,
    traces: i64,
    high_traces: i64,
    confirmed_traces: i64,
    first_seen: OffsetDateTime,
    last_seen: OffsetDateTime,
    example_day: Option<Date>,
    example_trace_id: Option<Uuid>,
    example_span_id: Option<i64>,
    now: OffsetDateTime,
}

/// What its newest occurrences show, and how many traces do.
struct Recent {
    severity: i16,
    confidence: i16,
    time_ns: i64,
    calls: i64,
    bytes: i64,
    unknown_outcomes: i64,
    duplicate_effects: i64,
    exposed_calls: i64,
    medium: i64,
    high: i64,
    confirmed: i64,
}

/// Derives the findings that were touched, moves their status, and puts changes into the outbox.
pub(super) async fn derive(
    connection: &mut PgConnection,
    mine: &[Mine<'_>],
    before: &[Tally],
    after: &[Tally],
    policy: &Policy<'_>,
    tell: Tell<'_>,
) -> Result<(), TryError> {
    let ids: BTreeSet<i64> = before.iter().chain(after).map(|one| one.fingerprint).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let new = make_findings(connection, mine).await?;
    suppress_new(connection, mine, &new, policy).await?;
    let ids: Vec<i64> = ids.into_iter().collect();
    if lock(connection, &ids).await? < after.iter().map(|one| one.fingerprint).collect::<BTreeSet<_>>().len()
    {
        // One of them was forgotten in this very moment. Nothing was: the next try makes it anew.
        return Err(TryError::Again);
    }
    // What an earlier look said of a finding that was forgotten since is forgotten with it.
    let before: Vec<Tally> = before.iter().filter(|one| !new.contains(&one.fingerprint)).cloned().collect();
    let took_back = hours::replace(connection, &before, after).await?;
    let sums = read_sums(connection, &ids).await?;
    let recent = read_recent(connection, &ids, policy).await?;
    let settled = read_settled(connection, &ids).await?;
    let derived = sums
        .into_iter()
        .zip(recent)
        .zip(settled)
        .map(|((sums, recent), settled)| Derived::new(sums, recent, settled, &took_back, policy))
        .collect::<Result<Vec<_>, StoreError>>()?;
    update_findings(connection, &derived).await?;
    for one in derived {
        if let Some(event) = one.event {
            // What people know, not what the last look but one derived.
            let known = one.sums.told_severity.unwrap_or(one.sums.severity);
            let was = (one.before, severity(known)?);
            let moved = Moved {
                fingerprint: one.sums.fingerprint,
                event,
                at: one.sums.now,
                previous: (!new.contains(&one.sums.fingerprint)).then_some(was),
            };
            put_into_outbox(connection, moved, tell).await?;
        }
    }
    Ok(())
}

/// Locks the rows of findings, as many as there are.
async fn lock(connection: &mut PgConnection, ids: &[i64]) -> Result<usize, sqlx::Error> {
    let locked = sqlx::query!(
        "select fingerprint from findings where fingerprint = any($1) order by fingerprint for update",
        ids
    );
    Ok(locked.fetch_all(connection).await?.len())
}

/// Makes rows for findings that are seen for the first time; which ones comes back.
async fn make_findings(
    connection: &mut PgConnection,
    mine: &[Mine<'_>],
) -> Result<BTreeSet<i64>, sqlx::Error> {
    let mut seen: BTreeMap<i64, (&Judged, OffsetDateTime)> = BTreeMap::new();
    for one in mine {
        for found in one.judgement.occurrences.iter().filter(|found| one.counts(found)) {
            seen.entry(found.fingerprint.0 as i64).or_insert((found, one.received_at));
        }
    }
    let of = |value: fn(&Judged) -> &str| -> Vec<String> {
        seen.values().map(|(found, _)| text(value(found).to_owned())).collect()
    };
    let callees: Vec<Option<String>> =
        seen.values().map(|(found, _)| found.callee.clone().map(text)).collect();
    let severities: Vec<i16> = seen.values().map(|(found, _)| severity_rank(found.severity)).collect();
    let confidences: Vec<i16> = seen.values().map(|(found, _)| confidence_rank(found.confidence)).collect();
    let times: Vec<OffsetDateTime> = seen.values().map(|(_, seen_at)| *seen_at).collect();
    let made = sqlx::query_scalar!(
        r#"
        insert into findings (
            fingerprint, rule, fallacy, variant, environment, service, operation, callee, headline, severity,
            confidence, first_seen, last_seen, status, transition
        )
        select
            w.fingerprint, w.rule, w.fallacy, w.variant, w.environment, w.service, w.operation, w.callee, w.headline,
            w.severity, w.confidence, w.seen_at, w.seen_at, 'candidate',
            -- One that was forgotten and comes back goes on counting, so that no two changes bear one number.
            coalesce((select max(d.transition) from deliveries d where d.fingerprint = w.fingerprint), 0)
        from unnest(
            $1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::smallint[], $11::smallint[], $12::timestamptz[]
        ) as w (
            fingerprint, rule, fallacy, variant, environment, service, operation, callee, headline, severity,
            confidence, seen_at
        )
        order by w.fingerprint
        on conflict do nothing
        returning fingerprint
        "#,
        &seen.keys().copied().collect::<Vec<_>>(),
        &of(|found| found.rule),
        &of(|found| found.fallacy.id()),
        &of(|found| found.variant),
        &of(|found| &found.environment),
        &of(|found| &found.service),
        &of(|found| &found.operation),
        &callees as &[Option<String>],
        &of(|found| &found.headline),
        &severities,
        &confidences,
        &times
    )
    .fetch_all(connection)
    .await?;
    Ok(made.into_iter().collect())
}

/// Mutes what was just seen for the first time and is suppressed, before it can open.
async fn suppress_new(
    connection: &mut PgConnection,
    mine: &[Mine<'_>],
    new: &BTreeSet<i64>,
    policy: &Policy<'_>,
) -> Result<(), TryError> {
    if policy.suppressions.is_empty() || new.is_empty() {
        return Ok(());
    }
    let occurrences = mine.iter().flat_map(|one| &one.judgement.occurrences);
    let claims: BTreeMap<i64, &Judged> = occurrences
        .map(|found| (found.fingerprint.0.cast_signed(), found))
        .filter(|(fingerprint, _)| new.contains(fingerprint))
        .collect();
    for (fingerprint, found) in claims {
        let place = [found.rule, &found.service, &found.operation];
        suppress(&mut *connection, fingerprint, place, policy.suppressions).await?;
    }
    Ok(())
}

/// Sums the hours. Where none is left, the times that were known stay.
async fn read_sums(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<Sums>, sqlx::Error> {
    sqlx::query_as!(
        Sums,
        r#"
        select
            f.fingerprint,
            f.status,
            f.severity,
            f.told_severity,
            f.resolved_at,
            coalesce(h.occurrences, 0)::bigint as "occurrences!",
            coalesce(h.traces, 0)::bigint as "traces!",
            coalesce(h.high_traces, 0)::bigint as "high_traces!",
            coalesce(h.confirmed_traces, 0)::bigint as "confirmed_traces!",
            coalesce(h.first_seen, f.first_seen) as "first_seen!",
            coalesce(h.last_seen, f.last_seen) as "last_seen!",
            e.day as "example_day?",
            e.trace_id as "example_trace_id?",
            e.span_id as "example_span_id?",
            now() as "now!"
        from findings f
        left join lateral (
            select
                sum(occurrences) as occurrences,
                sum(traces) as traces,
                sum(high_traces) as high_traces,
                sum(confirmed_traces) as confirmed_traces,
                min(first_seen) as first_seen,
                max(last_seen) as last_seen
            from finding_hours
            where finding_hours.fingerprint = f.fingerprint
        ) h on true
        left join lateral (
            select o.day, o.trace_id, o.span_id
            from occurrences o
            where o.fingerprint = f.fingerprint and o.counted
            order by o.seen_at desc, o.trace_id, o.span_id
            limit 1
        ) e on true
        where f.fingerprint = any($1)
        order by f.fingerprint
        "#,
        ids
    )
    .fetch_all(connection)
    .await
}

/// Reads the newest occurrences of the last day in which each finding was seen. Where none is left, what was known of
/// severity, confidence and cost stays.
async fn read_recent(
    connection: &mut PgConnection,
    ids: &[i64],
    policy: &Policy<'_>,
) -> Result<Vec<Recent>, sqlx::Error> {
    sqlx::query_as!(
        Recent,
        r#"
        select
            coalesce(r.severity, f.severity) as "severity!",
            coalesce(r.confidence, f.confidence) as "confidence!",
            coalesce(r.time_ns, f.time_ns) as "time_ns!",
            coalesce(r.calls, f.calls) as "calls!",
            coalesce(r.bytes, f.bytes) as "bytes!",
            coalesce(r.unknown_outcomes, f.unknown_outcomes) as "unknown_outcomes!",
            coalesce(r.duplicate_effects, f.duplicate_effects) as "duplicate_effects!",
            coalesce(r.exposed_calls, f.exposed_calls) as "exposed_calls!",
            g.medium as "medium!",
            g.high as "high!",
            g.confirmed as "confirmed!"
        from findings f
        cross join lateral (
            select max(last_seen) as last_seen from finding_hours where finding_hours.fingerprint = f.fingerprint
        ) h
        cross join lateral (
            select
                max(s.severity) as severity,
                max(s.confidence) as confidence,
                percentile_disc(0.5) within group (order by s.time_ns) as time_ns,
                percentile_disc(0.5) within group (order by s.calls)::bigint as calls,
                percentile_disc(0.5) within group (order by s.bytes) as bytes,
                percentile_disc(0.5) within group (order by s.unknown_outcomes)::bigint as unknown_outcomes,
                percentile_disc(0.5) within group (order by s.duplicate_effects)::bigint as duplicate_effects,
                percentile_disc(0.5) within group (order by s.exposed_calls)::bigint as exposed_calls
            from (
                select *
                from occurrences o
                where o.fingerprint = f.fingerprint and o.counted and o.seen_at > h.last_seen - interval '24 hours'
                order by o.seen_at desc, o.trace_id, o.span_id
                limit $2
            ) s
        ) r
        cross join lateral (
            select
                count(*) filter (where b.best = 2) as medium,
                count(*) filter (where b.best = 3) as high,
                count(*) filter (where b.best = 4) as confirmed
            from (
                select max(s.confidence) as best
                from (
                    select o.trace_id, o.confidence
                    from occurrences o
                    where o.fingerprint = f.fingerprint and o.counted and o.seen_at > h.last_seen - $3::interval
                    order by o.seen_at desc, o.trace_id, o.span_id
                    limit $2
                ) s
                group by s.trace_id
            ) b
        ) g
        where f.fingerprint = any($1)
        order by f.fingerprint
        "#,
        ids,
        SAMPLE,
        interval(policy.within)
    )
    .fetch_all(connection)
    .await
}

/// Reads how severe at least two of the newest traces show each finding to be; 0 where there are no two.
async fn read_settled(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<i16>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select coalesce(t.severity, 0)::smallint as "severity!"
        from findings f
        left join lateral (
            select max(s.severity) as severity
            from (
                select o.trace_id, o.severity
                from occurrences o
                where o.fingerprint = f.fingerprint and o.counted and o.seen_at > (
                    select max(h.last_seen) - interval '24 hours'
                    from finding_hours h
                    where h.fingerprint = f.fingerprint
                )
                order by o.seen_at desc, o.trace_id, o.span_id
                limit $2
            ) s
            group by s.trace_id
            order by 1 desc
            offset 1
            limit 1
        ) t on true
        where f.fingerprint = any($1)
        order by f.fingerprint
        "#,
        ids,
        SAMPLE
    )
    .fetch_all(connection)
    .await
}

impl Derived {
    fn new(
        sums: Sums,
        recent: Recent,
        settled_severity: i16,
        took_back: &BTreeSet<i64>,
        policy: &Policy<'_>,
    ) -> Result<Self, StoreError> {
        let before: Status = sums.status.parse().map_err(StoreError::Invariant)?;
        let count = |traces: i64| u32::try_from(traces).unwrap_or(u32::MAX);
        let counts = if before == Status::Candidate {
            // Traces that lie close enough together to open it.
            Counts {
                confirmed: count(recent.confirmed),
                high: count(recent.high),
                medium: count(recent.medium),
            }
        } else {
            // All that still show it: an open finding does not close because it grows old.
            Counts {
                confirmed: count(sums.confirmed_traces),
                high: count(sums.high_traces - sums.confirmed_traces),
                medium: count(sums.traces - sums.high_traces),
            }
        };
        let observed = Observed {
            counts,
            took_back: took_back.contains(&sums.fingerprint),
            recurred: sums.resolved_at.is_some_and(|resolved_at| resolved_at < sums.last_seen),
            is_worse: sums.told_severity.is_some_and(|told| told < settled_severity),
        };
        let (status, event) = life::next(Some(before), &observed, &policy.gate);
        Ok(Self { sums, recent, settled_severity, before, status, event })
    }
}

/// Writes the numbers, where any changed. `transition` counts changes of status: it names a change for receivers.
async fn update_findings(connection: &mut PgConnection, derived: &[Derived]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        with derived as (
            select
                w.*,
                case when w.event in ('opened', 'reopened') then now()
                    when w.event is distinct from 'retracted' then f.opened_at end as opened_at,
                case when w.event is distinct from 'reopened' then f.resolved_at end as resolved_at,
                f.reopened + (w.event is not distinct from 'reopened')::int as reopened,
                case when w.event is not distinct from 'reopened' and f.handling = 'acknowledged' then 'none'
                    else f.handling end as handling,
                case when w.event in ('opened', 'reopened') then w.severity
                    when w.event = 'escalated' then w.settled_severity
                    when w.event is null then f.told_severity end as told_severity,
                f.transition + (w.event is not null)::int as transition
            from unnest(
                $1::bigint[], $2::text[], $3::smallint[], $4::smallint[], $5::bigint[], $6::bigint[], $7::bigint[],
                $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::timestamptz[],
                $14::timestamptz[], $15::text[], $16::smallint[], $17::date[], $18::uuid[], $19::bigint[]
            ) as w (
                fingerprint, status, severity, confidence, time_ns, calls, bytes, unknown_outcomes,
                duplicate_effects, exposed_calls, occurrences, traces, first_seen, last_seen, event, settled_severity,
                example_day, example_trace_id, example_span_id
            )
            join findings f on f.fingerprint = w.fingerprint
        )
        update findings f
        set status = d.status, severity = d.severity, confidence = d.confidence, time_ns = d.time_ns, calls = d.calls,
            bytes = d.bytes, unknown_outcomes = d.unknown_outcomes, duplicate_effects = d.duplicate_effects,
            exposed_calls = d.exposed_calls, occurrences = d.occurrences, traces = d.traces,
            first_seen = d.first_seen, last_seen = d.last_seen, opened_at = d.opened_at, resolved_at = d.resolved_at,
            reopened = d.reopened, handling = d.handling, told_severity = d.told_severity, transition = d.transition,
            example_day = d.example_day, example_trace_id = d.example_trace_id, example_span_id = d.example_span_id
        from derived d
        where f.fingerprint = d.fingerprint
            and (
                f.status, f.severity, f.confidence, f.time_ns, f.calls, f.bytes, f.unknown_outcomes,
                f.duplicate_effects, f.exposed_calls, f.occurrences, f.traces, f.first_seen, f.last_seen,
                f.example_day, f.example_trace_id, f.example_span_id, f.transition
            ) is distinct from (
                d.status, d.severity, d.confidence, d.time_ns, d.calls, d.bytes, d.unknown_outcomes,
                d.duplicate_effects, d.exposed_calls, d.occurrences, d.traces, d.first_seen, d.last_seen,
                d.example_day, d.example_trace_id, d.example_span_id, d.transition
            )
        "#,
        &column(derived, |one| one.sums.fingerprint),
        &column(derived, |one| one.status.id().to_owned()),
        &column(derived, |one| one.recent.severity),
        &column(derived, |one| one.recent.confidence),
        &column(derived, |one| one.recent.time_ns),
        &column(derived, |one| one.recent.calls),
        &column(derived, |one| one.recent.bytes),
        &column(derived, |one| one.recent.unknown_outcomes),
        &column(derived, |one| one.recent.duplicate_effects),
        &column(derived, |one| one.recent.exposed_calls),
        &column(derived, |one| one.sums.occurrences),
        &column(derived, |one| one.sums.traces),
        &column(derived, |one| one.sums.first_seen),
        &column(derived, |one| one.sums.last_seen),
        &column(derived, |one| one.event.map(|event| word(event).to_owned())) as &[Option<String>],
        &column(derived, |one| one.settled_severity),
        &column(derived, |one| one.sums.example_day) as &[Option<Date>],
        &column(derived, |one| one.sums.example_trace_id) as &[Option<Uuid>],
        &column(derived, |one| one.sums.example_span_id) as &[Option<i64>]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An event as the statement above knows it.
fn word(event: Event) -> &'static str {
    match event {
        Event::Opened => "opened",
        Event::Escalated => "escalated",
        Event::Retracted => "retracted",
        Event::Reopened => "reopened",
        // Evidence alone does not bring these about.
        other => other.reason(),
    }
}
