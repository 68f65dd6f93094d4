-- Jobs under a limit are claimed in one transaction of three statements: `scan` finds lanes whose turn it is and locks
-- their buckets, `read` counts what runs in them, core/admission.py decides, `take` claims. That `read` is a statement of
-- its own is what makes it right: its snapshot is younger than the locks, so it sees what every earlier holder of them
-- has committed. (In one statement with the lock a count has overshot a limit of 2 to 6.)
-- Nobody waits for a bucket: what somebody else has locked is left out, for a few milliseconds.
-- Locks are the database's, so their text begins with the schema's name (which it gets as a table's name does).

-- name: queues
-- Queues with jobs that wait under a limit, by hopping from one to the next.
with recursive hop (queue) as (
    select min(queue) from offpath_job where state = 2 and lane is not null
    union all
    select (select min(queue) from offpath_job where state = 2 and lane is not null and queue > hop.queue)
    from hop where hop.queue is not null
)
select queue from hop where queue is not null

-- name: scan
-- The next lanes in a ring: those behind `after`, and past the end (`past`) those from the beginning up to `until`.
-- One row: the lanes, the buckets among them that are somebody else's now, and whether the end was passed.
-- A queue that is paused has none.
with recursive ring (lane, past, n) as (
    select coalesce(ahead.lane, round.lane), cast(:past as integer) = 1 or ahead.lane is null, 1
    from (select (select lane from offpath_job
                  where state = 2 and lane is not null and queue = cast(:queue as text) and lane > cast(:after as text)
                  order by lane limit 1) as lane) ahead
    cross join lateral (select case when ahead.lane is null and cast(:past as integer) = 0
                               then (select min(lane) from offpath_job
                                     where state = 2 and lane is not null and queue = cast(:queue as text))
                               end as lane) round
    where not exists (select 1 from offpath_queue where name = cast(:queue as text) and paused_at is not null)
    union all
    select coalesce(ahead.lane, round.lane), ring.past or ahead.lane is null, ring.n + 1
    from ring
    cross join lateral (select (select lane from offpath_job
                                where state = 2 and lane is not null and queue = cast(:queue as text)
                                  and lane > ring.lane
                                order by lane limit 1) as lane) ahead
    cross join lateral (select case when ahead.lane is null and not ring.past
                               then (select min(lane) from offpath_job
                                     where state = 2 and lane is not null and queue = cast(:queue as text))
                               end as lane) round
    where ring.lane is not null and ring.n < cast(:limit as integer)
      and not (ring.past and ring.lane > cast(:until as text))
),
line as materialized (
    select lane, past, n from ring where lane is not null and not (past and lane > cast(:until as text))
),
tried as materialized (
    select name, pg_try_advisory_xact_lock(hashtextextended(concat_ws(' ', 'offpath_limits', name), 0)) as ours
    from (select distinct name from line cross join lateral unnest(string_to_array(lane, chr(10))) as parts (name)
          order by name offset 0) names
)
select cast(coalesce((select json_agg(lane order by n) from line), '[]') as text),
       cast(coalesce((select json_agg(name) from tried where not ours), '[]') as text),
       coalesce((select max(cast(past as integer)) from line), 1)

-- name: read
-- What runs under a limit is counted in all lanes, since a bucket may be in many; it is never more than the workers have
-- slots, and the index has nothing else.
-- lanes: those to be looked at, of each the first `heads` jobs that we know; rules and buckets: the names in them
with known (name) as materialized (
    select jsonb_array_elements_text(cast(cast(:tasks as text) as jsonb))
)
select 'line', lane, cast(first.jobs as text), cast(null as bigint), cast(null as bigint), cast(null as integer)
from jsonb_array_elements_text(cast(cast(:lanes as text) as jsonb)) as given (lane)
cross join lateral (
    select json_agg(json_build_array(id, size, crashes, once) order by priority, run_at, id) as jobs
    from (select id, octet_length(args) as size, crashes, once, priority, run_at from offpath_job
          where state = 2 and lane is not null and queue = cast(:queue as text) and lane = given.lane
            and task || '@' || version = any(array(select name from known))
          order by priority, run_at, id limit cast(:heads as integer)) heads
) first
where first.jobs is not null
union all
select 'runs', null, cast(json_object_agg(lane, jobs) as text), null, null, null
from (select lane, count(*) as jobs from offpath_job where state = 3 and lane is not null group by lane) running
having count(*) > 0
union all
select 'rate', bucket, null, tat, null, null from offpath_rate
where bucket = any(array(select jsonb_array_elements_text(cast(cast(:buckets as text) as jsonb))))
union all
select 'rule', name, null, concurrency, spacing, burst from offpath_limit
where name = any(array(select jsonb_array_elements_text(cast(cast(:rules as text) as jsonb))))
union all
select 'now', null, null, cast(extract(epoch from clock_timestamp()) * 1000000 as bigint), null, null

-- name: take
-- The last row is not a job. Nobody waits for the disk, unless the claim has used a rate, which must not come back after
-- a crash, or one of the jobs must not be repeated.
-- tats: {bucket: moment}; now: the moment for which it was decided
with alive as materialized (
    select 1 from offpath_worker where id = cast(:worker as text) and lapsed_at is null for key share
),
mine as (
    update offpath_job set state = 3, worker = cast(:worker as text), fence = fence + 1
    where ctid = any(array(select ctid from offpath_job
                           where id = any(array(select cast(r as uuid)
                                                from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
                             and state = 2 and exists (select 1 from alive)
                           for update skip locked))
    returning *
),
told as (
    update offpath_operation o
    set seq = o.seq + 1, status = 3, cancel_at = null, progress = null, finished_at = null, expires_at = null,
        updated_at = greatest(cast(:now as bigint), updated_at),
        started_at = coalesce(started_at, greatest(cast(:now as bigint), updated_at))
    from mine where mine.watched = 1 and o.id = mine.id
    returning o.id, o.seq, o.updated_at, mine.attempt
),
event as (
    insert into offpath_event (job, seq, type, at, data)
    select id, seq, 'started', updated_at,
           replace(cast(:started as text), '0', cast(attempt as text))
    from told
),
used as (
    insert into offpath_rate (bucket, tat)
    select key, cast(value as bigint) from jsonb_each_text(cast(cast(:tats as text) as jsonb))
    on conflict (bucket) do update set tat = excluded.tat
    returning 1
)
select cast(id as text), task, version, args, queue, priority, run_at, deadline, key, attempt, crashes, fence, once,
       watched, owner, options, cast(retry_of as text), cast(flow as text), lane
from mine
union all
select null,
       (select set_config('synchronous_commit', 'off', true)
        where not exists (select 1 from mine where once = 1) and not exists (select 1 from used)),
       cast((select count(*) from alive) as integer), null, null, null, null, null, null, null, null, null, null, null,
       null, null, null, null, null

-- name: declare
-- rules: [name, concurrency, spacing, burst]; the newest declaration wins
insert into offpath_limit (name, concurrency, spacing, burst)
select r ->> 0, cast(r ->> 1 as integer), cast(r ->> 2 as bigint), cast(r ->> 3 as integer)
from (select r from jsonb_array_elements(cast(cast(:rules as text) as jsonb)) r
      order by (r ->> 0) collate "C" offset 0) sorted
on conflict (name) do update
set concurrency = excluded.concurrency, spacing = excluded.spacing, burst = excluded.burst
where (offpath_limit.concurrency, offpath_limit.spacing, offpath_limit.burst)
      is distinct from (excluded.concurrency, excluded.spacing, excluded.burst)

-- name: forget
-- Moments so long past that no clock set back brings them to life again.
delete from offpath_rate
where bucket = any(array(select bucket from offpath_rate where tat < cast(:before as bigint)
                         order by tat limit cast(:limit as bigint) for update skip locked))
