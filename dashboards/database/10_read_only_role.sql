-- The role that dashboards read with: the views of one schema, no table, no writing, no long queries.
-- Run it in Debunk's database as the role that Debunk itself uses, before or after Debunk's first start, as often as
-- you like. It sets no password.
do $$
begin
    if not exists (select from pg_roles where rolname = 'grafana_ro') then
        create role grafana_ro login connection limit 10;
    end if;
end
$$;

alter role grafana_ro set default_transaction_read_only = on;
alter role grafana_ro set statement_timeout = '15s';
alter role grafana_ro set idle_in_transaction_session_timeout = '30s';
alter role grafana_ro set search_path = debunk_views;

create schema if not exists debunk_views;
grant usage on schema debunk_views to grafana_ro;
grant select on all tables in schema debunk_views to grafana_ro;
-- Views that later versions add.
alter default privileges in schema debunk_views grant select on tables to grafana_ro;
