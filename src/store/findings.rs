//! Questions about findings. A finding's numbers are derived when traces are judged; here they are only read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};
use time::OffsetDateTime;

use super::{Store, StoreError};
use crate::findings::Fingerprint;
use crate::findings::life::Status;
use crate::findings::shape::{Claim, Cost, Finding, Handling};
use crate::rules::{Confidence, Fallacy, Severity};

/// What a list of findings is sorted by, greatest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Worst first.
    #[default]
    Severity,
    /// Latest first.
    LastSeen,
    /// Newest first.
    FirstSeen,
    /// Most frequent first.
    Occurrences,
}

/// Which findings. Empty lists and `None` mean "any".
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the names are those of the columns")]
pub struct Wanted {
    pub statuses: Vec<Status>,
    pub handlings: Vec<Handling>,
    pub fallacies: Vec<Fallacy>,
    pub rules: Vec<String>,
    pub min_severity: Option<Severity>,
    pub min_confidence: Option<Confidence>,
    pub services: Vec<String>,
    pub environments: Vec<String>,
    /// Stands in the headline, the operation or the callee, in any case.
    pub text: Option<String>,
    /// Seen last at or after.
    pub since: Option<OffsetDateTime>,
    /// Seen last before.
    pub until: Option<OffsetDateTime>,
}

/// Where a page of a sorted list ends: the value sorted by, then the finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Rank, microseconds since 1970, or count.
    pub value: i64,
    /// Breaks ties.
    pub finding: Fingerprint,
}

/// A finding of a list, and its place there.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The finding.
    pub finding: Finding,
    /// Where the next page starts, should this be the last of its page.
    pub place: Place,
}

/// Findings of one fallacy and severity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct OpenCount {
    pub rule: String,
    pub fallacy: Fallacy,
    pub severity: Severity,
    pub open: i64,
}

/// How many findings of one fallacy there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct FallacyCount {
    pub open: i64,
    pub candidate: i64,
    /// Severity of the worst open one.
    pub worst: Option<Severity>,
}

impl Sort {
    fn column(self) -> &'static str {
        match self {
            Self::Severity => "severity",
            Self::LastSeen => "last_seen",
            Self::FirstSeen => "first_seen",
            Self::Occurrences => "occurrences",
        }
    }
}

impl Wanted {
    /// Statuses, handlings and fallacies as their columns spell them.
    fn words(&self) -> [Vec<String>; 3] {
        [
            self.statuses.iter().map(ToString::to_string).collect(),
            self.handlings.iter().map(|handling| handling.id().to_owned()).collect(),
            self.fallacies.iter().map(|fallacy| fallacy.id().to_owned()).collect(),
        ]
    }
}

/// One row of `findings` with its place in a list.
struct Row {
    fingerprint: i64,
    rule: String,
    fallacy: String,
    variant: String,
    environment: String,
    service: String,
    operation: String,
    callee: Option<String>,
    headline: String,
    status: String,
    handling: String,
    severity: i16,
    confidence: i16,
    time_ns: i64,
    calls: i64,
    bytes: i64,
    unknown_outcomes: i64,
    duplicate_effects: i64,
    exposed_calls: i64,
    occurrences: i64,
    occurrences_24h: i64,
    first_seen: OffsetDateTime,
    last_seen: OffsetDateTime,
    opened_at: Option<OffsetDateTime>,
    resolved_at: Option<OffsetDateTime>,
    reopened: i32,
    muted_until: Option<OffsetDateTime>,
    place: i64,
}

impl Store {
    /// The findings that `wanted` describes, at most `limit`, after `after`. Links start with `public_url`.
    pub async fn list_findings(
        &self,
        wanted: &Wanted,
        sort: Sort,
        after: Option<Place>,
        limit: u32,
        public_url: &str,
    ) -> Result<Vec<Listed>, StoreError> {
        let [statuses, handlings, fallacies] = wanted.words();
        let rows = sqlx::query_as!(
            Row,
            r#"
            with placed as (
                select
                    f.*,
                    case $1::text
                        when 'severity' then f.severity::bigint
                        when 'occurrences' then f.occurrences
                        when 'first_seen' then (extract(epoch from f.first_seen) * 1000000)::bigint
                        else (extract(epoch from f.last_seen) * 1000000)::bigint
                    end as place
                from findings f
                where (cardinality($2::text[]) = 0 or f.status = any($2))
                and (cardinality($3::text[]) = 0 or f.handling = any($3))
                and (cardinality($4::text[]) = 0 or f.fallacy = any($4))
                and (cardinality($5::text[]) = 0 or f.rule = any($5))
                and ((cardinality($6::text[]) = 0 and not f.canary) or f.service = any($6))
                and (cardinality($7::text[]) = 0 or f.environment = any($7))
                and $8::smallint <= f.severity and $9::smallint <= f.confidence
                and ($10::text is null
                    or strpos(lower(concat_ws(E'\n', f.headline, f.operation, f.callee)), lower($10)) > 0)
                and ($11::timestamptz is null or $11 <= f.last_seen)
                and ($12::timestamptz is null or f.last_seen < $12)
            )
            select
                fingerprint, rule, fallacy, variant, environment, service, operation, callee, headline, status,
                handling, severity, confidence, time_ns, calls, bytes, unknown_outcomes, duplicate_effects,
                exposed_calls, occurrences,
                coalesce((
                    select sum(h.occurrences)
                    from finding_hours h
                    where h.fingerprint = placed.fingerprint and h.hour > now() - interval '24 hours'
                ), 0)::bigint as "occurrences_24h!",
                first_seen, last_seen, opened_at, resolved_at, reopened, muted_until,
                place as "place!"
            from placed
            where $13::bigint is null or (place, fingerprint) < ($13, $14::bigint)
            order by place desc, fingerprint desc
            limit $15
            "#,
            sort.column(),
            &statuses,
            &handlings,
            &fallacies,
            &wanted.rules,
            &wanted.services,
            &wanted.environments,
            wanted.min_severity.map_or(0, severity_rank),
            wanted.min_confidence.map_or(0, confidence_rank),
            wanted.text.as_deref(),
            wanted.since,
            wanted.until,
            after.map(|place| place.value),
            after.map(|place| place.finding.0.cast_signed()),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| listed(row, public_url)).collect()
    }

    /// One finding, whatever its status.
    pub async fn finding(&self, id: Fingerprint, public_url: &str) -> Result<Option<Finding>, StoreError> {
        read(&self.pool, id.0.cast_signed(), public_url).await
    }

    /// The worst open finding of each fallacy that has one.
    pub async fn worst_open(&self, public_url: &str) -> Result<Vec<Finding>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"
            select distinct on (fallacy)
                fingerprint, rule, fallacy, variant, environment, service, operation, callee, headline, status,
                handling, severity, confidence, time_ns, calls, bytes, unknown_outcomes, duplicate_effects,
                exposed_calls, occurrences, 0::bigint as "occurrences_24h!", first_seen, last_seen, opened_at,
                resolved_at, reopened, muted_until, 0::bigint as "place!"
            from findings
            where status = 'open' and handling <> 'muted' and not canary
            order by fallacy, severity desc, last_seen desc, fingerprint desc
            "#,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| Ok(listed(row, public_url)?.finding)).collect()
    }

    /// How many findings that nobody muted there are under each fallacy, of these services and environments; empty: any.
    pub async fn counts_by_fallacy(
        &self,
        services: &[String],
        environments: &[String],
    ) -> Result<BTreeMap<String, FallacyCount>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select
                fallacy,
                count(*) filter (where status = 'open') as "open!",
                count(*) filter (where status = 'candidate') as "candidate!",
                max(severity) filter (where status = 'open') as worst
            from findings
            where handling <> 'muted'
                and ((cardinality($1::text[]) = 0 and not canary) or service = any($1))
                and (cardinality($2::text[]) = 0 or environment = any($2))
            group by fallacy
            "#,
            services,
            environments
        )
        .fetch_all(&self.pool)
        .await?;
        let rows = rows.into_iter().map(|row| {
            let worst = row.worst.map(severity).transpose()?;
            Ok((row.fallacy, FallacyCount { open: row.open, candidate: row.candidate, worst }))
        });
        rows.collect()
    }

    /// How many findings that nobody muted there are, by rule, status and severity.
    pub async fn finding_counts(&self) -> Result<Vec<(String, String, String, i64)>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select rule, status, severity, count(*) as "count!"
            from findings
            where handling <> 'muted' and not canary
            group by rule, status, severity
            "#,
        )
        .fetch_all(&self.pool)
        .await?;
        let named = |severity| self::severity(severity).map(|severity| severity.id().to_owned());
        rows.into_iter().map(|row| Ok((row.rule, row.status, named(row.severity)?, row.count))).collect()
    }

    /// How many findings are open and not muted, by rule and severity.
    pub async fn open_counts(&self) -> Result<Vec<OpenCount>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select rule, fallacy, severity, count(*) as "open!"
            from findings
            where status = 'open' and handling <> 'muted' and not canary
            group by rule, fallacy, severity
            order by rule, fallacy, severity
            "#,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(OpenCount {
                    rule: row.rule,
                    fallacy: word("fallacy", &row.fallacy)?,
                    severity: severity(row.severity)?,
                    open: row.open,
                })
            })
            .collect()
    }
}

/// One finding, also inside a transaction.
pub(super) async fn read(
    executor: impl sqlx::PgExecutor<'_>,
    id: i64,
    public_url: &str,
) -> Result<Option<Finding>, StoreError> {
    Ok(read_all(executor, &[id], public_url).await?.pop())
}

/// Those of these findings that there are.
pub(super) async fn read_all(
    executor: impl sqlx::PgExecutor<'_>,
    ids: &[i64],
    public_url: &str,
) -> Result<Vec<Finding>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select
            fingerprint, rule, fallacy, variant, environment, service, operation, callee, headline, status,
            handling, severity, confidence, time_ns, calls, bytes, unknown_outcomes, duplicate_effects,
            exposed_calls, occurrences,
            coalesce((
                select sum(h.occurrences)
                from finding_hours h
                where h.fingerprint = f.fingerprint
                and h.hour > now() - interval '24 hours'
            ), 0)::bigint as "occurrences_24h!",
            first_seen, last_seen, opened_at, resolved_at, reopened, muted_until, 0::bigint as "place!"
        from findings f
        where fingerprint = any($1)
        "#,
        ids,
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(|row| Ok(listed(row, public_url)?.finding)).collect()
}

fn listed(row: Row, public_url: &str) -> Result<Listed, StoreError> {
    let finding = Fingerprint(row.fingerprint.cast_unsigned());
    let claim = Claim {
        id: finding.to_string(),
        rule: row.rule,
        fallacy: word("fallacy", &row.fallacy)?,
        variant: row.variant,
        status: word("status", &row.status)?,
        handling: word("handling", &row.handling)?,
        severity: severity(row.severity)?,
        confidence: confidence(row.confidence)?,
        environment: row.environment,
        service: row.service,
        operation: row.operation,
        callee: row.callee,
        headline: row.headline,
        cost: Cost {
            time_ms: millis(row.time_ns),
            calls: count(row.calls),
            bytes: row.bytes.max(0).cast_unsigned(),
            unknown_outcomes: count(row.unknown_outcomes),
            duplicate_effects: count(row.duplicate_effects),
            exposed_calls: count(row.exposed_calls),
        },
    };
    let place = Place { value: row.place, finding };
    let finding = Finding {
        url: format!("{}/findings/{finding}", public_url.trim_end_matches('/')),
        claim,
        occurrences: row.occurrences,
        occurrences_24h: row.occurrences_24h,
        first_seen: row.first_seen,
        last_seen: row.last_seen,
        opened_at: row.opened_at,
        resolved_at: row.resolved_at,
        reopened: row.reopened,
        muted_until: row.muted_until,
    };
    Ok(Listed { finding, place })
}

/// Reads a word that a check constraint or our own writer vouches for.
pub(super) fn word<'de, T: Deserialize<'de>>(column: &str, text: &'de str) -> Result<T, StoreError> {
    let words: StrDeserializer<'de, Error> = text.into_deserializer();
    T::deserialize(words).map_err(|error| StoreError::Invariant(format!("{column}: {error}")))
}

pub(super) fn severity(rank: i16) -> Result<Severity, StoreError> {
    let scale = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    let found = scale.into_iter().find(|severity| severity_rank(*severity) == rank);
    found.ok_or_else(|| StoreError::Invariant(format!("severity {rank} is off the scale")))
}

pub(super) fn confidence(rank: i16) -> Result<Confidence, StoreError> {
    let scale = [Confidence::Low, Confidence::Medium, Confidence::High, Confidence::Confirmed];
    let found = scale.into_iter().find(|confidence| confidence_rank(*confidence) == rank);
    found.ok_or_else(|| StoreError::Invariant(format!("confidence {rank} is off the scale")))
}

/// The severity that people may know: what they were told, or what they would be told now.
pub(super) fn worst(told: Option<i16>, severity: i16) -> i16 {
    told.map_or(severity, |told| told.max(severity))
}

/// 1 is the lowest, so that SQL can compare.
pub(super) fn severity_rank(severity: Severity) -> i16 {
    match severity {
        Severity::Low => 1,
        Severity::Medium => 2,
        Severity::High => 3,
        Severity::Critical => 4,
    }
}

/// 1 is the lowest, so that SQL can compare.
pub(super) fn confidence_rank(confidence: Confidence) -> i16 {
    match confidence {
        Confidence::Low => 1,
        Confidence::Medium => 2,
        Confidence::High => 3,
        Confidence::Confirmed => 4,
    }
}

pub(super) fn millis(nanoseconds: i64) -> f64 {
    (nanoseconds as f64 / 1e3).round() / 1e3
}

pub(super) fn count(stored: i64) -> u32 {
    u32::try_from(stored.max(0)).unwrap_or(u32::MAX)
}
