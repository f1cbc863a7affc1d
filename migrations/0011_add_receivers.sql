-- Why: how fast a receiver may be posted to, and how that goes, is one thing for all replicas.
-- Locks: none that matter; the table is new, and as small as the settings' list of receivers.
create table receivers (
    name text primary key,
    minute timestamptz not null default '-infinity',
    tries int not null default 0,
    paused_until timestamptz not null default '-infinity',
    tried_at timestamptz,
    status int,
    error text,
    failing_since timestamptz
);

comment on column receivers.tries is 'Requests in `minute`, a minute of the clock';
comment on column receivers.paused_until is 'The receiver asked not to be posted to before';
comment on column receivers.failing_since is 'First failed try since the last one that went well; null where that was the last';
