-- Why: people decide about findings, and everyone sees who decided what, and what changed when.
-- Locks: one column is added to findings, without a rewrite; the views are replaced.
alter table findings add column muted_until timestamptz;

comment on column findings.muted_until is 'When a mute ends by itself; null: never, or not muted';

-- Never edited. Goes with its finding.
create table decisions (
    id uuid primary key,
    fingerprint bigint not null,
    action text not null check (action in ('acknowledge', 'mute', 'unmute', 'resolve', 'reopen')),
    reason text check (reason in ('accepted', 'false_positive', 'test')),
    until timestamptz,
    note text,
    who text,
    decided_at timestamptz not null
);

comment on column decisions.who is 'Name of the token that asked; null where none is asked for';

create index on decisions (fingerprint, decided_at desc, id desc);

-- What changed, whoever was told. Goes with its finding.
create table changes (
    fingerprint bigint not null,
    transition int not null,
    event text not null,
    reason text not null,
    severity smallint not null check (severity between 1 and 4),
    changed_at timestamptz not null,
    primary key (fingerprint, transition)
);

create index on changes (changed_at);

create view debunk_views.finding_change as
select
    lpad(to_hex(c.fingerprint), 16, '0') as id,
    c.changed_at,
    c.event,
    c.reason,
    (array['low', 'medium', 'high', 'critical'])[c.severity] as severity,
    f.rule,
    f.fallacy,
    f.environment,
    f.service,
    f.headline
from changes c
join findings f on f.fingerprint = c.fingerprint
where not f.canary;
