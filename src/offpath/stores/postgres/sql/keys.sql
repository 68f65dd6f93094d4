-- Of a key with a rule (debounce, throttle, latest): its holder, and the one job behind it (migrations/0011).
-- keys: [task, key]

-- name: lock
-- All keys of a transaction in one order (see enqueue.sql), whatever will be done with them.
select count(pg_advisory_xact_lock(hashtextextended(concat_ws(' ', 'offpath_keys', r ->> 0, r ->> 1), 0)))
from (select r from jsonb_array_elements(cast(cast(:keys as text) as jsonb)) r
      order by (r ->> 1) collate "C", (r ->> 0) collate "C" offset 0) sorted

-- name: look
select r ->> 0, r ->> 1, cast(j.id as text), j.state, j.fence, j.run_at, j.behind, j.watched, w.free_at
from jsonb_array_elements(cast(cast(:keys as text) as jsonb)) r
left join lateral (select * from offpath_job where task = r ->> 0 and key = r ->> 1) j on true
left join lateral (select free_at from offpath_window where task = r ->> 0 and key = r ->> 1) w on true

-- name: replace
-- Only what is still in the state that it was read in. It is as new: a fresh budget of attempts goes with new arguments.
-- rows: [id, state; then what it becomes: version, args, queue, priority, state, run_at, deadline, once,
--        owner, options, lane, behind]
update offpath_job j
set version = cast(r ->> 2 as integer), args = r ->> 3, queue = r ->> 4, priority = cast(r ->> 5 as integer),
    state = cast(r ->> 6 as smallint), run_at = cast(r ->> 7 as bigint), deadline = cast(r ->> 8 as bigint),
    once = cast(r ->> 9 as smallint), owner = r ->> 10, options = r ->> 11, lane = r ->> 12,
    behind = cast(r ->> 13 as smallint), attempt = 1, crashes = 0
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
where j.id = cast(r ->> 0 as uuid) and j.state = cast(r ->> 1 as smallint)
returning cast(j.id as text)

-- name: behind
-- rows: [id, key]
-- Taken out and put in again, not updated: where another has sat down there that a caller's transaction at repeatable read
-- does not see, this is a serialization failure, as everywhere else, and an update would be a duplicate key.
with mine as (
    delete from offpath_job j
    using jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
    where j.id = cast(r ->> 0 as uuid)
    returning j as was, jsonb_build_object('key', r ->> 1, 'behind', 1) as new
)
insert into offpath_job
select become.* from mine cross join lateral jsonb_populate_record(was, new) become
on conflict do nothing
returning cast(id as text)

-- name: stranded
-- Whoever is about to enqueue with the same key is not waited for: it may be the next holder.
with found as materialized (
    select id, task, key from offpath_job f
    where behind = 1
      and not exists (select 1 from offpath_job h where h.task = f.task and h.key = f.key and h.behind = 0)
    limit cast(:limit as bigint) for update skip locked
)
select cast(id as text) from found
where pg_try_advisory_xact_lock(hashtextextended(concat_ws(' ', 'offpath_keys', task, key), 0))

-- name: free
-- (Not `behind = 1`: by id, and not through all that are behind.)
update offpath_job j set behind = 0, state = 0
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
  and behind <> 0
  and not exists (select 1 from offpath_job h where h.task = j.task and h.key = j.key and h.behind = 0)

-- name: window
-- rows: [task, key, free_at]
insert into offpath_window (task, key, free_at)
select r ->> 0, r ->> 1, cast(r ->> 2 as bigint) from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
on conflict (task, key) do update set free_at = excluded.free_at

-- name: forget
delete from offpath_window
where ctid = any(array(select ctid from offpath_window where free_at <= cast(:now as bigint)
                       order by free_at limit cast(:limit as bigint) for update skip locked))
