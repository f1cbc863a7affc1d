-- Why: findings, their hours, and what receivers are told.
-- Locks: none that matter; every table is new.
--
-- Every number is derived from occurrences or hours and replaced, never added to.
create table findings (
    fingerprint bigint primary key,
    rule text not null,
    fallacy text not null,
    variant text not null,
    environment text not null,
    service text not null,
    operation text not null,
    callee text,
    headline text not null,
    status text not null check (status in ('candidate', 'open', 'resolved')),
    handling text not null default 'none' check (handling in ('none', 'acknowledged', 'muted')),
    severity smallint not null check (severity between 1 and 4),
    confidence smallint not null check (confidence between 1 and 4),
    time_ns bigint not null default 0,
    calls bigint not null default 0,
    bytes bigint not null default 0,
    unknown_outcomes bigint not null default 0,
    duplicate_effects bigint not null default 0,
    exposed_calls bigint not null default 0,
    occurrences bigint not null default 0,
    traces bigint not null default 0,
    first_seen timestamptz not null,
    last_seen timestamptz not null,
    opened_at timestamptz,
    resolved_at timestamptz,
    reopened int not null default 0,
    transition int not null default 0,
    example_day date,
    example_trace_id uuid,
    example_span_id bigint
);

comment on column findings.time_ns is 'Costs are medians per occurrence over the last day in which it was seen';
comment on column findings.transition is 'Changes of status so far: names the change that a delivery tells';

create index on findings (status, severity desc, fingerprint desc);
create index on findings (status, last_seen desc, fingerprint desc);

-- Occurrences of one hour of receipt. A trace lies in one hour, so traces may be summed.
create table finding_hours (
    fingerprint bigint not null,
    hour timestamptz not null,
    occurrences bigint not null,
    traces bigint not null,
    high_traces bigint not null,
    confirmed_traces bigint not null,
    time_ns bigint not null,
    first_seen timestamptz not null,
    last_seen timestamptz not null,
    primary key (fingerprint, hour)
);

comment on column finding_hours.high_traces is 'Traces with an occurrence of confidence high or more';
comment on column finding_hours.confirmed_traces is 'Traces with a confirmed occurrence';

create index on finding_hours (hour);

-- One row per change and receiver, written with the change. The payload is fixed then: every try sends the same.
create table deliveries (
    id uuid primary key,
    receiver text not null,
    event text not null,
    fingerprint bigint not null,
    transition int not null,
    payload text not null,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'dead')),
    attempts int not null default 0,
    next_attempt_at timestamptz not null,
    claim bigint,
    leased_until timestamptz not null default '-infinity',
    last_status int,
    last_error text,
    created_at timestamptz not null,
    delivered_at timestamptz,
    unique (receiver, fingerprint, transition)
);

create index on deliveries (next_attempt_at) where state = 'pending';
