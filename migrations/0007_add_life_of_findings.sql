-- Why: a finding is resolved when its operation was at work without it, and worse than told when its severity rises.
-- Locks: blocks the replacement of units while their index builds, seconds for a day of a busy service. Readers go on.
-- The other statements touch small tables.
alter table findings add column told_severity smallint check (told_severity between 1 and 4);

comment on column findings.told_severity is 'Severity that people were last told; null before it opened';

update findings set told_severity = severity where status <> 'candidate';

create index on units (service, operation, environment, received_at);

-- What was told of one finding.
create index on deliveries (fingerprint, transition);
