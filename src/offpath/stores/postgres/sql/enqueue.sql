-- Many jobs in one statement, from one JSON parameter: the same text serves our committer and any borrowed connection.
-- A job whose key is taken by a live job is left out; `present` tells who has it.
-- Keys are locked in one order for every process (unsorted, two groups deadlock; `offset 0` keeps the planner from locking
-- before it sorts), and by a lock that can be tried.
-- Of more than a thousand jobs they are not locked: the server has room for some thousand locks, all transactions together
-- (10,000 keys ran out of it). They wait for each other at the index then, in the same order.
-- Locks are the database's, so their text begins with the schema's name (which it gets as a table's name does).
-- Whoever carries many callers' jobs finds out with `busy` that a key waits for somebody's open transaction.
-- rows: [the job's columns…, and of a watched one: tenant, owner, kind, label, type and data of its first event]
-- keys: [id, task, key]

-- name: insert
with clock (at) as materialized (
    select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)
),
given as materialized (
    select cast(r ->> 0 as uuid) as id, r
    from (select r from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
          order by (r ->> 9) collate "C", (r ->> 1) collate "C" offset 0) sorted
    where r ->> 9 is null or (select jsonb_array_length(cast(cast(:rows as text) as jsonb)) > 1000)
       or pg_advisory_xact_lock(hashtextextended(concat_ws(' ', 'offpath_keys', r ->> 1, r ->> 9), 0)) is not null
),
made as (
    insert into offpath_job (id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes,
                             fence, once, watched, owner, options, retry_of, flow, waits, lane)
    select id, r ->> 1, cast(r ->> 2 as integer), r ->> 3, r ->> 4, cast(r ->> 5 as integer),
           cast(r ->> 6 as smallint), cast(r ->> 7 as bigint), cast(r ->> 8 as bigint), r ->> 9,
           cast(r ->> 10 as integer), cast(r ->> 11 as integer), cast(r ->> 12 as bigint),
           cast(cast(r ->> 13 as boolean) as integer), cast(cast(r ->> 14 as boolean) as integer), r ->> 15, r ->> 16, cast(r ->> 17 as uuid),
           cast(r ->> 18 as uuid), cast(r ->> 19 as integer), r ->> 20
    from given
    on conflict do nothing
    returning id
),
-- `(… in …) is true` is looked up in a hash; a plain `in` becomes a join, and the engine's connections make no hash joins
shown as (
    insert into offpath_operation (id, tenant, owner, kind, label, status, seq, created_at, updated_at)
    select id, r ->> 21, r ->> 22, r ->> 23, r ->> 24, cast(r ->> 6 as smallint), 1, at, at
    from given, clock
    where cast(r ->> 14 as boolean) and (id in (select id from made)) is true
    on conflict do nothing
),
first as (
    insert into offpath_event (job, seq, type, at, data)
    select id, 1, r ->> 25, at, r ->> 26
    from given, clock
    where cast(r ->> 14 as boolean) and (id in (select id from made)) is true
    on conflict do nothing
)
select count(*) from made

-- name: busy
select r ->> 0
from (select r from jsonb_array_elements(cast(cast(:keys as text) as jsonb)) r
      order by (r ->> 2) collate "C", (r ->> 1) collate "C" offset 0) sorted
where not pg_try_advisory_xact_lock(hashtextextended(concat_ws(' ', 'offpath_keys', r ->> 1, r ->> 2), 0))

-- name: present
-- A caller's transaction at repeatable read may see two: one that has ended since its first look, and its own. Ours first,
-- then the younger one, which an earlier statement of this transaction has made.
select r ->> 0, (select cast(id as text) from offpath_job where task = r ->> 1 and key = r ->> 2 and behind = 0
                 order by (cast(id as text) = r ->> 0) desc, id desc limit 1)
from jsonb_array_elements(cast(cast(:keys as text) as jsonb)) r

-- name: ended
-- Of these ids, those that have ended; in a statement of its own, after the insert that may have waited for their end.
select cast(id as text) from offpath_history
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: undo
delete from offpath_job
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: seen
-- Of these ids, those that can be seen: their transaction has committed.
select cast(id as text) from offpath_job
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
union all
select cast(id as text) from offpath_history
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
