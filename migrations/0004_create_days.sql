-- Why: days are made ahead and dropped whole; both are said here because a checked query cannot name a new table.
-- Locks: none. A day is made beside its parent and then attached, which lets readers and writers go on.

-- Every day that exists: attached, detaching (a detach was interrupted) or detached (waits to be dropped).
create function debunk_days() returns table (parent text, child text, day date, state text)
language sql stable as $$
    -- Materialized, so that no other table's name is ever read as a date.
    with days as materialized (
        select p.name, c.relname::text as child, i.inhrelid, i.inhdetachpending
        from unnest(array['spans', 'traces', 'units', 'calls', 'occurrences']) as p (name)
        join pg_class c
            on c.relnamespace = current_schema()::regnamespace
            and c.relkind = 'r'
            and c.relname ~ ('^' || p.name || '_[0-9]{8}$')
        left join pg_inherits i on i.inhrelid = c.oid
    )
    select
        d.name,
        d.child,
        to_date(right(d.child, 8), 'YYYYMMDD'),
        case
            when d.inhrelid is null then 'detached'
            when d.inhdetachpending then 'detaching'
            else 'attached'
        end
    from days d
$$;

-- Makes the partitions of one day, once, however many ask at the same time.
create function debunk_ensure_day(wanted date) returns void
language plpgsql as $$
declare
    table_name text;
    child_name text;
    child_state text;
begin
    -- Most calls find the day there: they take no lock.
    if (select count(*) from debunk_days() d where d.day = wanted and d.state = 'attached') = 5 then
        return;
    end if;
    perform pg_advisory_xact_lock(hashtext('debunk_days'));
    foreach table_name in array array['spans', 'traces', 'units', 'calls', 'occurrences'] loop
        child_name := table_name || '_' || to_char(wanted, 'YYYYMMDD');
        child_state := (select d.state from debunk_days() d where d.child = child_name);
        continue when child_state = 'attached';
        -- Left over from an interrupted drop: its rows were given up then.
        if child_state = 'detaching' then
            execute format('alter table %I detach partition %I finalize', table_name, child_name);
        end if;
        if child_state is not null then
            execute format('drop table %I', child_name);
        end if;
        execute format('create table %I (like %I including defaults including constraints)', child_name, table_name);
        execute format('alter table %I attach partition %I for values from (%L) to (%L)',
            table_name, child_name, wanted, wanted + 1);
    end loop;
end
$$;
