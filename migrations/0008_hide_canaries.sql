-- Why: `debunk selftest` proves the whole way with findings of its own, which are nobody's problem and stand in no list.
-- Locks: rewrites findings, a small table; views are replaced.
alter table findings
    add column canary boolean not null generated always as (service = 'debunk.selftest') stored;

comment on column findings.canary is 'Made by debunk selftest: shown only to those who ask for its service or its id';

create or replace view debunk_views.finding as
select
    lpad(to_hex(f.fingerprint), 16, '0') as id,
    f.rule,
    f.fallacy,
    f.variant,
    f.status,
    f.handling,
    (array['low', 'medium', 'high', 'critical'])[f.severity] as severity,
    f.severity as severity_rank,
    (array['low', 'medium', 'high', 'confirmed'])[f.confidence] as confidence,
    f.confidence as confidence_rank,
    f.environment,
    f.service,
    f.operation,
    f.callee,
    f.headline,
    f.time_ns / 1e6::double precision as time_ms,
    f.calls,
    f.bytes,
    f.unknown_outcomes,
    f.duplicate_effects,
    f.exposed_calls,
    f.occurrences,
    coalesce((
        select sum(h.occurrences)
        from finding_hours h
        where h.fingerprint = f.fingerprint and h.hour > now() - interval '24 hours'
    ), 0)::bigint as occurrences_24h,
    f.first_seen,
    f.last_seen,
    f.opened_at,
    f.resolved_at,
    f.reopened,
    replace(f.example_trace_id::text, '-', '') as example_trace_id
from findings f
where not f.canary;

create or replace view debunk_views.finding_hour as
select
    lpad(to_hex(h.fingerprint), 16, '0') as id,
    h.hour,
    f.rule,
    f.fallacy,
    f.status,
    (array['low', 'medium', 'high', 'critical'])[f.severity] as severity,
    f.severity as severity_rank,
    f.environment,
    f.service,
    f.operation,
    f.callee,
    h.occurrences,
    h.traces,
    h.time_ns / 1e6::double precision as time_ms
from finding_hours h
join findings f on f.fingerprint = h.fingerprint
where not f.canary;
