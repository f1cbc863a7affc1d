-- Why: spans as received, and the traces that await a look.
-- Locks: none that matter; every table is new.
--
-- A span's key holds a hash of its content, so a redelivery is a no-op and a contradiction is a second row.
-- The order of the columns packs the key into 32 bytes.
create table spans (
    trace_id uuid not null,
    span_id bigint not null,
    parent_id bigint,
    start_ns bigint not null,
    duration_ns bigint not null,
    resource_id bigint not null,
    day date not null,
    content int not null,
    scope_id int not null,
    kind smallint not null,
    status smallint not null,
    dictionary smallint not null,
    name text not null,
    rest bytea not null,
    primary key (trace_id, span_id, content, day)
) partition by range (day);

comment on table spans is 'One row per span, secrets redacted';
comment on column spans.start_ns is 'Nanoseconds since 1970 as the sender''s clock said';
comment on column spans.duration_ns is 'As sent; negative where the end lay before the start';
comment on column spans.day is 'Day of the start where that lies within retention, else day of receipt';
comment on column spans.content is 'Hash over the whole span';
comment on column spans.dictionary is 'Dictionary that compressed rest; 0: rest is plain';
comment on column spans.rest is 'The other OTLP fields as protobuf';

-- Ids are hashes of the content: every replica computes the same one, and nothing has to be read back.
create table resources (
    id bigint primary key,
    service text not null,
    body bytea not null,
    last_day date not null
);

create table scopes (
    id int primary key,
    name text not null,
    body bytea not null,
    last_day date not null
);

create table dictionaries (
    id smallint primary key,
    body bytea not null,
    trained_at timestamptz not null
);

-- One row per trace that awaits a look. A touch (new spans) voids the claim; a look counts only if its claim stands.
create table pending (
    trace_id uuid primary key,
    claim bigint,
    leased_until timestamptz not null default '-infinity',
    first_seen timestamptz not null default now(),
    last_seen timestamptz not null default now(),
    first_day date not null,
    last_day date not null,
    attempts int not null default 0,
    not_before timestamptz not null default '-infinity'
) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0
);

comment on column pending.not_before is 'A second look, once the trace has settled, waits for it; a touch resets it';

-- Touches never change first_seen, so they stay heap-only updates.
create index on pending (first_seen);
