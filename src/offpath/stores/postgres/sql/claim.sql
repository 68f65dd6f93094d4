-- A worker takes ready jobs, in order of priority and time: running, ours, fence raised. From then on only this worker
-- with this fence may write. One statement, alone in its transaction; the row of the worker is held, so that a verdict
-- on it comes before or after the claim, never in between. At most 1 MiB of arguments (more only if the first job alone
-- has more).
-- From a queue that is paused nothing is taken.
-- With `heed` nothing is taken while scheduled jobs are due: they are promoted first, since their turn may be earlier.
-- Nobody waits for the disk: should the server crash at this very moment, the jobs are ready again, and whoever runs them
-- by then is refused. Unless one of them must not be repeated: then the claim is durable before it starts.
-- The delicate come only where a free slot is theirs: among the first `free` in line.
-- The last row is not a job: is the worker alive (in `version`), how many jobs would have come but for their size (in
-- `priority`), and whether scheduled jobs are due (in `run_at`).

-- name: promote
update offpath_job set state = 2
where id = any(array(select id from offpath_job
                     where state = 0 and run_at <= cast(extract(epoch from now()) * 1000000 as bigint)
                     order by run_at limit 1000 for update skip locked))

-- name: sweep
-- From the head of the queue.
with alive as materialized (
    select 1 from offpath_worker where id = cast(:worker as text) and lapsed_at is null for key share
),
due as materialized (
    select 1 from offpath_job
    where cast(:heed as integer) = 1 and state = 0 and run_at <= cast(extract(epoch from now()) * 1000000 as bigint)
    order by run_at limit 1
),
able as materialized (
    select 1 from alive
    where not exists (select 1 from due)
      and not exists (select 1 from offpath_queue where name = cast(:queue as text) and paused_at is not null)
),
known (name) as materialized (
    select jsonb_array_elements_text(cast(cast(:tasks as text) as jsonb))
),
plain as materialized (
    select ctid as tid, priority, run_at, id, octet_length(args) as size from offpath_job
    where state = 2 and once = 0 and crashes = 0 and lane is null and queue = cast(:queue as text)
      and task || '@' || version = any(array(select name from known)) and exists (select 1 from able)
    order by priority, run_at, id limit cast(:limit as bigint) for update skip locked
),
doubtful as materialized (
    select ctid as tid, priority, run_at, id, octet_length(args) as size from offpath_job
    where state = 2 and (once = 1 or crashes > 0) and lane is null and queue = cast(:queue as text)
      and crashes < cast(:suspect as integer) and task || '@' || version = any(array(select name from known)) and exists (select 1 from able)
    order by priority, run_at, id limit cast(:free as bigint) for update skip locked
),
suspect as materialized (
    select ctid as tid, priority, run_at, id, octet_length(args) as size from offpath_job
    where state = 2 and (once = 1 or crashes > 0) and lane is null and queue = cast(:queue as text)
      and crashes >= cast(:suspect as integer) and task || '@' || version = any(array(select name from known)) and exists (select 1 from able)
    order by priority, run_at, id limit cast(:suspects as bigint) for update skip locked
),
line as (
    select tid, size, delicate, row_number() over (order by priority, run_at, id) as place
    from (select *, false as delicate from plain
          union all select *, true from doubtful
          union all select *, true from suspect) either
),
best as materialized (
    select tid, sum(size) over (order by place rows unbounded preceding) - size as before
    from line where not delicate or place <= cast(:free as bigint)
    order by place limit cast(:limit as bigint)
),
mine as (
    update offpath_job set state = 3, worker = cast(:worker as text), fence = fence + 1
    where ctid = any(array(select tid from best where before < 1048576))
    returning *
),
told as (
    update offpath_operation o
    set seq = o.seq + 1, status = 3, cancel_at = null, progress = null, finished_at = null, expires_at = null,
        updated_at = greatest(cast(extract(epoch from now()) * 1000000 as bigint), updated_at),
        started_at = coalesce(started_at, greatest(cast(extract(epoch from now()) * 1000000 as bigint), updated_at))
    from mine where mine.watched = 1 and o.id = mine.id
    returning o.id, o.seq, o.updated_at, mine.attempt
),
event as (
    insert into offpath_event (job, seq, type, at, data)
    select id, seq, 'started', updated_at,
           replace(cast(:started as text), '0', cast(attempt as text))
    from told
)
select cast(id as text), task, version, args, queue, priority, run_at, deadline, key, attempt, crashes, fence, once,
       watched, owner, options, cast(retry_of as text), cast(flow as text), lane
from mine
union all
select null,
       (select set_config('synchronous_commit', 'off', true) where not exists (select 1 from mine where once = 1)),
       cast((select count(*) from alive) as integer), null, null,
       cast((select count(*) from best) as integer), (select count(*) from due), null, null, null, null, null, null, null,
       null, null, null, null, null

-- name: lanes
-- From where earlier claims of this process have ended, priority by priority: what is before that is dead entries of the
-- index, thousands of them when vacuum cannot keep up. lanes: [priority, run_at, id]
with alive as materialized (
    select 1 from offpath_worker where id = cast(:worker as text) and lapsed_at is null for key share
),
due as materialized (
    select 1 from offpath_job
    where cast(:heed as integer) = 1 and state = 0 and run_at <= cast(extract(epoch from now()) * 1000000 as bigint)
    order by run_at limit 1
),
able as materialized (
    select 1 from alive
    where not exists (select 1 from due)
      and not exists (select 1 from offpath_queue where name = cast(:queue as text) and paused_at is not null)
),
known (name) as materialized (
    select jsonb_array_elements_text(cast(cast(:tasks as text) as jsonb))
),
plain as materialized (
    select x.* from jsonb_array_elements(cast(cast(:lanes as text) as jsonb)) since
    cross join lateral (
        select ctid as tid, priority, run_at, id, octet_length(args) as size from offpath_job
        where state = 2 and once = 0 and crashes = 0 and lane is null and queue = cast(:queue as text)
          and priority = cast(since ->> 0 as integer)
          and (run_at, id) >= (cast(since ->> 1 as bigint), cast(since ->> 2 as uuid))
          and task || '@' || version = any(array(select name from known)) and exists (select 1 from able)
        order by run_at, id limit cast(:limit as bigint) for update skip locked
    ) x
    limit cast(:limit as bigint)
),
doubtful as materialized (
    select ctid as tid, priority, run_at, id, octet_length(args) as size from offpath_job
    where state = 2 and (once = 1 or crashes > 0) and lane is null and queue = cast(:queue as text)
      and crashes < cast(:suspect as integer) and task || '@' || version = any(array(select name from known)) and exists (select 1 from able)
    order by priority, run_at, id limit cast(:free as bigint) for update skip locked
),
suspect as materialized (
    select ctid as tid, priority, run_at, id, octet_length(args) as size from offpath_job
    where state = 2 and (once = 1 or crashes > 0) and lane is null and queue = cast(:queue as text)
      and crashes >= cast(:suspect as integer) and task || '@' || version = any(array(select name from known)) and exists (select 1 from able)
    order by priority, run_at, id limit cast(:suspects as bigint) for update skip locked
),
line as (
    select tid, size, delicate, row_number() over (order by priority, run_at, id) as place
    from (select *, false as delicate from plain
          union all select *, true from doubtful
          union all select *, true from suspect) either
),
best as materialized (
    select tid, sum(size) over (order by place rows unbounded preceding) - size as before
    from line where not delicate or place <= cast(:free as bigint)
    order by place limit cast(:limit as bigint)
),
mine as (
    update offpath_job set state = 3, worker = cast(:worker as text), fence = fence + 1
    where ctid = any(array(select tid from best where before < 1048576))
    returning *
),
told as (
    update offpath_operation o
    set seq = o.seq + 1, status = 3, cancel_at = null, progress = null, finished_at = null, expires_at = null,
        updated_at = greatest(cast(extract(epoch from now()) * 1000000 as bigint), updated_at),
        started_at = coalesce(started_at, greatest(cast(extract(epoch from now()) * 1000000 as bigint), updated_at))
    from mine where mine.watched = 1 and o.id = mine.id
    returning o.id, o.seq, o.updated_at, mine.attempt
),
event as (
    insert into offpath_event (job, seq, type, at, data)
    select id, seq, 'started', updated_at,
           replace(cast(:started as text), '0', cast(attempt as text))
    from told
)
select cast(id as text), task, version, args, queue, priority, run_at, deadline, key, attempt, crashes, fence, once,
       watched, owner, options, cast(retry_of as text), cast(flow as text), lane
from mine
union all
select null,
       (select set_config('synchronous_commit', 'off', true) where not exists (select 1 from mine where once = 1)),
       cast((select count(*) from alive) as integer), null, null,
       cast((select count(*) from best) as integer), (select count(*) from due), null, null, null, null, null, null, null,
       null, null, null, null, null

-- name: doubt
-- The answer to a claim was lost: once the worker's row can be had alone, that claim has ended, one way or the other.
select 1 from offpath_worker where id = cast(:worker as text) for update

-- name: mine
-- All that this worker holds; what it does not know of is what it never heard of.
select cast(id as text), task, version, args, queue, priority, run_at, deadline, key, attempt, crashes, fence, once,
       watched, owner, options, cast(retry_of as text), cast(flow as text), lane
from offpath_job where state = 3 and worker = cast(:worker as text)
