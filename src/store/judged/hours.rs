//! How findings spread over hours of receipt. An hour is moved by the difference between what some traces said before
//! and what they say now: nothing, when they say the same again. Counting the hour anew would take as long as the
//! finding is frequent.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::rows::{Tally, column};

/// What some traces add to one hour of one finding, or take from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Difference {
    occurrences: i64,
    traces: i64,
    high_traces: i64,
    confirmed_traces: i64,
    time_ns: i64,
}

/// Differences by finding and hour, the hour in seconds since 1970.
type Differences = BTreeMap<(i64, i64), Difference>;

/// Moves the hours from what was counted before to what is counted now, and says which findings lost a trace by it, or
/// its confidence. An hour without occurrences has no row.
pub(super) async fn replace(
    connection: &mut PgConnection,
    before: &[Tally],
    after: &[Tally],
) -> Result<BTreeSet<i64>, sqlx::Error> {
    let differences: Vec<_> = differences(before, after).into_iter().collect();
    sqlx::query!(
        r#"
        with moved as (
            select w.fingerprint, to_timestamp(w.hour) as hour, w.occurrences, w.traces, w.high_traces,
                w.confirmed_traces, w.time_ns, edge.first_seen, edge.last_seen
            from unnest(
                $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]
            ) as w (fingerprint, hour, occurrences, traces, high_traces, confirmed_traces, time_ns)
            cross join lateral (
                select min(o.seen_at) as first_seen, max(o.seen_at) as last_seen
                from occurrences o
                where o.fingerprint = w.fingerprint
                    and o.counted
                    and o.seen_at >= to_timestamp(w.hour)
                    and o.seen_at < to_timestamp(w.hour) + interval '1 hour'
            ) edge
        ), emptied as (
            delete from finding_hours h
            using moved m
            where h.fingerprint = m.fingerprint and h.hour = m.hour and h.occurrences + m.occurrences <= 0
        )
        insert into finding_hours as h (
            fingerprint, hour, occurrences, traces, high_traces, confirmed_traces, time_ns, first_seen, last_seen
        )
        select
            m.fingerprint, m.hour, m.occurrences, m.traces, m.high_traces, m.confirmed_traces, m.time_ns,
            coalesce(m.first_seen, old.first_seen), coalesce(m.last_seen, old.last_seen)
        from moved m
        left join finding_hours old on old.fingerprint = m.fingerprint and old.hour = m.hour
        where 0 < coalesce(old.occurrences, 0) + m.occurrences and coalesce(m.first_seen, old.first_seen) is not null
        on conflict (fingerprint, hour) do update
        set occurrences = h.occurrences + excluded.occurrences,
            traces = h.traces + excluded.traces,
            high_traces = h.high_traces + excluded.high_traces,
            confirmed_traces = h.confirmed_traces + excluded.confirmed_traces,
            time_ns = h.time_ns + excluded.time_ns,
            first_seen = excluded.first_seen,
            last_seen = excluded.last_seen
        "#,
        &column(&differences, |((fingerprint, _), _)| *fingerprint),
        &column(&differences, |((_, hour), _)| *hour),
        &column(&differences, |(_, moved)| moved.occurrences),
        &column(&differences, |(_, moved)| moved.traces),
        &column(&differences, |(_, moved)| moved.high_traces),
        &column(&differences, |(_, moved)| moved.confirmed_traces),
        &column(&differences, |(_, moved)| moved.time_ns)
    )
    .execute(connection)
    .await?;
    let lost = differences.iter().filter(|(_, moved)| moved.is_loss());
    Ok(lost.map(|((fingerprint, _), _)| *fingerprint).collect())
}

impl Difference {
    fn is_loss(&self) -> bool {
        self.traces < 0 || self.high_traces < 0 || self.confirmed_traces < 0
    }
}

fn differences(before: &[Tally], after: &[Tally]) -> Differences {
    let mut differences = Differences::new();
    add(&mut differences, before, -1);
    add(&mut differences, after, 1);
    differences
}

fn add(differences: &mut Differences, counted: &[Tally], sign: i64) {
    // A trace counts once, under its best confidence; all its occurrences bear one time of receipt.
    let mut best: BTreeMap<(i64, i64, u128), i16> = BTreeMap::new();
    for one in counted {
        let hour = hour(one.seen_at);
        let moved = differences.entry((one.fingerprint, hour)).or_default();
        moved.occurrences += sign;
        moved.time_ns += sign * one.time_ns;
        let confidence = best.entry((one.fingerprint, hour, one.trace_id.as_u128())).or_default();
        *confidence = one.confidence.max(*confidence);
    }
    for ((fingerprint, hour, _), confidence) in best {
        let moved = differences.entry((fingerprint, hour)).or_default();
        moved.traces += sign;
        moved.high_traces += sign * i64::from(3 <= confidence);
        moved.confirmed_traces += sign * i64::from(4 <= confidence);
    }
}

fn hour(instant: OffsetDateTime) -> i64 {
    instant.unix_timestamp().div_euclid(3_600) * 3_600
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    fn counted(trace: u128, confidence: i16) -> Tally {
        Tally {
            fingerprint: 7,
            trace_id: Uuid::from_u128(trace),
            seen_at: datetime!(2026-05-10 13:37:00 UTC),
            confidence,
            time_ns: 10,
            counted: true,
        }
    }

    #[test]
    fn saying_the_same_again_moves_nothing() {
        let said = [counted(1, 2), counted(1, 4), counted(2, 3)];
        let moved = differences(&said, &said);
        assert_eq!(moved.into_values().collect::<Vec<_>>(), [Difference::default()]);
    }

    #[test]
    fn a_trace_counts_once_under_its_best_confidence() {
        let moved = differences(&[], &[counted(1, 2), counted(1, 4), counted(2, 3)]);
        let expected =
            Difference { occurrences: 3, traces: 2, high_traces: 2, confirmed_traces: 1, time_ns: 30 };
        assert_eq!(moved.into_iter().collect::<Vec<_>>(), [((7, 1_778_418_000), expected)]);
    }

    #[test]
    fn what_is_taken_back_is_taken_from_its_hour() {
        let moved = differences(&[counted(1, 4), counted(2, 2)], &[counted(2, 2)]);
        let expected =
            Difference { occurrences: -1, traces: -1, high_traces: -1, confirmed_traces: -1, time_ns: -10 };
        assert_eq!(moved.into_values().collect::<Vec<_>>(), [expected]);
    }
}
