-- Why: what dashboards and people read. A role needs usage on this schema and select on its views, nothing else.
-- Locks: none that matter; everything is new.
-- The reading role may have been made first, and the schema with it.
create schema if not exists debunk_views;

create view debunk_views.finding as
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
from findings f;

create view debunk_views.finding_hour as
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
join findings f on f.fingerprint = h.fingerprint;
