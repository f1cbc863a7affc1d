-- Why: the start page says when something last arrived and how much; without an index it would read every trace that is
-- kept.
-- Locks: blocks the replacement of traces while it builds, seconds for a day of a busy service. Readers go on.
create index on traces (received_at);
