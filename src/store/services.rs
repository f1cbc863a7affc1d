//! Questions about services: what they did since an instant, for whom, and with whose help. Answered from the units and
//! calls of judged traces by their time of receipt.

use time::OffsetDateTime;

use super::findings::{millis, severity};
use super::{Store, StoreError};
use crate::rules::Severity;

/// Most edges of a map: those with the most calls.
const MAX_EDGES: i64 = 1_000;
/// Most operations, callers or callees of one service.
const MAX_PARTS: i64 = 200;

/// How often something was done, how often it failed, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// How often.
    pub count: i64,
    /// Share that failed, 0 to 1.
    pub error_ratio: f64,
    /// Median time in milliseconds.
    pub p50_ms: f64,
    /// Time that 95 % stay under, in milliseconds.
    pub p95_ms: f64,
}

/// A service and its work.
#[derive(Clone, Debug)]
pub struct ServiceRow {
    /// `service.name`.
    pub name: String,
    /// Where it ran.
    pub environments: Vec<String>,
    /// What of it ran.
    pub versions: Vec<String>,
    /// Distinct instances.
    pub instances: i64,
    /// Its units.
    pub pace: Pace,
    /// Open findings that nobody muted.
    pub open: i64,
    /// The worst of them.
    pub worst: Option<Severity>,
}

/// One operation of a service, or one that it asks of somebody, or that somebody asks of it.
#[derive(Clone, Debug)]
pub struct PartRow {
    /// The other service; of an operation of its own, the operation.
    pub name: String,
    /// What is asked, where it is asked of or by another.
    pub operation: Option<String>,
    /// How it goes.
    pub pace: Pace,
}

/// Who asks whom.
#[derive(Clone, Debug)]
pub struct EdgeRow {
    /// Who asks.
    pub caller: String,
    /// Who is asked.
    pub callee: String,
    /// How it goes.
    pub pace: Pace,
    /// The worst open finding about it.
    pub worst: Option<Severity>,
}

/// A service as it is read.
struct Served {
    service: String,
    environments: Vec<String>,
    versions: Vec<String>,
    instances: i64,
    count: i64,
    errors: i64,
    p50_ns: i64,
    p95_ns: i64,
    open: i64,
    worst: Option<i16>,
}

impl Served {
    fn row(self) -> Result<ServiceRow, StoreError> {
        Ok(ServiceRow {
            name: self.service,
            environments: self.environments,
            versions: self.versions,
            instances: self.instances,
            pace: Pace::of(self.count, self.errors, self.p50_ns, self.p95_ns),
            open: self.open,
            worst: self.worst.map(severity).transpose()?,
        })
    }
}

/// A part as it is read.
struct Asked {
    name: String,
    operation: Option<String>,
    count: i64,
    errors: i64,
    p50_ns: i64,
    p95_ns: i64,
}

impl Asked {
    fn row(self) -> PartRow {
        let Self { name, operation, count, errors, p50_ns, p95_ns } = self;
        PartRow { name, operation, pace: Pace::of(count, errors, p50_ns, p95_ns) }
    }
}

impl Pace {
    fn of(count: i64, errors: i64, p50_ns: i64, p95_ns: i64) -> Self {
        let error_ratio = if count > 0 { errors as f64 / count as f64 } else { 0.0 };
        Self { count, error_ratio, p50_ms: millis(p50_ns), p95_ms: millis(p95_ns) }
    }
}

impl Store {
    /// Services that served a unit since an instant, by name, after the name `after`; only the one called `only`, if any.
    pub async fn services(
        &self,
        environments: &[String],
        since: OffsetDateTime,
        only: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ServiceRow>, StoreError> {
        let rows = sqlx::query_as!(
            Served,
            r#"
            with served as (
                select
                    u.service,
                    array_agg(distinct u.environment) as environments,
                    coalesce(array_agg(distinct u.version) filter (where u.version is not null), '{}') as versions,
                    count(distinct u.instance) as instances,
                    count(*) as count,
                    count(*) filter (where u.outcome not in ('ok', 'unknown')) as errors,
                    percentile_disc(0.5) within group (order by u.duration_ns) as p50_ns,
                    percentile_disc(0.95) within group (order by u.duration_ns) as p95_ns
                from units u
                where $1 <= u.received_at
                    and (cardinality($2::text[]) = 0 or u.environment = any($2))
                    and ($3::text is null or $3 < u.service)
                    and ($5::text is null or u.service = $5)
                group by u.service
                order by u.service
                limit $4
            )
            select
                s.service,
                s.environments as "environments!",
                s.versions as "versions!",
                s.instances as "instances!",
                s.count as "count!",
                s.errors as "errors!",
                s.p50_ns as "p50_ns!",
                s.p95_ns as "p95_ns!",
                f.open as "open!",
                f.worst
            from served s
            cross join lateral (
                select count(*) as open, max(severity) as worst
                from findings
                where findings.service = s.service
                    and status = 'open'
                    and handling <> 'muted'
                    and (cardinality($2::text[]) = 0 or environment = any($2))
            ) f
            order by s.service
            "#,
            since,
            environments,
            after,
            i64::from(limit),
            only
        )
        .fetch_all(self.pool())
        .await?;
        rows.into_iter().map(Served::row).collect()
    }

    /// The operations of a service since an instant, most frequent first, at most 200.
    pub async fn operations_of(
        &self,
        service: &str,
        environments: &[String],
        since: OffsetDateTime,
    ) -> Result<Vec<PartRow>, StoreError> {
        let rows = sqlx::query_as!(
            Asked,
            r#"
            select
                operation as name,
                null::text as operation,
                count(*) as "count!",
                count(*) filter (where outcome not in ('ok', 'unknown')) as "errors!",
                percentile_disc(0.5) within group (order by duration_ns) as "p50_ns!",
                percentile_disc(0.95) within group (order by duration_ns) as "p95_ns!"
            from units
            where service = $1
                and $2 <= received_at
                and (cardinality($3::text[]) = 0 or environment = any($3))
            group by operation
            order by count(*) desc, operation
            limit $4
            "#,
            service,
            since,
            environments,
            MAX_PARTS
        )
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().map(Asked::row).collect())
    }

    /// What a service asks of others (`outward`), or others of it, since an instant; most frequent first, at most 200.
    pub async fn neighbours_of(
        &self,
        service: &str,
        outward: bool,
        environments: &[String],
        since: OffsetDateTime,
    ) -> Result<Vec<PartRow>, StoreError> {
        let rows = sqlx::query_as!(
            Asked,
            r#"
            select
                case when $2::bool then callee else caller end as "name!",
                operation,
                count(*) as "count!",
                count(*) filter (where outcome not in ('ok', 'unknown')) as "errors!",
                percentile_disc(0.5) within group (order by duration_ns) as "p50_ns!",
                percentile_disc(0.95) within group (order by duration_ns) as "p95_ns!"
            from calls
            where $3 <= received_at
                and case when $2 then caller = $1 else callee = $1 end
                and (cardinality($4::text[]) = 0 or environment = any($4))
            group by 1, operation
            order by count(*) desc, 1, operation
            limit $5
            "#,
            service,
            outward,
            since,
            environments,
            MAX_PARTS
        )
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().map(Asked::row).collect())
    }

    /// Who asked whom since an instant, most calls first, at most 1,000.
    pub async fn edges(
        &self,
        environments: &[String],
        since: OffsetDateTime,
    ) -> Result<Vec<EdgeRow>, StoreError> {
        let rows = sqlx::query!(
            r#"
            with asked as (
                select
                    caller,
                    callee,
                    count(*) as count,
                    count(*) filter (where outcome not in ('ok', 'unknown')) as errors,
                    percentile_disc(0.5) within group (order by duration_ns) as p50_ns,
                    percentile_disc(0.95) within group (order by duration_ns) as p95_ns
                from calls
                where $1 <= received_at
                    and callee <> ''
                    and (cardinality($2::text[]) = 0 or environment = any($2))
                group by caller, callee
                order by count(*) desc, caller, callee
                limit $3
            )
            select
                a.caller,
                a.callee,
                a.count as "count!",
                a.errors as "errors!",
                a.p50_ns as "p50_ns!",
                a.p95_ns as "p95_ns!",
                (
                    select max(f.severity)
                    from findings f
                    where f.service = a.caller
                        and f.callee = a.callee
                        and f.status = 'open'
                        and f.handling <> 'muted'
                        and (cardinality($2) = 0 or f.environment = any($2))
                ) as worst
            from asked a
            order by a.count desc, a.caller, a.callee
            "#,
            since,
            environments,
            MAX_EDGES
        )
        .fetch_all(self.pool())
        .await?;
        let rows = rows.into_iter().map(|row| {
            Ok(EdgeRow {
                caller: row.caller,
                callee: row.callee,
                pace: Pace::of(row.count, row.errors, row.p50_ns, row.p95_ns),
                worst: row.worst.map(severity).transpose()?,
            })
        });
        rows.collect()
    }
}
