-- Why: what judging a trace yields. All rows of a trace stand under one day, the first day of its spans, and are
-- replaced together.
-- Locks: none that matter; every table is new.
create table traces (
    day date not null,
    trace_id uuid not null,
    first_day date not null,
    last_day date not null,
    start_ns bigint not null,
    duration_ns bigint not null,
    received_at timestamptz not null,
    evaluated_at timestamptz not null,
    spans int not null,
    services int not null,
    errors int not null,
    occurrences int not null,
    looks int not null,
    complete boolean not null,
    environment text not null,
    service text not null,
    operation text not null,
    defects text[] not null,
    primary key (trace_id, day)
) partition by range (day);

comment on column traces.received_at is 'First receipt of any of its spans';
comment on column traces.occurrences is 'Occurrences that count: confidence medium or more, not absorbed';
comment on column traces.looks is 'Looks at new spans so far; each doubles the pause before the next';

-- Owners may share a span id, so a row has no key of its own.
create table units (
    day date not null,
    trace_id uuid not null,
    span_id bigint not null,
    received_at timestamptz not null,
    duration_ns bigint not null,
    root boolean not null,
    orphan boolean not null,
    kind text not null,
    outcome text not null,
    environment text not null,
    service text not null,
    operation text not null,
    instance text,
    version text
) partition by range (day);
create index on units (trace_id);

create table calls (
    day date not null,
    trace_id uuid not null,
    span_id bigint not null,
    unit_span_id bigint not null,
    received_at timestamptz not null,
    duration_ns bigint not null,
    server_duration_ns bigint,
    attempts int not null,
    role text not null,
    class text not null,
    outcome text not null,
    effect text not null,
    environment text not null,
    caller text not null,
    callee text not null,
    operation text not null,
    callee_instance text,
    code text
) partition by range (day);
create index on calls (trace_id);

-- severity and confidence: 1 is the lowest, so that they can be compared; the views give them their names.
create table occurrences (
    day date not null,
    trace_id uuid not null,
    fingerprint bigint not null,
    span_id bigint not null,
    seen_at timestamptz not null,
    absorbed_by bigint,
    time_ns bigint not null,
    bytes bigint not null,
    calls int not null,
    unknown_outcomes int not null,
    duplicate_effects int not null,
    exposed_calls int not null,
    severity smallint not null check (severity between 1 and 4),
    confidence smallint not null check (confidence between 1 and 4),
    counted boolean not null,
    rule text not null,
    version text,
    why text not null,
    evidence jsonb not null,
    not_visible text[] not null,
    drawing text not null,
    primary key (day, trace_id, fingerprint, span_id)
) partition by range (day);

comment on column occurrences.seen_at is 'First receipt of its trace';
comment on column occurrences.counted is 'Confidence medium or more, and not absorbed by another of its trace';

create index on occurrences (fingerprint, seen_at desc, trace_id) where counted;
create index on occurrences (trace_id);
