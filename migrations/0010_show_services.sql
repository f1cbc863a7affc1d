-- Why: pages and dashboards ask what services did within the last hour. Rows come in the order of receipt, so a block
-- range index of a few pages finds them and costs the writer next to nothing.
-- Locks: blocks the replacement of units and calls while it builds, seconds for a day of a busy service. Readers go on.
create index on units using brin (received_at) with (pages_per_range = 32, autosummarize = on);
create index on calls using brin (received_at) with (pages_per_range = 32, autosummarize = on);

-- The same by minute, as the views below group them: a condition on their minute uses these.
create index on units using brin ((date_bin('1 minute', received_at, '2000-01-01 00:00:00+00')))
    with (pages_per_range = 32, autosummarize = on);
create index on calls using brin ((date_bin('1 minute', received_at, '2000-01-01 00:00:00+00')))
    with (pages_per_range = 32, autosummarize = on);

create view debunk_views.service_minute as
select
    u.environment,
    u.service,
    u.operation,
    date_bin('1 minute', u.received_at, '2000-01-01 00:00:00+00') as minute,
    count(*) as units,
    count(*) filter (where u.outcome not in ('ok', 'unknown')) as errors,
    percentile_disc(0.5) within group (order by u.duration_ns) / 1e6::double precision as p50_ms,
    percentile_disc(0.95) within group (order by u.duration_ns) / 1e6::double precision as p95_ms
from units u
where u.service <> 'debunk.selftest'
group by u.environment, u.service, u.operation, date_bin('1 minute', u.received_at, '2000-01-01 00:00:00+00');

create view debunk_views.edge_minute as
select
    c.environment,
    c.caller,
    c.callee,
    c.operation,
    date_bin('1 minute', c.received_at, '2000-01-01 00:00:00+00') as minute,
    count(*) as calls,
    count(*) filter (where c.outcome not in ('ok', 'unknown')) as errors,
    sum(c.attempts)::bigint as attempts,
    count(*) filter (where c.effect = 'unknown') as unknown,
    percentile_disc(0.5) within group (order by c.duration_ns) / 1e6::double precision as p50_ms,
    percentile_disc(0.95) within group (order by c.duration_ns) / 1e6::double precision as p95_ms
from calls c
where c.caller <> 'debunk.selftest' and c.callee <> ''
group by
    c.environment, c.caller, c.callee, c.operation,
    date_bin('1 minute', c.received_at, '2000-01-01 00:00:00+00');

create view debunk_views.trace as
select
    replace(t.trace_id::text, '-', '') as trace_id,
    t.environment,
    t.service,
    t.operation,
    to_timestamp(t.start_ns / 1e9::double precision) as started_at,
    t.received_at,
    t.evaluated_at,
    t.duration_ns / 1e6::double precision as duration_ms,
    t.spans,
    t.services,
    t.errors,
    t.occurrences,
    t.complete
from traces t
where t.service <> 'debunk.selftest';

create view debunk_views.delivery as
select
    d.id,
    d.receiver,
    d.event,
    lpad(to_hex(d.fingerprint), 16, '0') as finding,
    d.state,
    d.attempts,
    case when d.state = 'pending' then d.next_attempt_at end as next_attempt_at,
    d.last_status,
    d.last_error,
    d.created_at,
    d.delivered_at
from deliveries d;

create view debunk_views.storage_day as
select
    parent.relname::text as "table",
    to_date(right(child.relname, 8), 'YYYYMMDD') as day,
    greatest(child.reltuples, 0)::bigint as rows,
    pg_total_relation_size(child.oid) as bytes
from pg_inherits
join pg_class child on child.oid = pg_inherits.inhrelid
join pg_class parent on parent.oid = pg_inherits.inhparent
where parent.oid in ('spans'::regclass, 'traces'::regclass, 'units'::regclass, 'calls'::regclass, 'occurrences'::regclass);
